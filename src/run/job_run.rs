//! The state of a job that is being carried out. It is kept apart from the future that changes it, so that
//! the cost of the job is known however that future ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempts::{AttemptRecord, Attempts};
use super::continuation::{OverlapTrimmer, PartialAnswer};
use super::env::Env;
use super::passthrough::Passthrough;
use super::reattach::{ReplayFilter, UpstreamRun};
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{
    AttemptMode, AttemptOutcome, Charge, Cost, Event, Failure, Job, Lost, Restarted, Timestamp, Timing, Usage,
};
use crate::log::{Batch, Stream, StreamWriter, Streams};
use crate::meter::Sale;
use crate::notify::webhooks;
use crate::snapshot::ConfigSnapshot;
use crate::telemetry::Labels;
use crate::wire::record::{self, BodyRef};

/// A job that is being carried out. Its state is cut by who writes it.
pub(crate) struct JobRun {
    /// The job as it was submitted.
    pub(crate) job: Arc<Job>,
    /// What every job of this broker uses.
    pub(crate) env: Arc<Env>,
    /// The configuration that was in force when the job began; a reload does not change its rules.
    pub(crate) snapshot: Arc<ConfigSnapshot>,
    /// The right to append to the job's stream.
    pub(crate) writer: StreamWriter,
    /// The attempts: begun by `relay`, closed when the job ends.
    pub(crate) attempts: Attempts,
    /// What readers have seen and are about to see: written by `relay` and `failover`.
    pub(crate) readers: ReaderView,
    /// How the next attempt relates to what readers have seen: written by `failover`.
    pub(crate) next: NextAttempt,
    /// An answer that goes on at its provider: written by `failover`.
    pub(crate) upstream: UpstreamState,
    /// When the job began and how long it waited.
    pub(crate) times: Times,
    /// The job with its files inside, once a provider wanted it so.
    pub(crate) with_files: Option<Arc<Job>>,
    /// The request that goes to its provider as the client wrote it, if the job is such a request.
    pub(crate) passthrough: Option<Passthrough>,
}

/// What the readers of a job have seen of its answer, and what they see next.
#[derive(Default)]
pub(crate) struct ReaderView {
    /// Whether readers have seen output that still stands.
    pub(crate) has_emitted: bool,
    /// When the first output came.
    pub(crate) first_output_at: Option<Timestamp>,
    /// Events that go into the next append, before anything else: readers must learn that an answer was
    /// lost before they get what follows it.
    pub(crate) pending: Vec<Event>,
}

/// How the next attempt relates to what readers have seen.
pub(crate) struct NextAttempt {
    /// Whether it starts, continues or restarts the answer.
    pub(crate) mode: AttemptMode,
    /// The answer so far, which the next attempt continues.
    pub(crate) partial: Option<PartialAnswer>,
    /// Cuts off what the continued answer repeats.
    pub(crate) trimmer: Option<OverlapTrimmer>,
}

/// An answer that goes on at its provider although we do not receive it.
#[derive(Default)]
pub(crate) struct UpstreamState {
    /// The answer, which the next attempt receives from where it was cut off.
    pub(crate) unfinished: Option<UpstreamRun>,
    /// Drops what readers have already from an answer that is received again.
    pub(crate) replay: ReplayFilter,
}

/// The times of a job that its metrics and its terminal record need.
pub(crate) struct Times {
    /// When the job was handed to its actor, then when that began.
    pub(crate) begun: Instant,
    /// When the first request was about to be sent.
    pub(crate) dispatched_at: Option<Timestamp>,
    /// How long the job has waited in the queue.
    pub(crate) queued: Duration,
}

impl JobRun {
    /// A job that has not begun.
    pub(crate) fn new(job: Arc<Job>, env: Arc<Env>, writer: StreamWriter) -> JobRun {
        JobRun {
            snapshot: env.snapshot.load_full(),
            job,
            env,
            writer,
            attempts: Attempts::default(),
            readers: ReaderView::default(),
            next: NextAttempt { mode: AttemptMode::Start, partial: None, trimmer: None },
            upstream: UpstreamState::default(),
            times: Times { begun: Instant::now(), dispatched_at: None, queued: Duration::ZERO },
            with_files: None,
            passthrough: None,
        }
    }

    /// Records an attempt that ended without the provider's own end, and queues the event that tells
    /// readers.
    pub(crate) fn lose(&mut self, place: usize, failure: Failure, outcome: AttemptOutcome) {
        let record = &mut self.attempts[place];
        record.outcome = Some(outcome);
        record.failure = Some(failure.clone());
        let emitted = record.emitted_bytes > 0;
        self.readers.pending.push(Event::Lost(Lost { attempt: Attempts::number(place), error: failure, emitted }));
    }

    /// Tells readers to discard what they have seen: the next attempt starts the answer again.
    pub(crate) fn restart(&mut self) {
        self.readers.pending.push(Event::Restarted(Restarted { attempt: Attempts::number(self.attempts.len()) }));
        self.next.mode = AttemptMode::Restart;
        self.readers.has_emitted = false;
        self.next.partial = None;
    }

