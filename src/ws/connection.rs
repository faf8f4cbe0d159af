//! The task that moves the data of one socket.
//!
//! Owns the subscriptions and whose turn it is. Promises: one frame per turn, so one subscription
//! delays another by a frame at most; nothing is read from the log while the socket is full; a
//! client that does not read its answers is not listened to. Timers are the actor's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::actor::{self, ActorEvents, ActorHandle};
use super::heartbeat::{Deadlines, Liveness};
use super::resume::Step;
use super::socket::{Socket, Turn};
use super::subscription::{Subscription, readiness};
use super::{Handshake, SocketOutcome};
use crate::broker::Broker;
use crate::job::caps::{
    CLIENT_MESSAGES_BURST, CLIENT_MESSAGES_PER_S_MAX, CLOSE_GRACE_MS, FRAME_BYTES_MAX, MESSAGE_SLACK_BYTES,
    REPLIES_MAX, SESSION_FRAME_BYTES, SUBS_MAX,
};
use crate::job::{Failure, StreamId};
use crate::policy::access::Access;
use crate::telemetry;
use crate::wire::frame::{self, Close, Label, Protocol, ServerMessage, SubTail};

/// A place in the table of subscriptions; never given twice.
pub(super) type Slot = u64;

type Wait = Abortable<BoxFuture<'static, Slot>>;

/// Serves one client until one side closes, then closes the connection properly. Call it after the HTTP
/// upgrade. Dropping it closes the connection without a close frame.
pub async fn serve<IO>(io: IO, broker: Arc<Broker>, handshake: Handshake) -> SocketOutcome
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let snapshot = broker.snapshot.load_full();
    let server = &snapshot.config.server;
    let (liveness, deadlines) = (Arc::new(Liveness::new()), Deadlines::of(server));
    let message_bytes_max = server.body_bytes_max.saturating_add(MESSAGE_SLACK_BYTES);
    let socket = Socket::new(io, message_bytes_max, Arc::clone(&liveness)).await;
    let (control, actor_events) =
        actor::start(&handshake.arbiter, Arc::clone(&broker), Arc::clone(&liveness), deadlines);
    let mut connection = Connection {
        socket,
        protocol: handshake.protocol,
        broker,
        control,
        actor_events,
        liveness: Arc::clone(&liveness),
        deadlines,
        access: handshake.access,
        implicit: handshake.implicit,
        welcomed: false,
        subs: BTreeMap::new(),
        next_slot: 0,
        runnable: VecDeque::new(),
        waiting: FuturesUnordered::new(),
        replies: VecDeque::new(),
        ping_due: false,
        close_when_idle: None,
        rate: Rate { left: f64::from(CLIENT_MESSAGES_BURST), at: Instant::now() },
    };
    let close_mode = connection.run_loop().await;
    let Connection { mut socket, control, .. } = connection;
    drop(control);
    let grace = Duration::from_millis(CLOSE_GRACE_MS);
    // Whether the last words arrive is the client's business; the connection ends here either way.
    let close = match close_mode {
        CloseMode::Ours(close) => {
            let _ = timeout(grace, socket.close(close)).await;
            Some(close)
        }
        CloseMode::Peers => {
            let _ = timeout(grace, socket.answer_close()).await;
            None
        }
        CloseMode::Lost => None,
    };
    SocketOutcome { close, held_bytes_max: liveness.held_bytes_max() }
}

/// How a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CloseMode {
    /// The broker closes it, for this reason.
    Ours(Close),
    /// The client closed it: its close is answered.
    Peers,
    /// The connection is lost: there is nothing to close.
    Lost,
}

/// What can happen to a connection.
enum Event {
    /// The actor decided to close.
    Close(Close),
    /// A heartbeat is due.
    Beat,
    /// The tail of a subscription moved; `None` for one that is gone.
    Ready(Option<Slot>),
    /// A command of the client has a result.
    Reply(ServerMessage),
    /// The socket has an event.
    Turn(Turn),
}

