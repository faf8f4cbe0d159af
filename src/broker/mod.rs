//! What every entrance calls: submit a job, cancel it, find its stream, drain, list models.
//!
//! Owns the set of running jobs and their start. Promises that a submitted job is durable before its
//! entrance learns of it, and that a repeated submission joins the first. Does not know NATS, HTTP or
//! WebSocket.

mod complete_on_drop;
mod drain;
mod models;
pub mod passthrough;
mod recovery;
mod submit;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use models::ModelsQuery;
pub use passthrough::{PassthroughReply, PassthroughRequest, Reading, TeeItem, TeeReader};
pub use submit::Submitted;

use crate::admission::Admission;
use crate::clock::Clock;
use crate::job::{Code, Failure, JobId};
use crate::log::{Found, Log, Stream};
use crate::meter::Meter;
use crate::notify::nats::Deliveries;
use crate::notify::webhooks::{Outbox, OutboxParts};
use crate::provider::call::ProviderClient;
use crate::random::Random;
use crate::run::running_jobs::RunningJobs;
use crate::run::{Arbiters, Env, Stop, actor};
use crate::snapshot::ConfigSnapshot;
use crate::streams::UserStreams;

/// How long a cancellation waits before it asks the job's actor again: a job that was submitted a
/// moment ago may not have had its actor yet.
const CANCEL_AGAIN: Duration = Duration::from_millis(250);

/// What a broker is made of; `app` and tests fill it in.
pub struct Parts {
    /// The durable log of all streams.
    pub log: Arc<dyn Log>,
    /// The configuration and what was built from it.
    pub snapshot: ConfigSnapshot,
    /// The source of all dates.
    pub clock: Clock,
    /// The client that calls providers.
    pub provider_client: ProviderClient,
    /// Prices and the ledger.
    pub meter: Meter,
    /// Decides when a job may ask which target.
    pub admission: Admission,
    /// The threads that run actors.
    pub arbiters: Arbiters,
    /// The runtime on which a submission is completed after its caller has left.
    pub runtime: tokio::runtime::Handle,
    /// The seed of the jitter of retries; the same seed repeats a simulation.
    pub seed: u64,
}

/// The core of a running broker, which all entrances share. The public fields are handles that an
/// entrance needs for reading: cheap to clone, and the same ones that jobs use.
pub struct Broker {
    /// The durable log of all streams.
    pub log: Arc<dyn Log>,
    /// The configuration in force and what was built from it; a reload swaps it.
    pub snapshot: Arc<ArcSwap<ConfigSnapshot>>,
    /// The source of all dates.
    pub clock: Clock,
    /// Prices and the ledger.
    pub meter: Meter,
    /// Decides when a job may ask which target.
    pub admission: Admission,
    /// Streams that users write themselves.
    pub user_streams: Arc<UserStreams>,
    /// Publishes the records of jobs to NATS subjects.
    pub deliveries: Deliveries,
    env: Arc<Env>,
    arbiters: Arbiters,
    running: RunningJobs,
    drain: watch::Sender<bool>,
    nats_connected: AtomicBool,
}

impl Broker {
    /// Puts a broker together that has no entrances yet.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Broker> {
        let Parts { log, snapshot, clock, provider_client, meter, admission, arbiters, runtime, seed } = parts;
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let random = Random::seeded(seed);
        let outbox = Outbox::new(OutboxParts {
            log: Arc::clone(&log),
            snapshot: Arc::clone(&snapshot),
            clock,
            random: random.clone(),
        });
        Arc::new(Broker {
            user_streams: UserStreams::new(log.clone(), clock, runtime.clone()),
            deliveries: Deliveries::new(runtime.clone()),
            log: Arc::clone(&log),
            snapshot: Arc::clone(&snapshot),
            clock,
            meter: meter.clone(),
            admission: admission.clone(),
            env: Arc::new(Env { log, snapshot, clock, meter, admission, provider_client, outbox, runtime, random }),
            arbiters,
            running: RunningJobs::new(),
            drain: watch::Sender::new(false),
            nats_connected: AtomicBool::new(false),
        })
    }

    /// Cancels a job and waits until its terminal record is durable. A job that has ended stays as it
    /// is. Cancel-safe: a dropped call may still cancel the job.
    ///
    /// # Errors
    /// `not_found`, `expired`; `overloaded` when the terminal record is slow to come.
    pub async fn cancel(&self, id: &JobId, by: &'static str) -> Result<Arc<Stream>, Failure> {
        let stream = self.stream(id).await?;
        let mut tail = stream.watch();
        let ended = async {
            loop {
                self.running.stop(stream.head().stream, Stop::Cancel(by)).await;
                let ended = tail.wait_for(|tail| tail.state.is_terminal());
                if tokio::time::timeout(CANCEL_AGAIN, ended).await.is_ok() {
                    return;
                }
            }
        };
        let slow = || Failure::new(Code::Overloaded, "the job is being cancelled, and its end is slow to come");
        tokio::time::timeout(actor::CANCEL_WAIT, ended).await.map_err(|_| slow())?;
        Ok(stream)
    }

    /// Finds the stream of a job.
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

    /// Notes that the entrance through which the job came has lost its client: the job's
    /// `on_disconnect` decides what follows.
    pub fn client_left(&self, stream: &Arc<Stream>) {
        self.running.client_left(stream.head().stream);
    }

    /// Delivers the webhooks of jobs that have ended, those of the time before this start included.
    /// Never returns; drop it to stop. What is not delivered then is delivered after the next start.
    pub async fn deliver_webhooks(self: Arc<Self>) {
        Arc::clone(&self.env.outbox).deliver().await;
    }

    /// Threads on which entrances start actors of their own.
    #[must_use]
    pub fn arbiters(&self) -> &Arbiters {
        &self.arbiters
    }
}
