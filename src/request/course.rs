//! What a job has done so far: the state of its drive, kept apart from the future that moves it, so
//! that whoever ends the job can always say what it cost.

use std::sync::Arc;

use super::{Live, Services};
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{
    AttemptMode, AttemptOutcome, Bill, Charge, Cost, Event, Failure, Job, Target, Timestamp, Timing, Usage,
};
use crate::log::{Batch, Log, Stream, StreamWriter};
use crate::meter::Sale;
use crate::telemetry::Labels;
use crate::wire::record::{self, BodyRef};

/// One attempt, as the ledger will have it.
#[derive(Clone, Debug)]
pub(super) struct Spent {
    /// Who was asked.
    pub(super) target: Target,
    /// How it ended; `None` while it is under way.
    pub(super) outcome: Option<AttemptOutcome>,
    /// The provider's own numbers, as far as it told them.
    pub(super) usage: Option<Usage>,
    /// What else its price depends on.
    pub(super) bill: Bill,
    /// When its answer ended.
    pub(super) ended_at: Option<Timestamp>,
    /// Bytes of answer that were emitted: what an estimate is made of.
    pub(super) emitted_bytes: u64,
}

impl Spent {
    /// An attempt that begins.
    pub(super) fn new(target: Target) -> Spent {
        Spent { target, outcome: None, usage: None, bill: Bill::default(), ended_at: None, emitted_bytes: 0 }
    }
}

/// A job under way.
pub(super) struct Course {
    pub(super) job: Arc<Job>,
    pub(super) svc: Arc<Services>,
    /// The configuration that was in force when the job began; a reload does not change its rules.
    pub(super) live: Arc<Live>,
    pub(super) writer: StreamWriter,
    pub(super) attempts: Vec<Spent>,
    /// How the next attempt relates to what readers have seen.
    pub(super) mode: AttemptMode,
    /// Events that go into the next append, before anything else: a seam must be told first.
    pub(super) pending: Vec<Event>,
    /// The job with the files inside that it names by their addresses, once somebody wanted it so.
    pub(super) with_files: Option<Arc<Job>>,
    pub(super) dispatched_at: Option<Timestamp>,
    pub(super) first_output_at: Option<Timestamp>,
}

impl Course {
    /// A job that has not begun.
    pub(super) fn new(job: Arc<Job>, svc: Arc<Services>, writer: StreamWriter) -> Course {
        Course {
            live: svc.live.load_full(),
            job,
            svc,
            writer,
            attempts: Vec::new(),
            mode: AttemptMode::Start,
            pending: Vec::new(),
            with_files: None,
            dispatched_at: None,
            first_output_at: None,
        }
    }

    /// Whether readers have seen output that still stands.
    pub(super) fn has_emitted(&self) -> bool {
        self.attempts.last().is_some_and(|spent| spent.emitted_bytes > 0)
    }

    /// The attempt under way.
    pub(super) fn current(&mut self) -> &mut Spent {
        self.attempts.last_mut().expect("an attempt is pushed before it begins")
    }

    /// The labels of the last target asked.
    pub(super) fn labels(&self) -> Labels {
        self.live.labels(&self.job, self.attempts.last().map(|spent| &spent.target))
    }

    /// Appends `pending` and then `events`, and waits until they are durable.
    pub(super) async fn append(&mut self, mut events: Vec<Event>) -> Result<(), Failure> {
        if !self.pending.is_empty() {
            let mut before = std::mem::take(&mut self.pending);
            before.append(&mut events);
            events = before;
        }
        if events.is_empty() {
            return Ok(());
        }
        self.writer.append(events.into()).await
    }

    /// The terminal batch: what is pending, `terminal` made from the sums, and the charges.
    pub(super) fn last_batch(&mut self, outcome: AttemptOutcome, terminal: impl FnOnce(Totals) -> Event) -> Batch {
        let now = self.svc.clock.now();
        if let Some(spent) = self.attempts.last_mut() {
            spent.outcome.get_or_insert(outcome);
        }
        let mut charges: Vec<Charge> = Vec::with_capacity(self.attempts.len());
        let mut totals = Totals { usage: Usage::default(), cost: Cost::FREE, attempts: 0, timing: self.timing(now) };
        for (spent, attempt) in self.attempts.iter().zip(1..) {
            let (usage, cost) = self.bill(spent, now);
            totals.usage.add(&usage);
            totals.cost = totals.cost.plus(cost);
            totals.attempts = attempt;
            charges.push(self.charge(spent, attempt, now, (usage, cost)));
        }
        if let Some(last) = charges.last_mut() {
            last.closes_job = true;
            last.unpriced_job = !totals.cost.priced;
        }
        let mut events = std::mem::take(&mut self.pending);
        events.push(terminal(totals));
        Batch { events, charges }
    }

    fn timing(&self, now: Timestamp) -> Timing {
        let start = self.job.submitted_at;
        Timing {
            queued_ms: self.dispatched_at.unwrap_or(now).ms_since(start),
            first_output_ms: self.first_output_at.map(|at| at.ms_since(start)),
            total_ms: now.ms_since(start),
        }
    }

    /// What an attempt used and cost. One that gave nothing and said nothing is not billed by any
    /// provider we know; what others did not tell was estimated before (`estimate.rs`).
    fn bill(&self, spent: &Spent, now: Timestamp) -> (Usage, Cost) {
        let completed = spent.outcome == Some(AttemptOutcome::Completed);
        let usage = match &spent.usage {
            Some(usage) => usage.clone(),
            None if completed || spent.emitted_bytes > 0 => Usage::default(),
            None => return (Usage::default(), Cost::FREE),
        };
        let entry = self.live.registry.get(&spent.target.provider);
        let cost = self.svc.meter.book().cost(&Sale {
            job: &self.job,
            target: &spent.target,
            kind: entry.map_or("", |entry| entry.provider.card().id),
            region: entry.and_then(|entry| entry.endpoint.setting("region")),
            usage: &usage,
            bill: &spent.bill,
            at: spent.ended_at.unwrap_or(now),
        });
        (usage, cost)
    }

    fn charge(&self, spent: &Spent, attempt: u32, at: Timestamp, (usage, cost): (Usage, Cost)) -> Charge {
        Charge {
            job: self.job.id.clone(),
            attempt,
            at,
            gateway: self.job.gateway.clone(),
            model: self.job.model.clone(),
            provider: spent.target.provider.clone(),
            provider_model: spent.target.model.clone(),
            metadata: self.job.metadata.clone(),
            outcome: spent.outcome.unwrap_or(AttemptOutcome::Interrupted),
            usage,
            cost,
            closes_job: false,
            unpriced_job: false,
        }
    }
}

/// Reads a job's own stream from its start: every durable record.
pub(super) async fn each_record(
    stream: &Arc<Stream>,
    log: &Arc<dyn Log>,
    mut visit: impl FnMut(BodyRef<'_>),
) -> Result<(), Failure> {
    let mut next = 0;
    while next < stream.tail().durable {
        let chunk = match stream.read_ring(next, FRAME_BYTES_MAX) {
            Some(chunk) => chunk,
            None => log.read_cold(stream, next, FRAME_BYTES_MAX).await?,
        };
        for (seq, bytes) in chunk.iter() {
            visit(record::decode(seq, bytes)?.body);
        }
        next = chunk.next_seq();
    }
    Ok(())
}

/// Sums over a job's attempts, for its terminal.
pub(super) struct Totals {
    pub(super) usage: Usage,
    pub(super) cost: Cost,
    pub(super) attempts: u32,
    pub(super) timing: Timing,
}
