//! What a job has done so far: the state of its drive, kept apart from the future that moves it, so
//! that whoever ends the job can always say what it cost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::TellTale;
use super::rejoin::{Held, Skip};
use super::seam::{SoFar, Trim};
use super::{Live, Services, outbox};
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{
    AttemptMode, AttemptOutcome, Bill, Charge, Cost, Event, Failure, Job, Lost, Restarted, Target, Timestamp, Timing,
    Usage,
};
use crate::log::{Batch, Log, Stream, StreamWriter};
use crate::meter::Sale;
use crate::provider::Upstream;
use crate::telemetry::Labels;
use crate::wire::record::{self, BodyRef};

/// One attempt, as the ledger will have it.
#[derive(Debug)]
pub(super) struct Spent {
    /// Who was asked.
    pub(super) target: Target,
    /// How it ended; `None` while it is under way.
    pub(super) outcome: Option<AttemptOutcome>,
    /// Why it was lost, if it was.
    pub(super) failure: Option<Failure>,
    /// The provider's own numbers, as far as it told them.
    pub(super) usage: Option<Usage>,
    /// What else its price depends on.
    pub(super) bill: Bill,
    /// When its answer ended.
    pub(super) ended_at: Option<Timestamp>,
    /// Bytes of answer that were emitted: what an estimate is made of.
    pub(super) emitted_bytes: u64,
    /// Whether it was given the beginning of the answer to continue.
    pub(super) is_prefilled: bool,
    /// Whether it was refused for that.
    pub(super) is_prefill_refused: bool,
    /// Whether the provider had taken the request on.
    pub(super) is_taken: bool,
    /// The attempt whose answer it goes on hearing, if it does.
    pub(super) takes_up: Option<usize>,
    /// Whether its answer was heard on by a later attempt, which has its usage.
    pub(super) is_taken_up: bool,
    /// What went on at the provider without us when it ended.
    pub(super) upstream: Option<Upstream>,
    /// Where the attempt itself says what it was told.
    pub(super) tell: TellTale,
}

impl Spent {
    /// An attempt that begins.
    pub(super) fn new(target: Target) -> Spent {
        Spent {
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
            tell: TellTale::default(),
        }
    }

    /// Whether the provider did work that somebody may have to pay for. An answer that was given up
    /// although it had begun counts; one that never came is billed by no provider we know.
    pub(super) fn gave(&self) -> bool {
        if self.is_taken_up {
            return false;
        }
        let given_up = self.is_taken && self.outcome == Some(AttemptOutcome::Cancelled);
        self.outcome == Some(AttemptOutcome::Completed) || self.emitted_bytes > 0 || given_up
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
    /// Which of them speaks: where two race, the one that said something first.
    pub(super) speaking: usize,
    /// Whether readers have seen output that still stands.
    pub(super) has_emitted: bool,
    /// How long the job has waited in line.
    pub(super) queued: Duration,
    /// How the next attempt relates to what readers have seen.
    pub(super) mode: AttemptMode,
    /// What the next attempts go on from.
    pub(super) so_far: Option<SoFar>,
    /// An answer that goes on at a provider, to be taken up by the next attempt.
    pub(super) held: Option<Held>,
    /// What is said again of an answer that was taken up is taken out by this.
    pub(super) skip: Skip,
    /// What is said again at the seam is taken out by this.
    pub(super) trim: Option<Trim>,
    /// Events that go into the next append, before anything else: a seam must be told first.
    pub(super) pending: Vec<Event>,
    /// The job with the files inside that it names by their addresses, once somebody wanted it so.
    pub(super) with_files: Option<Arc<Job>>,
    /// When it was handed to its actor, then when that began.
    pub(super) begun: Instant,
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
            speaking: 0,
            has_emitted: false,
            queued: Duration::ZERO,
            mode: AttemptMode::Start,
            so_far: None,
            held: None,
            skip: Skip::default(),
            trim: None,
            pending: Vec::new(),
            with_files: None,
            begun: Instant::now(),
            dispatched_at: None,
            first_output_at: None,
        }
    }

    /// The number of an attempt on the wire.
    pub(super) fn number(place: usize) -> u32 {
        u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Notes an attempt that begins at `target`, and its place.
    pub(super) fn push(&mut self, target: Target) -> usize {
        self.attempts.push(Spent::new(target));
        self.speaking = self.attempts.len() - 1;
        self.speaking
    }

    /// The attempt that speaks.
    pub(super) fn current(&mut self) -> &mut Spent {
        let speaking = self.speaking;
        self.attempts.get_mut(speaking).expect("an attempt is pushed before it begins")
    }

    /// Books an attempt that ended without the provider's own end, and queues its seam.
    pub(super) fn lose(&mut self, place: usize, failure: Failure, outcome: AttemptOutcome) {
        let spent = &mut self.attempts[place];
        spent.outcome = Some(outcome);
        spent.failure = Some(failure.clone());
        let emitted = spent.emitted_bytes > 0;
        self.pending.push(Event::Lost(Lost { attempt: Course::number(place), error: failure, emitted }));
    }

    /// Readers discard what they have seen: the next attempt begins anew.
    pub(super) fn restart(&mut self) {
        self.pending.push(Event::Restarted(Restarted { attempt: Course::number(self.attempts.len()) }));
        self.mode = AttemptMode::Restart;
        self.has_emitted = false;
        self.so_far = None;
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

    /// The terminal batch of a job whose attempts are closed: what is pending, `terminal` made from the
    /// sums, and the charges.
    pub(super) fn last_batch(&mut self, terminal: impl FnOnce(Totals) -> Event) -> Batch {
        let now = self.svc.clock.now();
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
        let default = self.live.config.gateways.get(self.job.gateway.as_str());
        let default = default.and_then(|gateway| gateway.webhook.as_deref());
        let stream = self.writer.stream().head().stream;
        let ended = terminal.terminal().map(|state| (state, now));
        let rows = ended.and_then(|ended| outbox::row_of(&self.job, default, stream, ended)).into_iter().collect();
        events.push(terminal);
        Batch { events, charges, rows }
    }

    /// Takes over what the attempts were told, now that they are over, and ends those without an end.
    pub(super) fn close(&mut self, outcome: AttemptOutcome) {
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
    fn bill(&self, spent: &Spent, now: Timestamp) -> (Usage, Cost) {
        let usage = match &spent.usage {
            Some(usage) => usage.clone(),
            None if spent.gave() => Usage::default(),
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
pub(super) struct Totals {
    pub(super) usage: Usage,
    pub(super) cost: Cost,
    pub(super) attempts: u32,
    pub(super) timing: Timing,
}
