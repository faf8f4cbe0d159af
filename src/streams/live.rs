//! A user's stream in memory: the order of its appends, and how far its readers may read.
//!
//! Owns that there is one writer at a time, and that each append is judged against everything handed over before it.
//! Promises that readers, and producers that repeat an append, see only what is durable. The std mutex is held for a few
//! moves of pointers, never across an await.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::watch;

use super::content::{self, Gatherer};
use super::row::{self as rows, Head, Mark};
use super::rule::{self, Append, Refused, Verdict};
use super::state::{LookedUp, State};
use super::{Key, UserStreams};
use crate::dialect::durable_streams::{Form, Lifetime};
use crate::job::{Code, Epoch, Failure, Timestamp};
use crate::log::{Row, RowRange, Rows};
use crate::wire::row;

/// A stream's last use is stored again when this part of its lifetime has passed since it was stored.
const USE_PARTS: u64 = 20;
/// Number of rows that one read of the log returns.
const READ_ROWS_MAX: usize = 512;

/// The durable tail of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// The position after the last content.
    pub next: u64,
    /// Whether the stream is closed: nothing is appended any more.
    pub closed: bool,
    /// Whether the stream was deleted or has expired.
    pub gone: bool,
}

/// A page of content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The bytes of the content; JSON messages have commas between them.
    pub content: Vec<u8>,
    /// The position from which to read on.
    pub next: u64,
}

/// The result of an append, and the tail after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The result of the append.
    pub done: Done,
    /// The position after the last content.
    pub next: u64,
    /// Whether the stream is closed.
    pub closed: bool,
}

/// The result of an append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// The content is durable now.
    New,
    /// The content was durable before; the producer's highest number.
    Known(Option<u64>),
    /// The content is not taken.
    Refused(Refused),
}

/// One stream of a user. There is one of these per stream and process, so that one mutex orders its appends.
pub struct UserStream {
    pub(super) key: Key,
    pub(super) head: Head,
    form: Form,
    log: Arc<dyn Rows>,
    /// The tail, which readers watch.
    tail: watch::Sender<Tail>,
    /// The last ticket that is durable or failed, which writers watch.
    settled: watch::Sender<u64>,
    state: Mutex<State>,
}

impl UserStream {
    pub(super) fn new(key: Key, head: Head, mark: Mark, log: Arc<dyn Rows>) -> Arc<UserStream> {
        let tail = watch::Sender::new(Tail { next: mark.next, closed: mark.closed, gone: false });
        let (form, state) = (Form::of(&head.content_type), Mutex::new(State::new(&head, mark)));
        Arc::new(UserStream { key, head, form, log, tail, settled: watch::Sender::new(0), state })
    }

