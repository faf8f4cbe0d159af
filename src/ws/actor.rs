//! The actor of one socket.
//!
//! * Role: owns the lifetime of the socket — its timers, the jobs it submitted, the decision to close.
//! * Mailbox: bounded; a full one is an answer (`overloaded`), never a wait.
//! * It holds no socket and awaits none: its messages go over a bounded channel to the task that
//!   moves data, from futures beside its handlers, so that its timers run whatever the client does.
//! * It ends when the data task is over and every submission under way has come to something.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Notify, mpsc, watch};

use super::heartbeat::{Deadlines, Liveness};
use crate::broker::{Broker, Submitted};
use crate::job::caps::{CLOSE_GRACE_MS, COMMANDS_MAX, SUBMITTED_MAX};
use crate::job::{Code, Failure, Job, JobId};
use crate::log::Stream;
use crate::telemetry;
use crate::wire::frame::{Close, Label, ServerMessage};

/// Arbiter that runs actors of sockets.
pub type SocketArbiter = ArbiterHandle;

/// Milliseconds that a client is asked to wait before it comes back to a broker that restarts.
const RETRY_AFTER_MS: u64 = 1000;

/// A command of the client.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Command {
    /// Submit this job for the client.
    Run(Label, Box<Job>),
    /// Cancel this job for the client.
    Cancel(JobId),
    /// The data task is over.
    Over,
}

/// The actor as the data task sees it. Dropping it ends the actor.
pub(super) struct ActorHandle {
    addr: Addr<SocketActor>,
    liveness: Arc<Liveness>,
}

impl ActorHandle {
    /// Sends a command to the actor.
    ///
    /// # Errors
    /// `overloaded` when too many are under way.
    pub(super) fn give(&self, command: Command) -> Result<(), Failure> {
        let busy = || Failure::new(Code::Overloaded, "too many requests of this socket are under way");
        self.addr.try_send(command).map_err(|_| busy().with_retry_after_ms(RETRY_AFTER_MS))
    }
}

impl Drop for ActorHandle {
    fn drop(&mut self) {
        // Where the mailbox is full the actor sees it at its next look.
        self.liveness.end();
        let _ = self.addr.try_send(Command::Over);
    }
}

/// Messages from the actor to the data task.
pub(super) struct ActorEvents {
    /// Reason for which the socket must be closed, once there is one.
    pub(super) close: watch::Receiver<Option<Close>>,
    /// Answers to commands, and `goaway`.
    pub(super) replies: mpsc::Receiver<ServerMessage>,
    /// It is time for a heartbeat and a ping.
    pub(super) heartbeat_due: Arc<Notify>,
}

/// Starts the actor of one socket.
pub(super) fn start(
    arbiter: &SocketArbiter,
    broker: Arc<Broker>,
    liveness: Arc<Liveness>,
    deadlines: Deadlines,
) -> (ActorHandle, ActorEvents) {
    let (close, close_line) = watch::channel(None);
    let (replies, replies_line) = mpsc::channel(COMMANDS_MAX);
    let heartbeat_due = Arc::new(Notify::new());
    let actor_events =
        ActorEvents { close: close_line, replies: replies_line, heartbeat_due: Arc::clone(&heartbeat_due) };
    let seen = Arc::clone(&liveness);
    let addr = SocketActor::start_in_arbiter(arbiter, move |ctx| {
        ctx.set_mailbox_capacity(COMMANDS_MAX);
        SocketActor {
            broker,
            liveness,
            deadlines,
            close,
            replies,
            heartbeat_due,
            submitted: Vec::new(),
            under_way: 0,
            is_over: false,
        }
    });
    (ActorHandle { addr, liveness: seen }, actor_events)
}

struct SocketActor {
    broker: Arc<Broker>,
    liveness: Arc<Liveness>,
    deadlines: Deadlines,
    close: watch::Sender<Option<Close>>,
    replies: mpsc::Sender<ServerMessage>,
    heartbeat_due: Arc<Notify>,
    /// Jobs that this client submitted and that may be unfinished.
    submitted: Vec<Arc<Stream>>,
    under_way: usize,
    is_over: bool,
}

impl Actor for SocketActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.deadlines.heartbeat, |actor, _| actor.heartbeat_due.notify_one());
        ctx.run_interval(self.deadlines.check(), SocketActor::check);
        ctx.run_later(self.deadlines.hello + Duration::from_millis(2), SocketActor::check);
        let goaway = send_goaway(Arc::clone(&self.broker), self.replies.clone());
        ctx.spawn(goaway.into_actor(self).map(|(), actor, _| actor.end(Close::Restart)));
    }
}

