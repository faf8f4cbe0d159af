//! The readers' loop: `read(cursor) → advance → wait for the tail`.
//!
//! Replay and live are the same three lines, so nothing can be lost or doubled at the switch. A
//! follower that lags goes back to the log; it holds a position and, between two calls, no records.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::{Chunk, Stream, Streams, Tail};
use crate::job::{Failure, State};
use crate::wire::Cursor;

/// What a follower gets next.
#[derive(Debug)]
pub enum Followed {
    /// Durable records, contiguous with what came before. Never empty.
    Records(Chunk),
    /// The terminal was read. Nothing comes after it.
    End(State),
}

/// One reader's place in one stream.
pub struct Follower {
    log: Arc<dyn Streams>,
    stream: Arc<Stream>,
    tail: watch::Receiver<Tail>,
    next_seq: u64,
}

impl Follower {
    /// A reader of `stream` from `cursor`.
    ///
    /// # Errors
    /// `epoch_mismatch`, `cursor_ahead`.
    pub fn new(log: Arc<dyn Streams>, stream: Arc<Stream>, cursor: Cursor) -> Result<Follower, Failure> {
        let tail = stream.watch();
        let next_seq = cursor.resolve(stream.epoch(), stream.tail().durable)?;
        Ok(Follower { log, stream, tail, next_seq })
    }

    /// The stream it reads.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The record it reads next.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Where it would resume.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.stream.cursor(self.next_seq)
    }

    /// Whether it has read everything that is durable.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.next_seq >= self.stream.tail().durable
    }

    /// Goes back to record `seq`: of what was read, only what comes before it was used.
    pub fn rewind(&mut self, seq: u64) {
        debug_assert!(seq <= self.next_seq, "a follower only goes back");
        self.next_seq = seq.min(self.next_seq);
    }

    /// The next records, about `budget_bytes` of them and at least one; waits at the tail.
    /// Cancel-safe: a dropped call has not advanced.
    ///
    /// # Errors
    /// `expired` when retention was faster, `internal` when the log is damaged.
    pub async fn next(&mut self, budget_bytes: usize) -> Result<Followed, Failure> {
        loop {
            let tail = *self.tail.borrow_and_update();
            if self.next_seq < tail.durable {
                let chunk = self.stream.read(self.log.as_ref(), self.next_seq, budget_bytes).await?;
                self.next_seq = chunk.next_seq();
                return Ok(Followed::Records(chunk));
            }
            if tail.state.is_terminal() {
                return Ok(Followed::End(tail.state));
            }
            if self.tail.changed().await.is_err() {
                return Err(Failure::internal("the log is closed"));
            }
        }
    }
}

/// Says when a door has sent nothing for so long that it must show a sign of life.
pub struct IdleTimer {
    longest: Duration,
    /// Moved only when it fires, so that a busy stream does not touch the timer.
    alarm: Pin<Box<Sleep>>,
    since: Instant,
}

impl IdleTimer {
    /// Begins now; `longest` may pass without a word.
    #[must_use]
    pub fn new(longest: Duration) -> IdleTimer {
        IdleTimer { longest, alarm: Box::pin(tokio::time::sleep(longest)), since: Instant::now() }
    }

    /// Something was sent.
    pub fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// Resolves when it has lasted, and begins anew then. Cancel-safe.
    pub async fn elapsed(&mut self) {
        loop {
            self.alarm.as_mut().await;
            let now = Instant::now();
            let due = self.since + self.longest;
            if now < due {
                self.alarm.as_mut().reset(due);
                continue;
            }
            self.since = now;
            self.alarm.as_mut().reset(now + self.longest);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_elapses_only_after_a_whole_period_without_a_restart() {
        let second = Duration::from_secs(1);
        let mut timer = IdleTimer::new(second);
        let start = Instant::now();
        timer.elapsed().await;
        assert_eq!(start.elapsed(), second);
        tokio::time::advance(second / 2).await;
        timer.restart();
        timer.elapsed().await;
        assert_eq!(start.elapsed(), second * 5 / 2);
        for _ in 0..10 {
            let talk = tokio::time::timeout(second / 2, timer.elapsed()).await;
            assert!(talk.is_err(), "it was broken all the time");
            timer.restart();
        }
        timer.elapsed().await;
        assert_eq!(start.elapsed(), second * 17 / 2);
    }
}