/// State of one connection. The messages of the client are handled in `client_messages.rs`.
pub(super) struct Connection<IO> {
    pub(super) socket: Socket<IO>,
    pub(super) protocol: Protocol,
    pub(super) broker: Arc<Broker>,
    pub(super) control: ActorHandle,
    actor_events: ActorEvents,
    pub(super) liveness: Arc<Liveness>,
    pub(super) deadlines: Deadlines,
    pub(super) access: Option<Access>,
    /// Subscription that begins as soon as the client is authenticated.
    pub(super) implicit: Option<(Box<str>, Option<Box<str>>)>,
    pub(super) welcomed: bool,
    pub(super) subs: BTreeMap<Slot, Subscription>,
    next_slot: Slot,
    /// Subscriptions with something to do, each at most once in turn.
    pub(super) runnable: VecDeque<Slot>,
    waiting: FuturesUnordered<Wait>,
    /// Messages that are sent before anything else. Bounded: see [`REPLIES_MAX`].
    pub(super) replies: VecDeque<ServerMessage>,
    ping_due: bool,
    /// Reason to close with, once no subscription is left.
    pub(super) close_when_idle: Option<Close>,
    pub(super) rate: Rate,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    async fn run_loop(&mut self) -> CloseMode {
        if let Err(close) = self.open().await {
            self.flush_replies().await;
            return CloseMode::Ours(close);
        }
        loop {
            if let Err(close_mode) = self.fill().await {
                return close_mode;
            }
            if let Err(close_mode) = self.next_event().await {
                if matches!(close_mode, CloseMode::Ours(Close::Stalled | Close::NoPong)) {
                    return close_mode;
                }
                self.flush_replies().await;
                return close_mode;
            }
        }
    }

    /// Waits for whatever comes first. Cancel-safe.
    async fn event(&mut self) -> Event {
        let listen = self.replies.len() < REPLIES_MAX;
        let ActorEvents { close, replies, heartbeat_due } = &mut self.actor_events;
        tokio::select! {
            biased;
            // An actor that is gone without a word had a bug.
            close = close.wait_for(Option::is_some) => {
                Event::Close(close.ok().and_then(|close| *close).unwrap_or(Close::Internal))
            }
            () = heartbeat_due.notified() => Event::Beat,
            Some(slot) = self.waiting.next(), if !self.waiting.is_empty() => Event::Ready(slot.ok()),
            Some(reply) = replies.recv(), if listen => Event::Reply(reply),
            turn = self.socket.turn(listen) => Event::Turn(turn),
        }
    }

    /// Waits for one event and handles it.
    async fn next_event(&mut self) -> Result<(), CloseMode> {
        match self.event().await {
            Event::Close(close) => return Err(CloseMode::Ours(close)),
            Event::Beat => self.heartbeat_due(),
            Event::Ready(slot) => self.runnable.extend(slot),
            Event::Reply(reply) => {
                if matches!(reply, ServerMessage::Goaway { .. }) {
                    self.close_when_idle = Some(Close::Restart);
                }
                self.replies.push_back(reply);
            }
            Event::Turn(Turn::Sent) => {}
            Event::Turn(Turn::Lost) => return Err(CloseMode::Lost),
            Event::Turn(Turn::ClosedByPeer) => return Err(CloseMode::Peers),
            Event::Turn(Turn::Broken(close)) => return Err(CloseMode::Ours(close)),
            Event::Turn(Turn::Sign) => self.rate.count().map_err(CloseMode::Ours)?,
            Event::Turn(Turn::Text(bytes)) => self.on_bytes(Protocol::Json, &bytes).await.map_err(CloseMode::Ours)?,
            Event::Turn(Turn::Binary(bytes)) => {
                self.on_bytes(Protocol::Msgpack, &bytes).await.map_err(CloseMode::Ours)?
            }
        }
        Ok(())
    }

    /// Gives the socket its next frame, if it has room and there is one.
    async fn fill(&mut self) -> Result<(), CloseMode> {
        while !self.socket.is_busy() {
            if let Some(reply) = self.replies.pop_front() {
                self.say(&reply);
            } else if std::mem::take(&mut self.ping_due) {
                self.socket.ping();
            } else if let Some(slot) = self.runnable.pop_front() {
                self.serve(slot).await;
            } else {
                self.socket.rest();
                return match self.close_when_idle {
                    Some(close) if self.subs.is_empty() => Err(CloseMode::Ours(close)),
                    _ => Ok(()),
                };
            }
        }
        Ok(())
    }

    /// Does one step of one subscription.
    async fn serve(&mut self, slot: Slot) {
        let Some(sub) = self.subs.get_mut(&slot) else { return };
        let step = sub.step(SESSION_FRAME_BYTES);
        match step {
            Step::Frame { bytes_max } => {
                let buffer = self.socket.buffer();
                match sub.frame(self.protocol, buffer, bytes_max).await {
                    Ok(buffer) => {
                        self.socket.put(self.protocol, buffer);
                        self.runnable.push_back(slot);
                    }
                    Err(error) => {
                        telemetry::error(&error);
                        let name = self.remove(slot);
                        self.replies.push_back(ServerMessage::Error { sub: name, reference: None, error });
                    }
                }
            }
            Step::Hello => {
                let message = sub.hello();
                self.say(&message);
                self.runnable.push_back(slot);
            }
            Step::CaughtUp => {
                let message = ServerMessage::CaughtUp { sub: sub.name.clone(), cursor: sub.cursor() };
                self.say(&message);
                self.runnable.push_back(slot);
            }
            Step::End(state) => {
                let message = ServerMessage::End { sub: sub.name.clone(), cursor: sub.cursor(), state };
                self.say(&message);
                self.remove(slot);
            }
            Step::AwaitTail => {
                let (wait, abort) = wait(slot, sub);
                sub.waits = Some(abort);
                self.waiting.push(wait);
            }
            Step::AwaitCredit => sub.is_parked = true,
            Step::Gone => {
                self.remove(slot);
            }
        }
    }

