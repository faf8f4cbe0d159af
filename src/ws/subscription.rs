//! One subscription: a follower of a stream, and the state machine that decides what is due.

use std::future::Future;

use futures_util::future::AbortHandle;

use super::resume::{Resume, Step};
use super::socket::HEADROOM;
use crate::job::Failure;
use crate::log::{Followed, Follower};
use crate::telemetry;
use crate::wire::frame::{EventsFrame, Label, Protocol, ServerMessage};

/// One subscription of a client.
pub(super) struct Subscription {
    /// Name that the client gave it.
    pub(super) name: Label,
    follower: Follower,
    resume: Resume,
    /// The durable tail when it came: what lies before is replayed.
    arrived_at: u64,
    /// Rendered bytes per stored byte so far: how much to read for one frame.
    expansion: usize,
    /// Whether it waits for credit.
    pub(super) is_parked: bool,
    /// Ends its wait for the tail.
    pub(super) waits: Option<AbortHandle>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(wait) = &self.waits {
            wait.abort();
        }
        telemetry::readers("ws", -1.0);
    }
}

impl Subscription {
    /// A subscription that may be sent `credit` bytes; `None` = no limit.
    pub(super) fn new(name: Label, follower: Follower, credit: Option<u64>) -> Subscription {
        telemetry::readers("ws", 1.0);
        let arrived_at = follower.stream().tail().durable;
        let resume = Resume::new(credit);
        Subscription { name, follower, resume, arrived_at, expansion: 4, is_parked: false, waits: None }
    }

    /// Returns the step that is due.
    pub(super) fn step(&mut self, frame_bytes: usize) -> Step {
        self.waits = None;
        self.resume.step(self.follower.next_seq(), self.follower.stream().tail(), frame_bytes)
    }

    /// Adds credit, and returns whether the subscription waited for it.
    pub(super) fn add_credit(&mut self, bytes: u64) -> bool {
        self.resume.add_credit(bytes);
        std::mem::take(&mut self.is_parked)
    }

    /// Appends an `events` message to `buffer`. Only when records are waiting.
    ///
    /// # Errors
    /// The failure of the log; the subscription is over then.
    pub(super) async fn frame(
        &mut self,
        protocol: Protocol,
        mut buffer: Vec<u8>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Failure> {
        let first = self.follower.next_seq();
        let budget_bytes = (bytes_max / self.expansion).max(1);
        let chunk = match self.follower.next(budget_bytes).await? {
            Followed::Records(chunk) => chunk,
            Followed::End(_) => return Err(Failure::internal("a record that was durable is not there")),
        };
        let start = buffer.len();
        let (mut next_seq, mut stored_bytes) = (first, 0);
        buffer.reserve((budget_bytes * self.expansion).min(bytes_max) + HEADROOM);
        let mut frame = EventsFrame::begin(protocol, &self.name, &mut buffer, bytes_max);
        for (seq, stored) in chunk.iter() {
            if !frame.push(seq, stored)? {
                break;
            }
            next_seq = seq + 1;
            stored_bytes += stored.len();
        }
        frame.finish(self.follower.stream().cursor(next_seq));
        self.follower.rewind(next_seq);
        telemetry::replayed(next_seq.min(self.arrived_at).saturating_sub(first));
        let bytes = buffer.len() - start;
        self.expansion = (bytes / stored_bytes.max(1)).clamp(1, 16);
        self.resume.sent(bytes);
        Ok(buffer)
    }

    /// Makes the message `subscribed`.
    pub(super) fn hello(&self) -> ServerMessage {
        let stream = self.follower.stream();
        ServerMessage::Subscribed {
            sub: self.name.clone(),
            id: stream.head().id.clone(),
            state: stream.tail().state,
            earliest: stream.cursor(0).to_string().into(),
            tail: self.tail(),
        }
    }

    /// The cursor after what was sent.
    pub(super) fn cursor(&self) -> Box<str> {
        self.follower.cursor().to_string().into()
    }

    /// The cursor after what is durable.
    pub(super) fn tail(&self) -> Box<str> {
        let stream = self.follower.stream();
        stream.cursor(stream.tail().durable).to_string().into()
    }
}

/// Resolves when `sub` has something to do. Holds no records and does not borrow it.
pub(super) fn readiness(sub: &Subscription) -> impl Future<Output = ()> + Send + use<> {
    let (mut tail, next_seq) = (sub.follower.stream().watch(), sub.follower.next_seq());
    async move {
        // The stream's own end of the channel lives as long as the subscription.
        let _ = tail.wait_for(|tail| tail.durable > next_seq || tail.state.is_terminal()).await;
    }
}