    /// Returns the metric labels of the target that was asked last.
    pub(crate) fn labels(&self) -> Labels {
        self.snapshot.labels(&self.job, self.attempts.last().map(|record| &record.target))
    }

    /// Appends the pending events and then `events`, and waits until they are durable.
    pub(crate) async fn append(&mut self, mut events: Vec<Event>) -> Result<(), Failure> {
        if !self.readers.pending.is_empty() {
            let mut before = std::mem::take(&mut self.readers.pending);
            before.append(&mut events);
            events = before;
        }
        if events.is_empty() {
            return Ok(());
        }
        self.writer.append(events.into()).await
    }

    /// Makes the last batch of a job whose attempts are closed: pending events, the terminal event made by
    /// `terminal` from the sums, the charges, and the row of its webhook.
    pub(crate) fn last_batch(&mut self, terminal: impl FnOnce(Totals) -> Event) -> Batch {
        let now = self.env.clock.now();
        let mut charges: Vec<Charge> = Vec::with_capacity(self.attempts.len());
        let mut totals = Totals { usage: Usage::default(), cost: Cost::FREE, attempts: 0, timing: self.timing(now) };
        for (record, attempt) in self.attempts.iter().zip(1..) {
            let (usage, cost) = self.bill(record, now);
            totals.usage.add(&usage);
            totals.cost = totals.cost.plus(cost);
            totals.attempts = attempt;
            charges.push(self.charge(record, attempt, now, (usage, cost)));
        }
        if let Some(last) = charges.last_mut() {
            last.closes_job = true;
            last.unpriced_job = !totals.cost.priced;
        }
        let mut events = std::mem::take(&mut self.readers.pending);
        let terminal = terminal(totals);
        let default = self.snapshot.config.gateways.get(self.job.gateway.as_str());
        let default = default.and_then(|gateway| gateway.webhook.as_deref());
        let stream = self.writer.stream().head().stream;
        let ended = terminal.terminal().map(|state| (state, now));
        let rows = ended.and_then(|ended| webhooks::row_of(&self.job, default, stream, ended)).into_iter().collect();
        events.push(terminal);
        Batch { events, charges, rows }
    }

    fn timing(&self, now: Timestamp) -> Timing {
        let start = self.job.submitted_at;
        Timing {
            queued_ms: self.times.dispatched_at.unwrap_or(now).ms_since(start),
            first_output_ms: self.readers.first_output_at.map(|at| at.ms_since(start)),
            total_ms: now.ms_since(start),
        }
    }

    /// Returns what an attempt used and cost. An attempt without output and without reported usage is
    /// billed by no provider that we know; usage that others did not report was estimated before
    /// (`estimate.rs`).
    fn bill(&self, record: &AttemptRecord, now: Timestamp) -> (Usage, Cost) {
        let usage = match &record.usage {
            Some(usage) => usage.clone(),
            None if record.is_billable() => Usage::default(),
            None => return (Usage::default(), Cost::FREE),
        };
        let entry = self.snapshot.registry.get(&record.target.provider);
        let cost = self.env.meter.book().cost(&Sale {
            job: &self.job,
            target: &record.target,
            kind: entry.map_or("", |entry| entry.provider.card().id),
            region: entry.and_then(|entry| entry.endpoint.setting("region")),
            usage: &usage,
            bill: &record.bill,
            at: record.ended_at.unwrap_or(now),
        });
        (usage, cost)
    }

    fn charge(&self, record: &AttemptRecord, attempt: u32, at: Timestamp, (usage, cost): (Usage, Cost)) -> Charge {
        Charge {
            job: self.job.id.clone(),
            attempt,
            at,
            gateway: self.job.gateway.clone(),
            model: self.job.model.clone(),
            provider: record.target.provider.clone(),
            provider_model: record.target.model.clone(),
            metadata: self.job.metadata.clone(),
            outcome: record.outcome.unwrap_or(AttemptOutcome::Interrupted),
            usage,
            cost,
            closes_job: false,
            unpriced_job: false,
        }
    }
}

/// Reads a job's own stream from its start and calls `visit` for every durable record.
pub(crate) async fn each_record(
    stream: &Arc<Stream>,
    log: &Arc<dyn Streams>,
    mut visit: impl FnMut(Timestamp, BodyRef<'_>),
) -> Result<(), Failure> {
    let mut next = 0;
    while next < stream.tail().durable {
        let chunk = stream.read(log.as_ref(), next, FRAME_BYTES_MAX).await?;
        for (seq, bytes) in chunk.iter() {
            let record = record::decode(seq, bytes)?;
            visit(record.at, record.body);
        }
        next = chunk.next_seq();
    }
    Ok(())
}

/// Sums over a job's attempts, for its terminal record.
pub(crate) struct Totals {
    pub(crate) usage: Usage,
    pub(crate) cost: Cost,
    pub(crate) attempts: u32,
    pub(crate) timing: Timing,
}
