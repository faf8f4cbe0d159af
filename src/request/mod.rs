//! The path of one job, from submission to its sealed stream.
//!
//! Owns who works on what: one actor per job, one future that reads top to bottom. Promises that
//! every accepted job ends exactly once. Does not know doors.

mod live;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use live::Live;

use crate::clock::Clock;
use crate::job::{Code, Failure, Job, JobId};
use crate::log::{Found, Log, Stream};

/// What every door and every job needs. One per broker.
pub struct Services {
    /// The durable log.
    pub log: Arc<dyn Log>,
    /// Configuration and what was built from it; a reload swaps it.
    pub live: ArcSwap<Live>,
    /// Dates.
    pub clock: Clock,
}

/// A submitted job.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Its stream; the `accepted` record is durable.
    pub stream: Arc<Stream>,
    /// Whether the job existed already.
    pub reused: bool,
}

impl Services {
    /// Takes a job in: durable when this resolves, and on its way. A repeat joins the first.
    /// Cancel-safe: once the job is durable it runs, whoever waits for this.
    ///
    /// # Errors
    /// `unknown_model`, `conflict`, `expired`, `overloaded`, `unsupported`.
    pub async fn submit(self: &Arc<Self>, _job: Job) -> Result<Submitted, Failure> {
        Err(Failure::internal("not wired yet"))
    }

    /// Cancels a job and waits until its terminal is durable. A job that has ended stays as it is.
    ///
    /// # Errors
    /// `not_found`, `expired`.
    pub async fn cancel(&self, id: &JobId, _by: &'static str) -> Result<Arc<Stream>, Failure> {
        self.stream(id).await
    }

    /// The stream of a job.
    ///
    /// # Errors
    /// `not_found`, `expired`.
    pub async fn stream(&self, id: &JobId) -> Result<Arc<Stream>, Failure> {
        match self.log.find(id).await? {
            Found::Stream(stream) => Ok(stream),
            Found::Expired(_) => Err(Failure::new(Code::Expired, "the job was removed after its retention")),
            Found::Nothing => Err(Failure::new(Code::NotFound, "no such job")),
        }
    }

    /// The door through which the job came has lost its client: the job's `on_disconnect` decides.
    pub fn client_left(&self, _stream: &Arc<Stream>) {}

    /// Whether the broker is going down: doors say `goaway` and take nothing new.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        false
    }

    /// Resolves when the broker starts going down.
    pub async fn draining(&self) {
        std::future::pending::<()>().await;
    }
}
