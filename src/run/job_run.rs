//! What a job has done so far: the state of its drive, kept apart from the future that moves it, so
//! that whoever ends the job can always say what it cost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::ReportSlot;
use super::continuation::{OverlapTrimmer, PartialAnswer};
use super::env::Env;
use super::passthrough::Passthrough;
use super::reattach::{ReplayFilter, UpstreamRun};
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{
    AttemptMode, AttemptOutcome, Bill, Charge, Cost, Event, Failure, Job, Lost, Restarted, Target, Timestamp, Timing,
    Usage,
};
use crate::log::{Batch, Log, Stream, StreamWriter};
use crate::meter::Sale;
use crate::notify::webhooks;
use crate::provider::Upstream;
use crate::snapshot::ConfigSnapshot;
use crate::telemetry::Labels;
use crate::wire::record::{self, BodyRef};

/// One attempt, as the ledger will have it.
#[derive(Debug)]
pub(crate) struct AttemptRecord {
    /// Who was asked.
    pub(crate) target: Target,
    /// How it ended; `None` while it is under way.
    pub(crate) outcome: Option<AttemptOutcome>,
    /// Why it was lost, if it was.
    pub(crate) failure: Option<Failure>,
    /// The provider's own numbers, as far as it told them.
    pub(crate) usage: Option<Usage>,
    /// What else its price depends on.
    pub(crate) bill: Bill,
    /// When its answer ended.
    pub(crate) ended_at: Option<Timestamp>,
    /// Bytes of answer that were emitted: what an estimate is made of.
    pub(crate) emitted_bytes: u64,
    /// Whether it was given the beginning of the answer to continue.
    pub(crate) is_prefilled: bool,
    /// Whether it was refused for that.
    pub(crate) is_prefill_refused: bool,
    /// Whether the provider had taken the request on.
    pub(crate) is_taken: bool,
    /// The attempt whose answer it goes on hearing, if it does.
    pub(crate) takes_up: Option<usize>,
    /// Whether its answer was heard on by a later attempt, which has its usage.
    pub(crate) is_taken_up: bool,
    /// What went on at the provider without us when it ended.
    pub(crate) upstream: Option<Upstream>,
    /// Where the attempt itself says what it was told.
    pub(crate) tell: ReportSlot,
}

impl AttemptRecord {
    /// An attempt that begins.
    pub(crate) fn new(target: Target) -> AttemptRecord {
        AttemptRecord {
            target,
            outcome: None,
            failure: None,
            usage: None,
            bill: Bill::default(),
            ended_at: None,
            emitted_bytes: 0,
            is_prefilled: false,
            is_prefill_refused: false,
            is_taken: false,
            takes_up: None,
            is_taken_up: false,
            upstream: None,
            tell: ReportSlot::default(),
        }
    }

    /// Whether the provider did work that somebody may have to pay for. An answer that was given up
    /// although it had begun counts; one that never came is billed by no provider we know.
    pub(crate) fn gave(&self) -> bool {
        if self.is_taken_up {
            return false;
        }
        let given_up = self.is_taken && self.outcome == Some(AttemptOutcome::Cancelled);
        self.outcome == Some(AttemptOutcome::Completed) || self.emitted_bytes > 0 || given_up
    }
}

/// A job under way.
pub(crate) struct JobRun {
    pub(crate) job: Arc<Job>,
    pub(crate) env: Arc<Env>,
    /// The configuration that was in force when the job began; a reload does not change its rules.
    pub(crate) snapshot: Arc<ConfigSnapshot>,
    pub(crate) writer: StreamWriter,
    pub(crate) attempts: Vec<AttemptRecord>,
    /// Which of them speaks: where two race, the one that said something first.
    pub(crate) speaking: usize,
    /// Whether readers have seen output that still stands.
    pub(crate) has_emitted: bool,
    /// How long the job has waited in line.
    pub(crate) queued: Duration,
    /// How the next attempt relates to what readers have seen.
    pub(crate) mode: AttemptMode,
    /// What the next attempts go on from.
    pub(crate) partial: Option<PartialAnswer>,
    /// An answer that goes on at a provider, to be taken up by the next attempt.
    pub(crate) held: Option<UpstreamRun>,
    /// What is said again of an answer that was taken up is taken out by this.
    pub(crate) skip: ReplayFilter,
    /// What is said again at the seam is taken out by this.
    pub(crate) trim: Option<OverlapTrimmer>,
    /// Events that go into the next append, before anything else: a seam must be told first.
    pub(crate) pending: Vec<Event>,
    /// The job with the files inside that it names by their addresses, once somebody wanted it so.
    pub(crate) with_files: Option<Arc<Job>>,
    /// The request that goes to its provider as it is, of a job that has one.
    pub(crate) passthrough: Option<Passthrough>,
    /// When it was handed to its actor, then when that began.
    pub(crate) begun: Instant,
    pub(crate) dispatched_at: Option<Timestamp>,
    pub(crate) first_output_at: Option<Timestamp>,
}

impl JobRun {
    /// A job that has not begun.
    pub(crate) fn new(job: Arc<Job>, env: Arc<Env>, writer: StreamWriter) -> JobRun {
        JobRun {
            snapshot: env.snapshot.load_full(),
            job,
            env,
            writer,
            attempts: Vec::new(),
            speaking: 0,
            has_emitted: false,
            queued: Duration::ZERO,
            mode: AttemptMode::Start,
            partial: None,
            held: None,
            skip: ReplayFilter::default(),
            trim: None,
            pending: Vec::new(),
            with_files: None,
            passthrough: None,
            begun: Instant::now(),
            dispatched_at: None,
            first_output_at: None,
        }
    }

