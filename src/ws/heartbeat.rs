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

/// Times for which a socket may be silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Deadlines {
    /// Time between two heartbeats.
    pub(super) heartbeat: Duration,
    /// Time from the handshake until `hello`.
    pub(super) hello: Duration,
    /// Time with data waiting and none taken.
    pub(super) stall: Duration,
    /// Time without a pong, another message of the client, or progress in a full socket: two and a half
    /// heartbeats, so that with a look every quarter a client is gone within three.
    pub(super) silence: Duration,
}

impl Deadlines {
    pub(super) fn of(server: &Server) -> Deadlines {
        let heartbeat = Duration::from_millis(server.heartbeat_ms.max(1));
        Deadlines {
            heartbeat,
            hello: Duration::from_millis(server.hello_ms),
            stall: Duration::from_millis(STALL_MS).min(heartbeat * 2),
            silence: heartbeat * 5 / 2,
        }
    }

    /// Time between two checks.
    pub(super) fn check(&self) -> Duration {
        (self.heartbeat / 4).max(Duration::from_millis(1))
    }
}

/// Signs of life of one socket. Times are milliseconds since the socket was opened.
pub(super) struct Liveness {
    opened: Instant,
    alive_ms: AtomicU64,
    blocked_ms: AtomicU64,
    welcomed: AtomicBool,
    over: AtomicBool,
    held_bytes_max: AtomicUsize,
}

impl Liveness {
    pub(super) fn new() -> Liveness {
        Liveness {
            opened: Instant::now(),
            alive_ms: AtomicU64::new(0),
            blocked_ms: AtomicU64::new(NEVER),
            welcomed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            held_bytes_max: AtomicUsize::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// Notes that the client sent something.
    pub(super) fn received(&self) {
        self.alive_ms.store(self.now_ms(), Relaxed);
    }

    /// Notes that the socket took bytes. After it was full that is a sign of life: the client's side read.
    pub(super) fn drained(&self) {
        if self.blocked_ms.load(Relaxed) != NEVER {
            self.blocked_ms.store(NEVER, Relaxed);
            self.received();
        }
    }

    /// The socket is full; we hold `held_bytes` for it.
    pub(super) fn blocked(&self, held_bytes: usize) {
        self.held_bytes_max.fetch_max(held_bytes, Relaxed);
        if self.blocked_ms.load(Relaxed) == NEVER {
            self.blocked_ms.store(self.now_ms(), Relaxed);
        }
    }

    /// Notes that the client is authenticated.
    pub(super) fn set_welcomed(&self) {
        self.welcomed.store(true, Relaxed);
    }

    /// Notes that the data task has ended.
    pub(super) fn end(&self) {
        self.over.store(true, Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub(super) fn held_bytes_max(&self) -> usize {
        self.held_bytes_max.load(Relaxed)
    }

    /// Returns why the socket must be closed now, if it must.
    pub(super) fn expired(&self, deadlines: &Deadlines) -> Option<Close> {
        let now_ms = self.now_ms();
        let exceeds = |since_ms: u64, limit: Duration| u128::from(now_ms.saturating_sub(since_ms)) > limit.as_millis();
        let blocked_ms = self.blocked_ms.load(Relaxed);
        if blocked_ms != NEVER && exceeds(blocked_ms, deadlines.stall) {
            return Some(Close::Stalled);
        }
        if !self.welcomed.load(Relaxed) && exceeds(0, deadlines.hello) {
            return Some(Close::HelloTimeout);
        }
        exceeds(self.alive_ms.load(Relaxed), deadlines.silence).then_some(Close::NoPong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_silence_has_its_code() {
        let deadlines = Deadlines::of(&Server::default());
        assert_eq!((deadlines.stall.as_secs(), deadlines.silence.as_millis()), (30, 37_500));
        let pass = |s| tokio::time::advance(Duration::from_secs(s));

        let stranger = Liveness::new();
        pass(10).await;
        assert_eq!(stranger.expired(&deadlines), None);
        pass(1).await;
        assert_eq!(stranger.expired(&deadlines), Some(Close::HelloTimeout));

        let silent = Liveness::new();
        silent.set_welcomed();
        pass(37).await;
        assert_eq!(silent.expired(&deadlines), None);
        pass(1).await;
        assert_eq!(silent.expired(&deadlines), Some(Close::NoPong));
        silent.received();
        assert_eq!(silent.expired(&deadlines), None);

        let stalled = Liveness::new();
        stalled.set_welcomed();
        stalled.blocked(70);
        pass(29).await;
        stalled.received();
        assert_eq!(stalled.expired(&deadlines), None);
        pass(2).await;
        assert_eq!(stalled.expired(&deadlines), Some(Close::Stalled), "a pong does not excuse a full socket");
        assert_eq!(stalled.held_bytes_max(), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_who_drains_is_not_closed() {
        let deadlines = Deadlines::of(&Server::default());
        let slow = Liveness::new();
        slow.set_welcomed();
        for _ in 0..100 {
            slow.blocked(1);
            tokio::time::advance(Duration::from_secs(29)).await;
            assert_eq!(slow.expired(&deadlines), None);
            slow.drained();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_only_the_kernel_took_are_no_sign_of_life() {
        let deadlines = Deadlines::of(&Server::default());
        let gone = Liveness::new();
        gone.set_welcomed();
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(10)).await;
            gone.drained();
        }
        assert_eq!(gone.expired(&deadlines), Some(Close::NoPong));
    }
}
