//! Signs of life of one socket, and what their absence means.
//!
//! The task that moves data writes them, the actor that owns the timers judges them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Server;
use crate::job::caps::STALL_MS;
use crate::wire::frame::Close;

const NEVER: u64 = u64::MAX;

/// How long a socket may be silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Patience {
    /// Between two heartbeats.
    pub(super) heartbeat: Duration,
    /// Until `hello`.
    pub(super) hello: Duration,
    /// With data waiting and none taken.
    pub(super) stall: Duration,
    /// Without a pong, anything else from the client, or room in a full socket: two and a half
    /// heartbeats, so that with a look every quarter a client is gone within three.
    pub(super) silence: Duration,
}

impl Patience {
    pub(super) fn of(server: &Server) -> Patience {
        let heartbeat = Duration::from_millis(server.heartbeat_ms.max(1));
        Patience {
            heartbeat,
            hello: Duration::from_millis(server.hello_ms),
            stall: Duration::from_millis(STALL_MS).min(heartbeat * 2),
            silence: heartbeat * 5 / 2,
        }
    }

    /// Between two looks at the pulse.
    pub(super) fn look(&self) -> Duration {
        (self.heartbeat / 4).max(Duration::from_millis(1))
    }
}

/// See the module. Times are milliseconds since the socket was opened.
pub(super) struct Pulse {
    opened: Instant,
    alive_ms: AtomicU64,
    blocked_ms: AtomicU64,
    greeted: AtomicBool,
    over: AtomicBool,
    held_bytes_max: AtomicUsize,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse {
            opened: Instant::now(),
            alive_ms: AtomicU64::new(0),
            blocked_ms: AtomicU64::new(NEVER),
            greeted: AtomicBool::new(false),
            over: AtomicBool::new(false),
            held_bytes_max: AtomicUsize::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// The client sent something.
    pub(super) fn heard(&self) {
        self.alive_ms.store(self.now_ms(), Relaxed);
    }

    /// The socket took bytes. After it was full that is a sign of life: the client's side made room.
    pub(super) fn took(&self) {
        if self.blocked_ms.load(Relaxed) != NEVER {
            self.blocked_ms.store(NEVER, Relaxed);
            self.heard();
        }
    }

    /// The socket is full; we hold `held_bytes` for it.
    pub(super) fn blocked(&self, held_bytes: usize) {
        self.held_bytes_max.fetch_max(held_bytes, Relaxed);
        if self.blocked_ms.load(Relaxed) == NEVER {
            self.blocked_ms.store(self.now_ms(), Relaxed);
        }
    }

    /// We know who it is.
    pub(super) fn greet(&self) {
        self.greeted.store(true, Relaxed);
    }

    /// Nobody moves data any more.
    pub(super) fn end(&self) {
        self.over.store(true, Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub(super) fn held_bytes_max(&self) -> usize {
        self.held_bytes_max.load(Relaxed)
    }

    /// Why the socket is to be closed now, if it is.
    pub(super) fn judge(&self, patience: &Patience) -> Option<Close> {
        let now_ms = self.now_ms();
        let over = |since_ms: u64, limit: Duration| u128::from(now_ms.saturating_sub(since_ms)) > limit.as_millis();
        let blocked_ms = self.blocked_ms.load(Relaxed);
        if blocked_ms != NEVER && over(blocked_ms, patience.stall) {
            return Some(Close::Stalled);
        }
        if !self.greeted.load(Relaxed) && over(0, patience.hello) {
            return Some(Close::HelloTimeout);
        }
        over(self.alive_ms.load(Relaxed), patience.silence).then_some(Close::NoPong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_silence_has_its_code() {
        let patience = Patience::of(&Server::default());
        assert_eq!((patience.stall.as_secs(), patience.silence.as_millis()), (30, 37_500));
        let pass = |s| tokio::time::advance(Duration::from_secs(s));

        let stranger = Pulse::new();
        pass(10).await;
        assert_eq!(stranger.judge(&patience), None);
        pass(1).await;
        assert_eq!(stranger.judge(&patience), Some(Close::HelloTimeout));

        let silent = Pulse::new();
        silent.greet();
        pass(37).await;
        assert_eq!(silent.judge(&patience), None);
        pass(1).await;
        assert_eq!(silent.judge(&patience), Some(Close::NoPong));
        silent.heard();
        assert_eq!(silent.judge(&patience), None);

        let stalled = Pulse::new();
        stalled.greet();
        stalled.blocked(70);
        pass(29).await;
        stalled.heard();
        assert_eq!(stalled.judge(&patience), None);
        pass(2).await;
        assert_eq!(stalled.judge(&patience), Some(Close::Stalled), "a pong does not excuse a full socket");
        assert_eq!(stalled.held_bytes_max(), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_who_drains_is_not_closed() {
        let patience = Patience::of(&Server::default());
        let slow = Pulse::new();
        slow.greet();
        for _ in 0..100 {
            slow.blocked(1);
            tokio::time::advance(Duration::from_secs(29)).await;
            assert_eq!(slow.judge(&patience), None);
            slow.took();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_only_the_kernel_took_are_no_sign_of_life() {
        let patience = Patience::of(&Server::default());
        let gone = Pulse::new();
        gone.greet();
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(10)).await;
            gone.took();
        }
        assert_eq!(gone.judge(&patience), Some(Close::NoPong));
    }
}
