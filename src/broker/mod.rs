//! The path of one job, from submission to its sealed stream.
//!
//! Owns who works on what: one actor per job, one future that reads top to bottom. Promises that
//! every accepted job ends exactly once, also across our own death. Does not know doors.

mod complete_on_drop;
mod models;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use models::ModelsQuery;

use crate::admission::Admission;
use crate::clock::Clock;
use crate::job::{Code, Failure, Job, JobId};
use crate::log::{Found, Log, Opened, Stream};
use crate::meter::Meter;
use crate::notify::webhooks::Outbox;
use crate::policy::route;
use crate::provider::call::ProviderClient;
use crate::run::job_run::JobRun;
use crate::run::passthrough::Passthrough;
use crate::run::running_jobs::RunningJobs;
use crate::run::{Arbiters, ConfigSnapshot, Stop, actor, recovery};
use crate::streams::UserStreams;
use crate::telemetry::{self, OurStage};
use crate::wire::submit::{Door, Said};
use complete_on_drop::CompleteOnDrop;

/// How long a job's `accepted` record waits for its first attempt's, to share a commit with it.
const FIRST_APPEND_WAIT: Duration = Duration::from_millis(1);
/// Milliseconds that a client is advised to wait when all places are taken.
const FULL_RETRY_AFTER_MS: u64 = 1000;

/// What a broker is made of; `app` and tests fill it in.
pub struct Parts {
    /// The durable log.
    pub log: Arc<dyn Log>,
    /// Configuration and what was built from it.
    pub snapshot: ConfigSnapshot,
    /// Dates.
    pub clock: Clock,
    /// The HTTP client.
    pub provider_client: ProviderClient,
    /// Money.
    pub meter: Meter,
    /// The way to the providers.
    pub admission: Admission,
    /// Where actors snapshot.
    pub arbiters: Arbiters,
    /// Where submissions are carried through, whoever waits for them.
    pub runtime: tokio::runtime::Handle,
    /// What retries are spread by; a seed repeats a simulation.
    pub seed: u64,
}

/// What every door and every job needs. One per broker.
pub struct Broker {
    /// The durable log.
    pub log: Arc<dyn Log>,
    /// Configuration and what was built from it; a reload swaps it.
    pub snapshot: ArcSwap<ConfigSnapshot>,
    /// Dates.
    pub clock: Clock,
    /// Money.
    pub meter: Meter,
    /// The way to the providers.
    pub admission: Admission,
    /// Users' own streams.
    pub feeds: Arc<UserStreams>,
    pub(crate) provider_client: ProviderClient,
    arbiters: Arbiters,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) roster: RunningJobs,
    pub(crate) outbox: Outbox,
    random: Mutex<fastrand::Rng>,
    drain: watch::Sender<bool>,
    nats_connected: AtomicBool,
    deliveries: Mutex<Option<mpsc::Sender<Delivery>>>,
}

/// A job whose records are to be published as they become durable.
#[derive(Debug)]
pub struct Delivery {
    /// What to publish.
    pub stream: Arc<Stream>,
    /// Where.
    pub subject: Box<str>,
}

/// A submitted job.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Its stream; the `accepted` record is durable.
    pub stream: Arc<Stream>,
    /// Whether the job existed already.
    pub reused: bool,
}

