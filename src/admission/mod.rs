//! Admission: every attempt needs a permit for its target, and jobs wait in a queue until they get one.
//!
//! Owns the health of each target that all jobs share (`targets`), and the jobs that wait until one can be
//! asked (`queue`). Promises that new jobs do not overtake those that wait for the same target, and that a
//! target which accepts one call again gets one. Does not know how a call is made.

mod actor;
mod listing;
mod permit;
mod queue;
mod targets;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use permit::Permit;
pub(crate) use queue::Ticket;

use crate::config::Config;
use crate::job::{Failure, Job, Queued, StreamId, Target, Timestamp};
pub(crate) use crate::policy::breaker::Unavailable;
use crate::policy::failover::Candidate;
use queue::{AdmissionQueue, Rules};

/// The admission of one broker. Clones share it.
#[derive(Clone)]
pub struct Admission {
    queue: Arc<AdmissionQueue>,
}

/// A job that wants a place in the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Waiting {
    /// The stream of the job.
    pub(crate) stream: StreamId,
    /// The targets that the job may ask; the first that is free is taken.
    pub(crate) candidates: Vec<Candidate>,
    /// The priority of the job; 0 goes first.
    pub(crate) priority: u8,
    /// The value of [`Admission::share`] for the job.
    pub(crate) share: Option<Box<str>>,
    /// The time at which the job was submitted.
    pub(crate) since: Timestamp,
}

/// What a waiting job learns next.
pub(crate) enum Turn {
    /// The job waits, for this reason and at this position.
    Queued(Queued),
    /// The job may ask this permit's target.
    Go(Permit),
}

impl Admission {
    /// Returns a permit for the first of `candidates` that may be asked now. It costs a look-up and an
    /// uncontended lock for each.
    ///
    /// # Errors
    /// The soonest time at which one of them opens. Do not try again then: a job that goes on waiting takes
    /// a place in the queue.
    /// a place in queue.
    pub(crate) fn enter(&self, candidates: &[Candidate]) -> Result<Permit, Unavailable> {
        self.queue.enter(candidates)
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// `overloaded` when the queue is full.
    pub(crate) fn wait(&self, waiting: Waiting) -> Result<Ticket, Failure> {
        self.queue.wait(waiting)
    }

    /// Returns the value of the tag by which waiting jobs take turns.
    #[must_use]
    pub fn share(&self, job: &Job) -> Option<Box<str>> {
        let rules = self.queue.rules.load();
        let value = job.metadata.get(rules.queue.fair_key()?)?;
        Some(value.to_string().into())
    }

    /// Returns how long `target` takes to its first token, as far as that is known; see
    /// [`crate::policy::breaker::Health::first_token`].
    #[must_use]
    pub fn first_token(&self, target: &Target) -> Option<Duration> {
        let target_health = self.queue.targets.find(target)?;
        target_health.health().first_token(self.queue.now())
    }

    /// Applies the rules of another configuration. Targets that are closed stay closed.
    pub fn reload(&self, config: &Config) {
        self.queue.rules.store(Arc::new(Rules::of(config)));
        self.queue.wake.notify_one();
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
