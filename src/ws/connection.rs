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

use super::actor::{self, Control, Line};
use super::heartbeat::{Patience, Pulse};
use super::resume::Step;
use super::socket::{Socket, Turn};
use super::subscription::{Subscription, readiness};
use super::{Ending, Opening};
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

/// Speaks until one side closes, then says goodbye.
pub(super) async fn run<IO>(io: IO, broker: Arc<Broker>, opening: Opening) -> Ending
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let snapshot = broker.snapshot.load_full();
    let server = &snapshot.config.server;
    let (pulse, patience) = (Arc::new(Pulse::new()), Patience::of(server));
    let message_bytes_max = server.body_bytes_max.saturating_add(MESSAGE_SLACK_BYTES);
    let socket = Socket::new(io, message_bytes_max, Arc::clone(&pulse)).await;
    let (control, line) = actor::start(&opening.place, Arc::clone(&broker), Arc::clone(&pulse), patience);
    let mut connection = Connection {
        socket,
        protocol: opening.protocol,
        broker,
        control,
        line,
        pulse: Arc::clone(&pulse),
        patience,
        access: opening.access,
        implicit: opening.implicit,
        welcomed: false,
        subs: BTreeMap::new(),
        next_slot: 0,
        runnable: VecDeque::new(),
        waiting: FuturesUnordered::new(),
        replies: VecDeque::new(),
        ping_due: false,
        going: None,
        rate: Rate { left: f64::from(CLIENT_MESSAGES_BURST), at: Instant::now() },
    };
    let farewell = connection.converse().await;
    let Connection { mut socket, control, .. } = connection;
    drop(control);
    let grace = Duration::from_millis(CLOSE_GRACE_MS);
    // Whether the last words arrive is the client's business; the connection ends here either way.
    let close = match farewell {
        Farewell::Say(close) => {
            let _ = timeout(grace, socket.close(close)).await;
            Some(close)
        }
        Farewell::Answer => {
            let _ = timeout(grace, socket.answer_close()).await;
            None
        }
        Farewell::Nothing => None,
    };
    Ending { close, held_bytes_max: pulse.held_bytes_max() }
}

/// How the conversation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Farewell {
    /// We close.
    Say(Close),
    /// The client closed.
    Answer,
    /// The connection is gone.
    Nothing,
}

/// What can happen to a connection.
enum Event {
    /// The actor decided to close.
    Close(Close),
    /// A heartbeat is due.
    Beat,
    /// The tail of a subscription moved; `None` for one that is gone.
    Ready(Option<Slot>),
    /// A command came to something.
    Reply(ServerMessage),
    /// The socket.
    Turn(Turn),
}

/// See the module. What the messages of the client do to it is in `dialogue.rs`.
pub(super) struct Connection<IO> {
    pub(super) socket: Socket<IO>,
    pub(super) protocol: Protocol,
    pub(super) broker: Arc<Broker>,
    pub(super) control: Control,
    line: Line,
    pub(super) pulse: Arc<Pulse>,
    pub(super) patience: Patience,
    pub(super) access: Option<Access>,
    /// To be subscribed as soon as we know who it is.
    pub(super) implicit: Option<(Box<str>, Option<Box<str>>)>,
    pub(super) welcomed: bool,
    pub(super) subs: BTreeMap<Slot, Subscription>,
    next_slot: Slot,
    /// Subscriptions with something to do, each at most once in turn.
    pub(super) runnable: VecDeque<Slot>,
    waiting: FuturesUnordered<Wait>,
    /// What is to be said before anything else. Bounded: see [`REPLIES_MAX`].
    pub(super) replies: VecDeque<ServerMessage>,
    ping_due: bool,
    /// When nothing is subscribed any more: close with this.
    pub(super) going: Option<Close>,
    pub(super) rate: Rate,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    async fn converse(&mut self) -> Farewell {
        if let Err(close) = self.open().await {
            self.flush_replies().await;
            return Farewell::Say(close);
        }
        loop {
            if let Err(farewell) = self.fill().await {
                return farewell;
            }
            if let Err(farewell) = self.next_event().await {
                if matches!(farewell, Farewell::Say(Close::Stalled | Close::NoPong)) {
                    return farewell;
                }
                self.flush_replies().await;
                return farewell;
            }
        }
    }

