//! The submission of a job: checked, made durable, started.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Broker;
use super::complete_on_drop::CompleteOnDrop;
use crate::job::{Code, Failure, Job};
use crate::log::{Opened, Stream};
use crate::policy::route;
use crate::run::actor;
use crate::run::job_run::JobRun;
use crate::run::passthrough::Passthrough;
use crate::telemetry::{self, OurStage};
use crate::wire::submit::{Entrance, JobRequest};

/// How long a job's `accepted` record waits for its first attempt's, to share a commit with it.
const FIRST_APPEND_WAIT: Duration = Duration::from_millis(1);
/// Milliseconds that a client is advised to wait when the broker takes no job.
const FULL_RETRY_AFTER_MS: u64 = 1000;

/// A job that was submitted and is durable.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The job's stream; its `accepted` record is durable.
    pub stream: Arc<Stream>,
    /// Whether the job existed before this submission.
    pub reused: bool,
}

impl Broker {
    /// Makes a valid job of a request that came in at an entrance.
    ///
    /// # Errors
    /// `invalid` or `unsupported`, naming the field.
    pub fn job(&self, request: JobRequest, mut entrance: Entrance) -> Result<Job, Failure> {
        entrance.task = entrance.task.or_else(|| self.snapshot.load().task_of(&request.model));
        request.into_job(&entrance, self.clock.now())
    }

    /// Submits a job: it is durable and has started when this resolves. A repeated submission joins the
    /// first. Cancel-safe: once this was polled, the submission is completed even if it is dropped.
    ///
    /// # Errors
    /// `unknown_model`, `conflict`, `expired`, `overloaded`; `invalid` or `unsupported` for a webhook
    /// whose address is not allowed.
    pub async fn submit(self: &Arc<Self>, job: Job) -> Result<Submitted, Failure> {
        self.submit_then(job, |submitted| submitted).await
    }

    /// Submits a job as [`Broker::submit`] does, and makes something of it by `then`. That is made also
    /// when this was dropped meanwhile, and then dropped: so an entrance learns of a client that left
    /// before it had its answer.
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

    /// Submits a job whose request goes to its provider as the client wrote it, if there is one.
    pub(super) async fn submit_with<T: Send + 'static>(
        self: &Arc<Self>,
        job: Job,
        passthrough: Option<Passthrough>,
        then: impl FnOnce(Submitted) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        if self.is_draining() {
            let draining = Failure::new(Code::Overloaded, "the broker is going down");
            return Err(draining.with_retry_after_ms(FULL_RETRY_AFTER_MS));
        }
        let broker = Arc::clone(self);
        let accept = async move { broker.accept(Arc::new(job), passthrough).await.map(then) };
        let accepted = CompleteOnDrop::new(&self.env.runtime, accept).await;
        accepted.unwrap_or_else(|| Err(Failure::internal("a bug: the submission panicked")))
    }

    async fn accept(self: &Arc<Self>, job: Arc<Job>, passthrough: Option<Passthrough>) -> Result<Submitted, Failure> {
        let began = Instant::now();
        self.check(&job, passthrough.is_some())?;
        match self.log.create(Arc::clone(&job)).await? {
            Opened::New(writer) => {
                telemetry::cache("miss");
                let stream = Arc::clone(writer.stream());
                let mut run = JobRun::new(Arc::clone(&job), Arc::clone(&self.env), writer);
                run.passthrough = passthrough;
                self.start(run);
                telemetry::overhead(OurStage::Admit, began.elapsed());
                if tokio::time::timeout(FIRST_APPEND_WAIT, stream.first_durable()).await.is_err() {
                    self.log.flush();
                }
                stream.first_durable().await?;
                self.deliveries.announce(&job, &stream);
                Ok(Submitted { stream, reused: false })
            }
            Opened::Joined(stream) => {
                telemetry::cache("join");
                Ok(Submitted { stream, reused: true })
            }
        }
    }

    /// Refuses a job that no target can answer, whose webhook is not allowed, or for which there is no
    /// room.
    fn check(&self, job: &Job, is_passed_through: bool) -> Result<(), Failure> {
        let snapshot = self.snapshot.load();
        if !is_passed_through {
            route::targets(job, &snapshot.config, &snapshot.on)?;
        }
        if let Some(webhook) = &job.options.webhook {
            snapshot.webhooks.check(&webhook.url)?;
        }
        if self.running.len() >= snapshot.config.server.jobs_max {
            let full = Failure::new(Code::Overloaded, "too many jobs are under way");
            return Err(full.with_retry_after_ms(FULL_RETRY_AFTER_MS));
        }
        Ok(())
    }

    /// Starts the actor of a job whose stream is open.
    pub(super) fn start(&self, run: JobRun) {
        let slot = self.running.reserve(run.writer.stream().head().stream);
        actor::start(&self.arbiters, run, slot);
    }
}
