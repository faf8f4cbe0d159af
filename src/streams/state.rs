//! The state of a stream that its mutex guards: what is durable, what will be, and what waits to be written.
//!
//! Owns tickets: each thing handed over has one, and once it is settled it is durable or failed for ever. A batch that
//! fails takes everything handed over after it along, because that was judged as if the batch had been written. Does no
//! IO.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::content::Gatherer;
use super::row::{self as rows, Head, Mark, Seen};
use super::rule::Append;
use crate::dialect::durable_streams::{Form, Producer};
use crate::job::caps::ROWS_BATCH_MAX;
use crate::job::{Code, Failure, StreamId, Timestamp};
use crate::log::Row;

/// Bytes of appends that are written together.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one append: the log takes it whole.
const APPEND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of recent content that stay in memory while a reader follows.
const RING_BYTES_MAX: usize = 64 * 1024;
/// Number of producers that are remembered; the others are looked up.
const PRODUCERS_MAX: usize = 256;
/// Number of failures that are remembered for callers that have not received theirs.
const FAILURES_MAX: usize = 64;

/// The state of one stream in memory.
#[derive(Debug, Default)]
pub(super) struct State {
    id: Option<StreamId>,
    /// The mark as the rows have it.
    pub(super) durable: Mark,
    /// The mark as the rows will have it when everything handed over is durable.
    pub(super) pending: Mark,
    /// Whether its removal was handed over.
    pub(super) ends: bool,
    /// Whether its removal is durable.
    pub(super) gone: bool,
    /// The producers as they will be when everything handed over is durable.
    producers: HashMap<Box<str>, Seen>,
    /// Number of times that producers were dropped from memory.
    forgotten: u64,
    queue: VecDeque<Queued>,
    /// The ticket that was given out last.
    ticket: u64,
    /// The last ticket that is durable or failed.
    pub(super) settled: u64,
    failures: VecDeque<(RangeInclusive<u64>, Failure)>,
    writing: bool,
    /// Recent durable content, without a gap up to `durable.next`.
    ring: VecDeque<(u64, Bytes)>,
    ring_bytes: usize,
}

/// A batch of rows that waits to be written.
#[derive(Debug)]
pub(super) struct Queued {
    extra: Vec<Row>,
    content: Vec<(u64, Bytes)>,
    mark: Mark,
    removes: bool,
    ticket: u64,
}

impl Queued {
    fn bytes(&self) -> usize {
        self.content.iter().map(|(_, content)| content.len()).sum()
    }
}

/// The result of a lookup, and the version at which it was made.
pub(super) type LookedUp = (Option<Seen>, u64);

impl State {
    pub(super) fn new(head: &Head, mark: Mark) -> State {
        State { id: Some(head.id), durable: mark.clone(), pending: mark, ..State::default() }
    }

    /// Returns the ticket after which everything handed over by now is settled.
    pub(super) fn last_ticket(&self) -> u64 {
        if self.settled == self.ticket { 0 } else { self.ticket }
    }

    /// Returns the failure of the append with this ticket, if it failed.
    pub(super) fn failure_of(&self, ticket: u64) -> Option<Failure> {
        let failed = self.failures.iter().find(|(tickets, _)| tickets.contains(&ticket));
        failed.map(|(_, failure)| failure.clone())
    }

    /// Returns the last append of a producer; `Err` holds the version of what has to be looked up.
    pub(super) fn seen(&self, producer: &Producer, looked_up: Option<LookedUp>) -> Result<Option<Seen>, u64> {
        match (self.producers.get(&producer.id), looked_up) {
            (Some(seen), _) => Ok(Some(*seen)),
            (None, Some((seen, version))) if version == self.forgotten => Ok(seen),
            (None, _) => Err(self.forgotten),
        }
    }

    fn forget_producers(&mut self) {
        self.producers.clear();
        self.forgotten += 1;
    }