impl Broker {
    /// A broker without doors.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Broker> {
        Arc::new(Broker {
            feeds: UserStreams::new(Arc::clone(&parts.log), parts.clock, parts.runtime.clone()),
            log: parts.log,
            snapshot: ArcSwap::from_pointee(parts.snapshot),
            clock: parts.clock,
            meter: parts.meter,
            admission: parts.admission,
            provider_client: parts.provider_client,
            arbiters: parts.arbiters,
            runtime: parts.runtime,
            roster: RunningJobs::new(),
            outbox: Outbox::default(),
            random: Mutex::new(fastrand::Rng::with_seed(parts.seed)),
            drain: watch::Sender::new(false),
            nats_connected: AtomicBool::new(false),
            deliveries: Mutex::new(None),
        })
    }

    /// The valid job of what was said at a door.
    ///
    /// # Errors
    /// `invalid` or `unsupported`, naming the field.
    pub fn job(&self, said: Said, mut door: Door) -> Result<Job, Failure> {
        door.task = door.task.or_else(|| self.snapshot.load().task_of(&said.model));
        said.into_job(&door, self.clock.now())
    }

    /// Takes a job in: durable when this resolves, and on its way. A repeat joins the first.
    /// Cancel-safe: once it is polled the job is carried through, whoever waits for this.
    ///
    /// # Errors
    /// `unknown_model`, `conflict`, `expired`, `overloaded`; `invalid` or `unsupported` for a webhook
    /// that may not be told.
    pub async fn submit(self: &Arc<Self>, job: Job) -> Result<Submitted, Failure> {
        self.submit_then(job, |submitted| submitted).await
    }

    /// As [`Broker::submit`]. What `then` makes of the job is made also when nobody waits any more,
    /// and dropped then: so that a door learns of a client that left before it had its answer.
    ///
    /// # Errors
    /// As [`Broker::submit`].
    pub async fn submit_then<T: Send + 'static>(
        self: &Arc<Self>,
        job: Job,
        then: impl FnOnce(Submitted) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.submit_with(job, None, then).await
    }

    pub(crate) async fn submit_with<T: Send + 'static>(
        self: &Arc<Self>,
        job: Job,
        passage: Option<Passthrough>,
        then: impl FnOnce(Submitted) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        if self.is_draining() {
            return Err(
                Failure::new(Code::Overloaded, "the broker is going down").with_retry_after_ms(FULL_RETRY_AFTER_MS)
            );
        }
        let svc = Arc::clone(self);
        let carried =
            CompleteOnDrop::new(&self.runtime, async move { svc.take_in(Arc::new(job), passage).await.map(then) });
        carried.await.unwrap_or_else(|| Err(Failure::internal("a bug: the submission panicked")))
    }

    async fn take_in(self: &Arc<Self>, job: Arc<Job>, passage: Option<Passthrough>) -> Result<Submitted, Failure> {
        let asked = Instant::now();
        {
            let snapshot = self.snapshot.load();
            if passage.is_none() {
                route::targets(&job, &snapshot.config, &snapshot.on)?;
            }
            if let Some(webhook) = &job.options.webhook {
                snapshot.webhooks.check(&webhook.url)?;
            }
            if self.roster.len() >= snapshot.config.server.jobs_max {
                let full = Failure::new(Code::Overloaded, "too many jobs are under way");
                return Err(full.with_retry_after_ms(FULL_RETRY_AFTER_MS));
            }
        }
        match self.log.create(Arc::clone(&job)).await? {
            Opened::New(writer) => {
                telemetry::cache("miss");
                let stream = Arc::clone(writer.stream());
                self.begin(JobRun { passage, ..JobRun::new(Arc::clone(&job), Arc::clone(self), writer) });
                telemetry::overhead(OurStage::Admit, asked.elapsed());
                if tokio::time::timeout(FIRST_APPEND_WAIT, stream.first_durable()).await.is_err() {
                    self.log.flush();
                }
                stream.first_durable().await?;
                self.announce(&job, &stream);
                Ok(Submitted { stream, reused: false })
            }
            Opened::Joined(stream) => {
                telemetry::cache("join");
                Ok(Submitted { stream, reused: true })
            }
        }
    }

    /// Starts the actor of a job.
    pub(crate) fn begin(self: &Arc<Self>, run: JobRun) {
        let seat = self.roster.seat(run.writer.stream().head().stream);
        actor::start(&self.arbiters, run, seat);
    }

    /// Has the records published where the job says so.
    pub(crate) fn announce(&self, job: &Job, stream: &Arc<Stream>) {
        let Some(deliver) = &job.options.deliver else { return };
        let delivery = Delivery { stream: Arc::clone(stream), subject: deliver.subject.clone() };
        let sender = self.deliveries.lock().expect("nothing panics while it holds this lock").clone();
        match sender.map(|sender| (sender.try_send(delivery), sender)) {
            Some((Ok(()), _)) => {}
            // One waiting task per job under way at the most.
            Some((Err(mpsc::error::TrySendError::Full(delivery)), sender)) => {
                self.runtime.spawn(async move { sender.send(delivery).await });
            }
            _ => tracing::warn!("records that a job wants delivered stay in the log: there is no NATS entrance"),
        }
    }

    /// Where jobs with `options.deliver` are announced, from now on.
    pub fn set_deliveries(&self, sender: mpsc::Sender<Delivery>) {
        *self.deliveries.lock().expect("nothing panics while it holds this lock") = Some(sender);
    }

    /// Settles every job that the log found without a terminal, by its `on_crash` rule. Call it once,
    /// before any door opens.
    pub async fn settle_unfinished(self: &Arc<Self>) {
        recovery::all(self).await;
    }

    /// Cancels a job and waits until its terminal is durable. A job that has ended stays as it is.
    ///
    /// # Errors
    /// `not_found`, `expired`; `overloaded` when the terminal is slow to come.
    pub async fn cancel(&self, id: &JobId, by: &'static str) -> Result<Arc<Stream>, Failure> {
        let stream = self.stream(id).await?;
        let mut tail = stream.watch();
        let ended = async {
            loop {
                self.roster.stop(stream.head().stream, Stop::Cancel(by)).await;
                let ended = tail.wait_for(|tail| tail.state.is_terminal());
                // A job that was only just submitted may not have had its actor yet: ask again.
                if tokio::time::timeout(Duration::from_millis(250), ended).await.is_ok() {
                    return;
                }
            }
        };
        let slow = || Failure::new(Code::Overloaded, "the job is being cancelled, and its end is slow to come");
        tokio::time::timeout(actor::CANCEL_WAIT, ended).await.map_err(|_| slow())?;
        Ok(stream)
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
    pub fn client_left(&self, stream: &Arc<Stream>) {
        self.roster.client_left(stream.head().stream);
    }

    /// Where doors put actors of their own.
    #[must_use]
    pub fn arbiters(&self) -> &Arbiters {
        &self.arbiters
    }

    /// Jobs under way.
    #[must_use]
    pub fn jobs_in_flight(&self) -> usize {
        self.roster.len()
    }

    /// Whether the broker is going down: doors say `goaway` and take nothing new.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Resolves when the broker starts going down.
    pub async fn draining(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.drain.subscribe().wait_for(|draining| *draining).await;
    }

    /// Takes no more jobs, lets running ones finish for `grace`, then interrupts them cleanly.
    pub async fn drain(&self, grace: Duration) {
        self.drain.send_replace(true);
        if tokio::time::timeout(grace, self.roster.empty()).await.is_err() {
            tracing::warn!(jobs = self.roster.len(), "still running after the drain time: interrupting");
            self.roster.stop_all(Stop::Shutdown).await;
            self.roster.empty().await;
        }
    }

    /// Notes whether NATS is connected.
    pub fn set_nats_connected(&self, connected: bool) {
        self.nats_connected.store(connected, Ordering::Relaxed);
        telemetry::nats_connected(connected);
    }

    /// Why the broker is not ready to take jobs, if it is not.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("going down".into());
        }
        if let Some(reason) = self.log.health().refusing {
            return Some(reason);
        }
        let wants_nats = self.snapshot.load().config.nats.enabled;
        (wants_nats && !self.nats_connected.load(Ordering::Relaxed)).then(|| "NATS is not connected".into())
    }

    pub(crate) fn jitter(&self) -> f64 {
        self.random.lock().expect("nothing panics while it holds this lock").f64()
    }
}