    /// The number of an attempt on the wire.
    pub(crate) fn number(place: usize) -> u32 {
        u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Notes an attempt that begins at `target`, and its place.
    pub(crate) fn push(&mut self, target: Target) -> usize {
        self.attempts.push(AttemptRecord::new(target));
        self.speaking = self.attempts.len() - 1;
        self.speaking
    }

    /// The attempt that speaks.
    pub(crate) fn current(&mut self) -> &mut AttemptRecord {
        let speaking = self.speaking;
        self.attempts.get_mut(speaking).expect("an attempt is pushed before it begins")
    }

    /// Books an attempt that ended without the provider's own end, and queues its seam.
    pub(crate) fn lose(&mut self, place: usize, failure: Failure, outcome: AttemptOutcome) {
        let spent = &mut self.attempts[place];
        spent.outcome = Some(outcome);
        spent.failure = Some(failure.clone());
        let emitted = spent.emitted_bytes > 0;
        self.pending.push(Event::Lost(Lost { attempt: JobRun::number(place), error: failure, emitted }));
    }

    /// Readers discard what they have seen: the next attempt begins anew.
    pub(crate) fn restart(&mut self) {
        self.pending.push(Event::Restarted(Restarted { attempt: JobRun::number(self.attempts.len()) }));
        self.mode = AttemptMode::Restart;
        self.has_emitted = false;
        self.partial = None;
    }

    /// The labels of the last target asked.
    pub(crate) fn labels(&self) -> Labels {
        self.snapshot.labels(&self.job, self.attempts.last().map(|spent| &spent.target))
    }

    /// Appends `pending` and then `events`, and waits until they are durable.
    pub(crate) async fn append(&mut self, mut events: Vec<Event>) -> Result<(), Failure> {
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

    /// The terminal batch of a job whose attempts are closed: what is pending, `terminal` made from the
    /// sums, and the charges.
    pub(crate) fn last_batch(&mut self, terminal: impl FnOnce(Totals) -> Event) -> Batch {
        let now = self.env.clock.now();
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
        let terminal = terminal(totals);
        let default = self.snapshot.config.gateways.get(self.job.gateway.as_str());
        let default = default.and_then(|gateway| gateway.webhook.as_deref());
        let stream = self.writer.stream().head().stream;
        let ended = terminal.terminal().map(|state| (state, now));
        let rows = ended.and_then(|ended| webhooks::row_of(&self.job, default, stream, ended)).into_iter().collect();
        events.push(terminal);
        Batch { events, charges, rows }
    }

    /// Takes over what the attempts were told, now that they are over, and ends those without an end.
    pub(crate) fn close(&mut self, outcome: AttemptOutcome) {
        for spent in &mut self.attempts {
            spent.outcome.get_or_insert(outcome);
            if let Some(told) = Arc::get_mut(&mut spent.tell).and_then(std::sync::OnceLock::take) {
                spent.usage = spent.usage.take().or(told.usage);
                spent.bill = told.bill;
                spent.ended_at = Some(told.at);
                spent.is_taken = told.is_taken;
                spent.upstream = told.upstream;
            }
        }
        self.join_taken_up();
    }

    /// An answer that several attempts heard is one: all of it is the last one's.
    fn join_taken_up(&mut self) {
        for place in 0..self.attempts.len() {
            let spent = &self.attempts[place];
            let has_heard = spent.is_taken || spent.emitted_bytes > 0;
            let mut earlier = spent.takes_up.filter(|_| has_heard);
            while let Some(at) = earlier {
                let before = &mut self.attempts[at];
                before.is_taken_up = true;
                let emitted_bytes = std::mem::take(&mut before.emitted_bytes);
                earlier = before.takes_up;
                self.attempts[place].emitted_bytes += emitted_bytes;
            }
        }
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
    fn bill(&self, spent: &AttemptRecord, now: Timestamp) -> (Usage, Cost) {
        let usage = match &spent.usage {
            Some(usage) => usage.clone(),
            None if spent.gave() => Usage::default(),
            None => return (Usage::default(), Cost::FREE),
        };
        let entry = self.snapshot.registry.get(&spent.target.provider);
        let cost = self.env.meter.book().cost(&Sale {
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

    fn charge(&self, spent: &AttemptRecord, attempt: u32, at: Timestamp, (usage, cost): (Usage, Cost)) -> Charge {
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
pub(crate) async fn each_record(
    stream: &Arc<Stream>,
    log: &Arc<dyn Log>,
    mut visit: impl FnMut(Timestamp, BodyRef<'_>),
) -> Result<(), Failure> {
    let mut next = 0;
    while next < stream.tail().durable {
        let chunk = match stream.read_ring(next, FRAME_BYTES_MAX) {
            Some(chunk) => chunk,
            None => log.read_cold(stream, next, FRAME_BYTES_MAX).await?,
        };
        for (seq, bytes) in chunk.iter() {
            let record = record::decode(seq, bytes)?;
            visit(record.at, record.body);
        }
        next = chunk.next_seq();
    }
    Ok(())
}

/// Sums over a job's attempts, for its terminal.
pub(crate) struct Totals {
    pub(crate) usage: Usage,
    pub(crate) cost: Cost,
    pub(crate) attempts: u32,
    pub(crate) timing: Timing,
}
