//! What a job has done so far: the state of its drive, kept apart from the future that moves it, so
//! that whoever ends the job can always say what it cost.

use std::sync::Arc;

use super::{Live, Services};
use crate::job::{
    AttemptMode, AttemptOutcome, Bill, Charge, Cost, Event, Failure, Job, Target, Timestamp, Timing, Usage, UsageSource,
};
use crate::log::{Batch, StreamWriter};
use crate::provider;
use crate::telemetry::Labels;

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
    /// Bytes of answer that were emitted: what an estimate is made of.
    pub(super) emitted_bytes: u64,
}

impl Spent {
    /// An attempt that begins.
    pub(super) fn new(target: Target) -> Spent {
        Spent { target, outcome: None, usage: None, bill: Bill::default(), emitted_bytes: 0 }
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
            let (usage, cost) = self.bill(spent);
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

    /// What an attempt used and cost: the provider's word, else an estimate from what was sent and
    /// emitted. An attempt that gave nothing and said nothing is not billed by any provider we know.
    fn bill(&self, spent: &Spent) -> (Usage, Cost) {
        let completed = spent.outcome == Some(AttemptOutcome::Completed);
        let usage = match &spent.usage {
            Some(usage) => usage.clone(),
            None if completed || spent.emitted_bytes > 0 => Usage {
                input_tokens: Some(provider::estimate_tokens(self.job.input.get().len() as u64)),
                output_tokens: Some(provider::estimate_tokens(spent.emitted_bytes)),
                source: UsageSource::Estimate,
                ..Usage::default()
            },
            None => return (Usage::default(), Cost::FREE),
        };
        let cost = self.svc.meter.book().cost(&self.job, &spent.target, &usage, &spent.bill);
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

/// Sums over a job's attempts, for its terminal.
pub(super) struct Totals {
    pub(super) usage: Usage,
    pub(super) cost: Cost,
    pub(super) attempts: u32,
    pub(super) timing: Timing,
}