    /// Sends one message. Not while the socket is busy.
    fn say(&mut self, message: &ServerMessage) {
        let mut buffer = self.socket.buffer();
        frame::encode(self.protocol, message, &mut buffer);
        self.socket.put(self.protocol, buffer);
    }

    /// Sends the waiting messages before a close, as far as the client takes them.
    async fn flush_replies(&mut self) {
        let replies = async {
            loop {
                while self.socket.is_busy() {
                    if matches!(self.socket.turn(false).await, Turn::Lost) {
                        return;
                    }
                }
                let Some(reply) = self.replies.pop_front() else { return };
                self.say(&reply);
            }
        };
        let _ = timeout(Duration::from_millis(CLOSE_GRACE_MS), replies).await;
    }

    fn heartbeat_due(&mut self) {
        self.ping_due = true;
        // One that could not be sent yet says enough.
        if self.welcomed && !self.replies.iter().any(|reply| matches!(reply, ServerMessage::Heartbeat { .. })) {
            let tail = |sub: &Subscription| SubTail { sub: sub.name.clone(), tail: sub.tail() };
            self.replies.push_back(ServerMessage::Heartbeat { tails: self.subs.values().map(tail).collect() });
        }
    }

    /// Adds a subscription to those that are served in turn.
    ///
    /// # Errors
    /// 4429 when there are too many.
    pub(super) fn add(&mut self, sub: Subscription) -> Result<(), Close> {
        if self.subs.len() >= SUBS_MAX {
            return Err(Close::Abuse);
        }
        let slot = self.next_slot;
        self.next_slot += 1;
        self.subs.insert(slot, sub);
        self.runnable.push_back(slot);
        Ok(())
    }

    /// Ends a subscription without a word.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Label> {
        self.runnable.retain(|other| *other != slot);
        self.subs.remove(&slot).map(|sub| sub.name.clone())
    }

    /// Finds the subscription of that name.
    pub(super) fn slot_of(&self, name: &Label) -> Option<Slot> {
        self.subs.iter().find(|(_, sub)| sub.name == *name).map(|(slot, _)| *slot)
    }

    pub(super) fn send_welcome(&mut self) {
        self.liveness.set_welcomed();
        if std::mem::replace(&mut self.welcomed, true) {
            return;
        }
        self.replies.push_back(ServerMessage::Welcome {
            conn: StreamId::generate().to_job_id().as_str().into(),
            heartbeat_ms: u64::try_from(self.deadlines.heartbeat.as_millis()).unwrap_or(u64::MAX),
            frame_bytes_max: FRAME_BYTES_MAX as u64,
        });
    }

    /// Reports a failure to the client.
    pub(super) fn refuse(&mut self, sub: Option<Label>, reference: Option<Label>, error: Failure) {
        telemetry::error(&error);
        self.replies.push_back(ServerMessage::Error { sub, reference, error });
    }

    /// Access of the client, once it is authenticated.
    pub(super) fn access(&self) -> Result<&Access, Close> {
        self.access.as_ref().ok_or(Close::Unauthenticated)
    }
}

/// Resolves with `slot` when there is something to read.
fn wait(slot: Slot, sub: &Subscription) -> (Wait, AbortHandle) {
    let (handle, registration) = AbortHandle::new_pair();
    let ready = readiness(sub);
    let wait: BoxFuture<'static, Slot> = Box::pin(async move {
        ready.await;
        slot
    });
    (Abortable::new(wait, registration), handle)
}

/// Messages that a client may still send: a bucket that fills with time.
pub(super) struct Rate {
    left: f64,
    at: Instant,
}

impl Rate {
    /// Counts one more message.
    pub(super) fn count(&mut self) -> Result<(), Close> {
        self.count_at(Instant::now())
    }

    fn count_at(&mut self, now: Instant) -> Result<(), Close> {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(CLIENT_MESSAGES_PER_S_MAX);
        self.at = now;
        self.left = (self.left + gained).min(f64::from(CLIENT_MESSAGES_BURST)) - 1.0;
        if self.left < 0.0 { Err(Close::Abuse) } else { Ok(()) }
    }
}
