//! One actor per job: it owns the job's lifetime and nothing else.
//!
//! The work is the future that it starts in `started`. Control comes by a bounded mailbox: a stop, and the
//! news that the submitting client left.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::sync::watch;

use super::drive::{Stop, drive};
use super::job_run::JobRun;
use super::running_jobs::Slot;
use crate::job::OnDisconnect;
use crate::job::caps::{DRAIN_AFTER_DISCONNECT, JOB_MAILBOX};

/// The actor of one job.
pub(crate) struct JobActor {
    run: Option<JobRun>,
    on_disconnect: OnDisconnect,
    stop: watch::Sender<Option<Stop>>,
    /// The job's place among the running jobs; it is freed when the actor goes, however it goes.
    _slot: Slot,
}

impl JobActor {
    /// Makes the actor of a job that is ready to run.
    pub(crate) fn new(run: JobRun, slot: Slot) -> JobActor {
        let on_disconnect = run.job.options.on_disconnect;
        JobActor { run: Some(run), on_disconnect, stop: watch::Sender::new(None), _slot: slot }
    }

    /// Stops the job. The first reason counts: a job that is being cancelled is not interrupted as well.
    fn stop(&self, why: Stop) {
        self.stop.send_if_modified(|stop| stop.is_none().then(|| *stop = Some(why)).is_some());
    }
}

impl Actor for JobActor {
    type Context = Context<JobActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(JOB_MAILBOX);
        if let Some(run) = self.run.take() {
            let work = drive(run, self.stop.subscribe());
            ctx.spawn(work.into_actor(self).map(|(), _, ctx| ctx.stop()));
        }
    }
}

/// The address of a job's actor.
#[derive(Clone)]
pub(crate) struct Control(Addr<JobActor>);

impl Control {
    /// Tells the job to stop; waits for a place in its mailbox, not for the job's end.
    pub(crate) async fn stop(&self, why: Stop) {
        // A closed mailbox means that the job has ended by itself.
        let _ = self.0.send(StopJob(why)).await;
    }

    /// Tells the job that its submitting client left.
    pub(crate) fn client_left(&self) {
        // A full mailbox holds such news already; a closed one needs none.
        let _ = self.0.try_send(ClientLeft);
    }
}

/// The message that stops the job.
#[derive(Message)]
#[rtype(result = "()")]
struct StopJob(Stop);

impl Handler<StopJob> for JobActor {
    type Result = ();

    fn handle(&mut self, message: StopJob, _: &mut Self::Context) {
        self.stop(message.0);
    }
}

/// The message that the HTTP or WebSocket client which submitted the job left.
#[derive(Message)]
#[rtype(result = "()")]
struct ClientLeft;

impl Handler<ClientLeft> for JobActor {
    type Result = ();

    fn handle(&mut self, _: ClientLeft, ctx: &mut Self::Context) {
        match self.on_disconnect {
            OnDisconnect::Detach => {}
            OnDisconnect::Cancel => self.stop(Stop::Cancel("disconnect")),
            OnDisconnect::Drain => {
                ctx.run_later(DRAIN_AFTER_DISCONNECT, |actor, _| actor.stop(Stop::Cancel("disconnect")));
            }
        }
    }
}

/// The threads that run actors.
#[derive(Clone, Debug)]
pub struct Arbiters {
    handles: Arc<[actix::ArbiterHandle]>,
    next: Arc<std::sync::atomic::AtomicUsize>,
}

impl Arbiters {
    /// Spreads actors over `handles`, of which there is at least one.
    #[must_use]
    pub fn new(handles: Vec<actix::ArbiterHandle>) -> Arbiters {
        assert!(!handles.is_empty(), "actors need a thread");
        Arbiters { handles: handles.into(), next: Arc::default() }
    }

    /// Returns the next thread in turn.
    #[must_use]
    pub fn pick(&self) -> &actix::ArbiterHandle {
        let turn = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        &self.handles[turn % self.handles.len()]
    }
}

/// Starts the actor of a job.
pub(crate) fn start(arbiters: &Arbiters, run: JobRun, slot: Slot) {
    let running = slot.running();
    let stream = slot.stream();
    let addr = JobActor::start_in_arbiter(arbiters.pick(), move |_| JobActor::new(run, slot));
    running.attach(stream, Control(addr));
}

/// How long a cancellation waits for the terminal record before it answers that it is under way.
pub(crate) const CANCEL_WAIT: Duration = Duration::from_secs(10);