    /// Waits for whatever comes first. Cancel-safe.
    async fn event(&mut self) -> Event {
        let listen = self.replies.len() < REPLIES_MAX;
        let Line { close, replies, beat } = &mut self.line;
        tokio::select! {
            biased;
            // An actor that is gone without a word had a bug.
            close = close.wait_for(Option::is_some) => {
                Event::Close(close.ok().and_then(|close| *close).unwrap_or(Close::Internal))
            }
            () = beat.notified() => Event::Beat,
            Some(slot) = self.waiting.next(), if !self.waiting.is_empty() => Event::Ready(slot.ok()),
            Some(reply) = replies.recv(), if listen => Event::Reply(reply),
            turn = self.socket.turn(listen) => Event::Turn(turn),
        }
    }

    /// What happened, and what it changes.
    async fn next_event(&mut self) -> Result<(), Farewell> {
        match self.event().await {
            Event::Close(close) => return Err(Farewell::Say(close)),
            Event::Beat => self.beat(),
            Event::Ready(slot) => self.runnable.extend(slot),
            Event::Reply(reply) => {
                if matches!(reply, ServerMessage::Goaway { .. }) {
                    self.going = Some(Close::Restart);
                }
                self.replies.push_back(reply);
            }
            Event::Turn(Turn::Sent) => {}
            Event::Turn(Turn::Lost) => return Err(Farewell::Nothing),
            Event::Turn(Turn::ClosedByPeer) => return Err(Farewell::Answer),
            Event::Turn(Turn::Broken(close)) => return Err(Farewell::Say(close)),
            Event::Turn(Turn::Sign) => self.rate.count().map_err(Farewell::Say)?,
            Event::Turn(Turn::Text(bytes)) => self.on_bytes(Protocol::Json, &bytes).await.map_err(Farewell::Say)?,
            Event::Turn(Turn::Binary(bytes)) => {
                self.on_bytes(Protocol::Msgpack, &bytes).await.map_err(Farewell::Say)?
            }
        }
        Ok(())
    }

    /// Gives the socket its next frame, if it has room and there is one.
    async fn fill(&mut self) -> Result<(), Farewell> {
        while !self.socket.is_busy() {
            if let Some(reply) = self.replies.pop_front() {
                self.say(&reply);
            } else if std::mem::take(&mut self.ping_due) {
                self.socket.ping();
            } else if let Some(slot) = self.runnable.pop_front() {
                self.serve(slot).await;
            } else {
                self.socket.rest();
                return match self.going {
                    Some(close) if self.subs.is_empty() => Err(Farewell::Say(close)),
                    _ => Ok(()),
                };
            }
        }
        Ok(())
    }

    /// One step of one subscription.
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

    /// Before a close: what was to be said, as far as the client takes it.
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

    fn beat(&mut self) {
        self.ping_due = true;
        // One that could not be sent yet says enough.
        if self.welcomed && !self.replies.iter().any(|reply| matches!(reply, ServerMessage::Heartbeat { .. })) {
            let tail = |sub: &Subscription| SubTail { sub: sub.name.clone(), tail: sub.tail() };
            self.replies.push_back(ServerMessage::Heartbeat { tails: self.subs.values().map(tail).collect() });
        }
    }

    /// Takes a subscription in; its turn comes.
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

    /// The subscription of that name.
    pub(super) fn slot_of(&self, name: &Label) -> Option<Slot> {
        self.subs.iter().find(|(_, sub)| sub.name == *name).map(|(slot, _)| *slot)
    }

    pub(super) fn welcome(&mut self) {
        self.pulse.greet();
        if std::mem::replace(&mut self.welcomed, true) {
            return;
        }
        self.replies.push_back(ServerMessage::Welcome {
            conn: StreamId::generate().to_job_id().as_str().into(),
            heartbeat_ms: u64::try_from(self.patience.heartbeat.as_millis()).unwrap_or(u64::MAX),
            frame_bytes_max: FRAME_BYTES_MAX as u64,
        });
    }

    /// Something could not be done.
    pub(super) fn refuse(&mut self, sub: Option<Label>, reference: Option<Label>, error: Failure) {
        telemetry::error(&error);
        self.replies.push_back(ServerMessage::Error { sub, reference, error });
    }

    /// Who the client is, once it has said so.
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
    /// One more message.
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