    /// Hands an append over. Returns whether the caller has to begin to write.
    pub(super) fn append(&mut self, append: &Append, content: Vec<Bytes>, now: Timestamp) -> Result<bool, Failure> {
        let bytes: usize = content.iter().map(Bytes::len).sum();
        // The mark and the producer are rows too.
        if bytes > APPEND_BYTES_MAX || content.len() + 2 > ROWS_BATCH_MAX {
            return Err(Failure::new(Code::TooLarge, format!("an append is over {APPEND_BYTES_MAX} bytes")));
        }
        let mut extra = Vec::new();
        if let Some(producer) = &append.producer {
            let seen = Seen { epoch: producer.epoch, seq: producer.seq };
            if self.producers.len() >= PRODUCERS_MAX && self.settled == self.ticket {
                self.forget_producers();
            }
            self.producers.insert(producer.id.clone(), seen);
            extra.extend(self.id.map(|id| Row::put(rows::producer(id, &producer.id), rows::bytes(&seen))));
        }
        let content: Vec<_> = (self.pending.next..).zip(content).collect();
        self.pending.next += content.len() as u64;
        self.pending.used_at = now;
        if append.seq.is_some() {
            self.pending.seq.clone_from(&append.seq);
        }
        if append.closes {
            self.pending.closed = true;
            self.pending.closed_by.clone_from(&append.producer);
        }
        Ok(self.hand_over(extra, content, false))
    }

    /// Hands over the time of the last use.
    pub(super) fn used(&mut self, now: Timestamp) -> bool {
        self.pending.used_at = now;
        self.hand_over(Vec::new(), Vec::new(), false)
    }

    /// Hands over the removal of the stream.
    pub(super) fn end(&mut self, extra: Vec<Row>) -> bool {
        self.ends = true;
        self.hand_over(extra, Vec::new(), true)
    }

    fn hand_over(&mut self, extra: Vec<Row>, content: Vec<(u64, Bytes)>, removes: bool) -> bool {
        self.ticket += 1;
        self.queue.push_back(Queued { extra, content, mark: self.pending.clone(), removes, ticket: self.ticket });
        !std::mem::replace(&mut self.writing, true)
    }

    /// Returns what is to be written next. `None` ends the writing.
    pub(super) fn next_batch(&mut self) -> Option<(Vec<Row>, Vec<Queued>)> {
        let (mut batch, mut rows, mut bytes) = (Vec::<Queued>::new(), Vec::new(), 0);
        while let Some(next) = self.queue.front() {
            let count = next.content.len() + next.extra.len();
            let fits = rows.len() + count < ROWS_BATCH_MAX && bytes + next.bytes() <= BATCH_BYTES_MAX;
            if !fits && !batch.is_empty() {
                break;
            }
            let Some(mut next) = self.queue.pop_front() else { break };
            bytes += next.bytes();
            rows.append(&mut next.extra);
            let id = self.id;
            rows.extend(
                next.content
                    .iter()
                    .filter_map(|(at, content)| id.map(|id| Row::put(rows::content(id, *at), content.clone()))),
            );
            batch.push(next);
        }
        let Some(last) = batch.last() else {
            self.writing = false;
            return None;
        };
        rows.extend(self.id.map(|id| Row::put(rows::mark(id), rows::bytes(&last.mark))));
        Some((rows, batch))
    }

    /// Notes that a batch is durable.
    pub(super) fn written(&mut self, batch: Vec<Queued>, is_read: bool) {
        for queued in batch {
            self.settled = queued.ticket;
            self.gone |= queued.removes;
            self.durable = queued.mark;
            self.ring_bytes += queued.content.iter().map(|(_, content)| content.len()).sum::<usize>();
            self.ring.extend(queued.content);
        }
        let keep = if is_read { RING_BYTES_MAX } else { 0 };
        while self.ring_bytes > keep
            && let Some((_, content)) = self.ring.pop_front()
        {
            self.ring_bytes -= content.len();
        }
    }

    /// Notes that a batch failed and is not stored.
    pub(super) fn failed(&mut self, failure: Failure) {
        self.failures.push_back((self.settled + 1..=self.ticket, failure));
        if self.failures.len() > FAILURES_MAX {
            self.failures.pop_front();
        }
        self.settled = self.ticket;
        self.queue.clear();
        self.pending = self.durable.clone();
        self.ends = self.gone;
        self.forget_producers();
    }

