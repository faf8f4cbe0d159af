//! The way to the providers: every attempt goes through its target's gate.
//!
//! Owns what all jobs know together about each target (`board`), and the jobs that wait until one
//! can be asked (`desk`). Promises that newcomers do not overtake those in line for the same target,
//! and that a target which takes one call again gets one. Does not know how a call is made.

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

/// The gates of one broker. A clone is the same ones.
#[derive(Clone)]
pub struct Admission {
    desk: Arc<AdmissionQueue>,
}

/// A job that wants a place in line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Waiting {
    /// Whose.
    pub(crate) stream: StreamId,
    /// Any of these will do, the first that is free.
    pub(crate) candidates: Vec<Candidate>,
    /// 0 goes first.
    pub(crate) priority: u8,
    /// [`Admission::share`] of the job.
    pub(crate) share: Option<Box<str>>,
    /// When the job came in.
    pub(crate) since: Timestamp,
}

/// What a waiting job learns.
pub(crate) enum Turn {
    /// It waits, and for what.
    Queued(Queued),
    /// Its turn has come.
    Go(Permit),
}

impl Admission {
    /// A pass through the first of `candidates` that may be asked now. It costs a look-up and an
    /// uncontended lock each.
    ///
    /// # Errors
    /// The soonest opening of all. It is no time to try again at: whoever will not give up takes
    /// a place in line.
    pub(crate) fn enter(&self, candidates: &[Candidate]) -> Result<Permit, Unavailable> {
        self.desk.enter(candidates)
    }

    /// A place in line.
    ///
    /// # Errors
    /// `overloaded` when the line is full.
    pub(crate) fn wait(&self, waiting: Waiting) -> Result<Ticket, Failure> {
        self.desk.wait(waiting)
    }

    /// The value of the tag by which jobs take turns.
    #[must_use]
    pub fn share(&self, job: &Job) -> Option<Box<str>> {
        let rules = self.desk.rules.load();
        let value = job.metadata.get(rules.queue.fair_key()?)?;
        Some(value.to_string().into())
    }

    /// How long `target` takes to its first token, as far as that is known; see
    /// [`crate::policy::breaker::Health::first_token`].
    #[must_use]
    pub fn first_token(&self, target: &Target) -> Option<Duration> {
        let gate = self.desk.board.find(target)?;
        gate.health().first_token(self.desk.now())
    }

    /// Takes the rules of another configuration. What is shut stays so.
    pub fn reload(&self, config: &Config) {
        self.desk.rules.store(Arc::new(Rules::of(config)));
        self.desk.wake.notify_one();
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