impl SocketActor {
    fn end(&self, close: Close) {
        self.close.send_if_modified(|reason| reason.replace(close).is_none());
    }

    fn check(&mut self, ctx: &mut Context<Self>) {
        if self.liveness.is_over() {
            self.disconnected(ctx);
        } else if let Some(close) = self.liveness.expired(&self.deadlines) {
            self.end(close);
        }
    }

    /// Ends the work for a client that left: its jobs' own options decide whether they go on.
    fn disconnected(&mut self, ctx: &mut Context<Self>) {
        self.is_over = true;
        for stream in self.submitted.drain(..) {
            client_left(&self.broker, &stream);
        }
        if self.under_way == 0 {
            ctx.stop();
        }
    }

    fn remember(&mut self, stream: Arc<Stream>) {
        if self.submitted.len() >= SUBMITTED_MAX {
            self.submitted.retain(|stream| !stream.tail().state.is_terminal());
        }
        if self.submitted.len() < SUBMITTED_MAX {
            self.submitted.push(stream);
        }
    }

    fn finish_command(&mut self, submitted: Option<Submitted>, ctx: &mut Context<Self>) {
        self.under_way -= 1;
        if let Some(Submitted { stream, reused: false }) = submitted {
            match self.is_over {
                true => client_left(&self.broker, &stream),
                false => self.remember(stream),
            }
        }
        if self.is_over && self.under_way == 0 {
            ctx.stop();
        }
    }
}

impl Handler<Command> for SocketActor {
    type Result = ();

    fn handle(&mut self, command: Command, ctx: &mut Context<Self>) {
        let (broker, replies) = (Arc::clone(&self.broker), self.replies.clone());
        if !matches!(command, Command::Over) && self.under_way >= COMMANDS_MAX {
            let error = Failure::new(Code::Overloaded, "too many requests of this socket are under way");
            let reference = match command {
                Command::Run(reference, _) => Some(reference),
                _ => None,
            };
            // Lost only where answers, too, are waiting in masses.
            let _ = replies.try_send(ServerMessage::Error { sub: None, reference, error });
            return;
        }
        match command {
            Command::Over => return self.disconnected(ctx),
            Command::Run(reference, job) => {
                ctx.spawn(run(broker, replies, reference, job).into_actor(self).map(|done, actor, ctx| {
                    actor.finish_command(done, ctx);
                }));
            }
            Command::Cancel(id) => {
                ctx.spawn(
                    cancel(broker, replies, id).into_actor(self).map(|(), actor, ctx| actor.finish_command(None, ctx)),
                );
            }
        }
        self.under_way += 1;
    }
}

fn client_left(broker: &Broker, stream: &Arc<Stream>) {
    if !stream.tail().state.is_terminal() {
        broker.client_left(stream);
    }
}

async fn run(
    broker: Arc<Broker>,
    replies: mpsc::Sender<ServerMessage>,
    reference: Label,
    job: Box<Job>,
) -> Option<Submitted> {
    let submitted = broker.submit(*job).await;
    let reply = match &submitted {
        Ok(Submitted { stream, reused }) => ServerMessage::Accepted {
            reference,
            id: stream.head().id.clone(),
            state: stream.tail().state,
            reused: *reused,
        },
        Err(failure) => {
            telemetry::error(failure);
            ServerMessage::Error { sub: None, reference: Some(reference), error: failure.clone() }
        }
    };
    let _ = replies.send(reply).await;
    submitted.ok()
}

async fn cancel(broker: Arc<Broker>, replies: mpsc::Sender<ServerMessage>, id: JobId) {
    if let Err(error) = broker.cancel(&id, "client").await {
        telemetry::error(&error);
        let _ = replies.send(ServerMessage::Error { sub: None, reference: None, error }).await;
    }
}

/// Sends `goaway` when the broker starts going down; resolves when readers have had their time to
/// see how their jobs ended.
async fn send_goaway(broker: Arc<Broker>, replies: mpsc::Sender<ServerMessage>) {
    broker.draining().await;
    let _ = replies.send(ServerMessage::Goaway { retry_after_ms: RETRY_AFTER_MS }).await;
    let drain_s = broker.snapshot.load().config.server.drain_s;
    tokio::time::sleep(Duration::from_secs(drain_s) + Duration::from_millis(CLOSE_GRACE_MS)).await;
}