    /// Returns the content type.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Returns the lifetime that it was created with.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.head.content_type
    }

    /// Returns whether it was created as closed.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.head.lifetime
    }

    /// Returns the epoch of the stream.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.head.epoch()
    }

    /// Returns the durable tail.
    #[must_use]
    pub fn tail(&self) -> Tail {
        *self.tail.borrow()
    }

    /// Returns a receiver that is notified of every move of the tail.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    /// Returns the time at which it expires unless it is used.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        self.head.lifetime.ends(self.lock().pending.used_at)
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.ends().is_some_and(|end| end <= now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// Notes that the stream is read. The time of the last use is stored now and then, in the background.
    pub fn used(self: &Arc<Self>, streams: &UserStreams) {
        let Lifetime::Idle(seconds) = self.head.lifetime else { return };
        let now = streams.clock.now();
        let writes = {
            let mut state = self.lock();
            let fresh = now.ms_since(state.pending.used_at) < seconds.saturating_mul(1000) / USE_PARTS;
            !state.ends && !fresh && state.used(now)
        };
        self.write_if(writes, streams);
    }

    /// Appends `body`, which is empty where `append` has no content type. Durable when it resolves.
    /// Cancel-safe: a dropped call has appended all of it or nothing.
    ///
    /// # Errors
    /// `not_found` when the stream was removed meanwhile; `invalid`, naming `body`; `too_large`;
    /// `overloaded`.
    pub async fn append(
        self: &Arc<Self>,
        streams: &UserStreams,
        append: &Append,
        body: &Bytes,
    ) -> Result<Appended, Failure> {
        // Cut up before the lock is taken; an error in it counts only if the append would be taken.
        let mut content = match append.content_type {
            Some(_) => content::rows(self.form, body).and_then(some),
            None => Ok(Vec::new()),
        };
        let mut looked_up = None;
        let (ticket, answer) = loop {
            match self.judge(streams, append, &mut content, looked_up)? {
                Judged::Done(ticket, answer) => break (ticket, answer),
                Judged::LookUp(version) => looked_up = Some((self.look_up(append).await?, version)),
            }
        };
        self.settled(ticket).await?;
        Ok(answer)
    }

    fn judge(
        self: &Arc<Self>,
        streams: &UserStreams,
        append: &Append,
        content: &mut Result<Vec<Bytes>, Failure>,
        looked_up: Option<LookedUp>,
    ) -> Result<Judged, Failure> {
        let mut state = self.lock();
        if state.ends {
            return Err(Failure::new(Code::NotFound, "no such stream"));
        }
        let seen = match &append.producer {
            None => None,
            Some(producer) => match state.seen(producer, looked_up) {
                Ok(seen) => seen,
                Err(version) => return Ok(Judged::LookUp(version)),
            },
        };
        let done = match rule::judge(&self.head, &state.pending, seen, append) {
            Err(refused) => Done::Refused(refused),
            Ok(Verdict::Known(highest)) => Done::Known(highest),
            Ok(Verdict::Taken) => {
                let content = std::mem::replace(content, Ok(Vec::new()))?;
                let writes = state.append(append, content, streams.clock.now())?;
                self.write_if(writes, streams);
                Done::New
            }
        };
        // An append that was handed over before is not acknowledged before it is durable.
        let answer = Appended { done, next: state.pending.next, closed: state.pending.closed };
        Ok(Judged::Done(state.last_ticket(), answer))
    }

    async fn look_up(&self, append: &Append) -> Result<Option<super::row::Seen>, Failure> {
        let Some(producer) = &append.producer else { return Ok(None) };
        let row = self.log.row(rows::producer(self.head.id, &producer.id)).await?;
        Ok(row.and_then(|row| row::decode(&row)))
    }

    /// Removes the stream, after everything that was handed over before; its rows are removed in the background.
    /// Durable when it resolves. Returns `false` if it was removed already.
    pub(super) async fn end(self: &Arc<Self>, streams: &UserStreams) -> Result<bool, Failure> {
        let (writes, ticket) = {
            let mut state = self.lock();
            if state.ends {
                return Ok(false);
            }
            let removal = [Row::remove(rows::head(&self.key)), Row::put(rows::to_delete(self.head.id), Bytes::new())];
            (state.end(removal.into()), state.last_ticket())
        };
        self.write_if(writes, streams);
        self.settled(ticket).await.map(|()| true)
    }

    fn write_if(self: &Arc<Self>, writes: bool, streams: &UserStreams) {
        if writes {
            let stream = Arc::clone(self);
            // A shutdown does not wait for it: what it has not written was not acknowledged.
            streams.runtime.spawn(async move { stream.write().await });
        }
    }

    /// Writes everything that was handed over.
    async fn write(&self) {
        loop {
            let next = self.lock().next_batch();
            let Some((rows, batch)) = next else { return };
            let written = self.log.write_rows(rows).await;
            let is_read = self.tail.receiver_count() > 0;
            // Held until the tail has moved: no reader finds content in memory that the tail does not cover.
            let mut state = self.lock();
            match written {
                Ok(()) => state.written(batch, is_read),
                Err(failure) => state.failed(failure),
            }
            let (next, closed) = (state.durable.next, state.durable.closed);
            self.tail.send_replace(Tail { next, closed, gone: state.gone });
            self.settled.send_replace(state.settled);
        }
    }

    async fn settled(&self, ticket: u64) -> Result<(), Failure> {
        if ticket > 0 {
            let mut settled = self.settled.subscribe();
            let closed = || Failure::internal("the log is closed");
            settled.wait_for(|settled| *settled >= ticket).await.map_err(|_| closed())?;
        }
        self.lock().failure_of(ticket).map_or(Ok(()), Err)
    }

    /// Reads durable content from `from`, about `budget_bytes` of it and at least one message; empty at the tail.
    ///
    /// # Errors
    /// `expired` when the stream was removed meanwhile, `internal` when the log is damaged.
    pub async fn read(&self, from: u64, budget_bytes: usize) -> Result<Page, Failure> {
        let upto = {
            let state = self.lock();
            if let Some((content, next)) = state.recent(self.form, from, budget_bytes) {
                return Ok(Page { content, next });
            }
            state.durable.next
        };
        let mut gatherer = Gatherer::new(self.form);
        let mut next = from;
        while next < upto && (gatherer.content.len() < budget_bytes || !gatherer.is_whole()) {
            let after = next.checked_sub(1).map(|before| rows::content(self.head.id, before));
            let prefix = rows::contents(self.head.id);
            let budget_bytes = budget_bytes.saturating_sub(gatherer.content.len());
            let page = self.log.rows(RowRange { prefix, after, limit: READ_ROWS_MAX, budget_bytes }).await?;
            let before = next;
            for (key, content) in page {
                if rows::position(&key) != Some(next) || next == upto {
                    break;
                }
                gatherer.add(&content);
                next += 1;
            }
            if next == before {
                return Err(match self.tail().gone {
                    true => Failure::new(Code::Expired, "the stream was removed"),
                    false => Failure::internal(format!("content {next} of this stream is missing")),
                });
            }
        }
        Ok(Page { content: gatherer.content, next })
    }
}

enum Judged {
    /// The append is settled with this ticket and this answer.
    Done(u64, Appended),
    /// The producer is not in memory: it must be looked up, and the answer is for this version.
    LookUp(u64),
}

fn some(content: Vec<Bytes>) -> Result<Vec<Bytes>, Failure> {
    match content.is_empty() {
        true => Err(Failure::invalid("body", "must hold at least one message")),
        false => Ok(content),
    }
}