    /// Returns recent content from `from`, if it is still in memory, and the position from which to read on.
    pub(super) fn recent(&self, form: Form, from: u64, budget_bytes: usize) -> Option<(Vec<u8>, u64)> {
        let (first, _) = self.ring.front()?;
        let skip = usize::try_from(from.checked_sub(*first)?).ok()?;
        let mut gatherer = Gatherer::new(form);
        let mut next = from;
        for (at, content) in self.ring.range(skip.min(self.ring.len())..) {
            gatherer.add(content);
            next = at + 1;
            if gatherer.content.len() >= budget_bytes && gatherer.is_whole() {
                break;
            }
        }
        (next > from).then_some((gatherer.content, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::durable_streams::Lifetime;

    fn state() -> State {
        let head = Head {
            id: StreamId([1; 16]),
            content_type: "text/plain".into(),
            lifetime: Lifetime::Unlimited,
            created_at: Timestamp(0),
        };
        State::new(&head, Mark::default())
    }

    fn by(seq: u64) -> Append {
        Append { producer: Some(Producer { id: "p".into(), epoch: 0, seq }), ..Append::default() }
    }

    fn append(state: &mut State, seq: u64) -> bool {
        state.append(&by(seq), vec![Bytes::from(vec![b'x'; 10])], Timestamp(5)).unwrap()
    }

    #[test]
    fn appends_gather_while_a_batch_is_written_and_are_one_batch_then() {
        let mut state = state();
        assert!(append(&mut state, 0), "the first begins to write");
        let (rows, first) = state.next_batch().unwrap();
        assert_eq!((rows.len(), first.len()), (3, 1));
        assert!(!append(&mut state, 1) && !append(&mut state, 2), "a writer is at work already");
        assert_eq!((state.durable.next, state.pending.next), (0, 3));
        state.written(first, true);
        assert_eq!((state.durable.next, state.settled), (1, 1));
        let (rows, second) = state.next_batch().unwrap();
        assert_eq!((rows.len(), second.len()), (5, 2), "two contents, twice the producer, one mark");
        state.written(second, true);
        assert!(state.next_batch().is_none());
        assert_eq!(state.durable, state.pending);
        assert_eq!(state.recent(Form::Text, 1, 100), Some((vec![b'x'; 20], 3)));
        assert_eq!(state.recent(Form::Text, 3, 100), None);
        assert!(append(&mut state, 3), "and the next begins again");
    }

    #[test]
    fn what_fails_takes_all_after_it_along_and_nothing_before() {
        let mut state = state();
        append(&mut state, 0);
        let (_, first) = state.next_batch().unwrap();
        append(&mut state, 1);
        state.written(first, false);
        let _second = state.next_batch().unwrap();
        append(&mut state, 2);
        assert!(!state.end(Vec::new()));
        state.failed(Failure::internal("the disk"));
        assert!(state.next_batch().is_none());
        let failed: Vec<bool> = (1..=5).map(|ticket| state.failure_of(ticket).is_some()).collect();
        assert_eq!(failed, [false, true, true, true, false]);
        assert_eq!((state.settled, state.last_ticket(), state.ends), (4, 0, false));
        assert_eq!(state.pending, state.durable);
        let producer = by(1).producer.unwrap();
        assert_eq!(state.seen(&producer, None), Err(1), "it has to be looked up again");
        assert_eq!(state.seen(&producer, Some((None, 0))), Err(1), "what was looked up before is old");
        assert_eq!(state.seen(&producer, Some((None, 1))), Ok(None));
        append(&mut state, 1);
        assert!(state.failure_of(state.last_ticket()).is_none());
    }

    #[test]
    fn content_stays_in_memory_only_while_somebody_reads_and_within_a_bound() {
        let mut state = state();
        for (at, is_read) in [(0, true), (1, true), (2, false)] {
            state.append(&Append::default(), vec![vec![b'x'; 40_000].into()], Timestamp(0)).unwrap();
            let (_, batch) = state.next_batch().unwrap();
            state.written(batch, is_read);
            assert!(state.next_batch().is_none());
            assert_eq!(state.recent(Form::Binary, at, 1).is_some(), is_read, "{at}");
            assert!(state.ring_bytes <= RING_BYTES_MAX);
        }
    }
}
