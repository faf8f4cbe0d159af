//! Readers: the loop `read(cursor) → advance → wait for the tail`, and the timer for signs of life.
//!
//! Replay and live are the same loop, so no record can be lost or doubled between them. A follower that lags goes back
//! to the log; it holds a position and, between two calls, no records.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::{Chunk, Stream, Streams, Tail};
use crate::job::{Failure, State};
use crate::wire::Cursor;

/// The next thing that a follower reads.
#[derive(Debug)]
pub enum Followed {
    /// Durable records, contiguous with those read before; never empty.
    Records(Chunk),
    /// The job's terminal was read: nothing comes after it.
    End(State),
}

/// A reader's position in one stream.
pub struct Follower {
    log: Arc<dyn Streams>,
    stream: Arc<Stream>,
    tail: watch::Receiver<Tail>,
    next_seq: u64,
}

impl Follower {
    /// Makes a reader of `stream` that begins at `cursor`.
    ///
    /// # Errors
    /// `epoch_mismatch`, `cursor_ahead`.
    pub fn new(log: Arc<dyn Streams>, stream: Arc<Stream>, cursor: Cursor) -> Result<Follower, Failure> {
        let tail = stream.watch();
        let next_seq = cursor.resolve(stream.epoch(), stream.tail().durable)?;
        Ok(Follower { log, stream, tail, next_seq })
    }

    /// Returns the stream that it reads.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Returns the `seq` of the record that it reads next.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Returns the cursor from which it would resume.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.stream.cursor(self.next_seq)
    }

    /// Returns whether it has read everything that is durable.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.next_seq >= self.stream.tail().durable
    }

    /// Goes back to record `seq`, when only the records before it were used.
    pub fn rewind(&mut self, seq: u64) {
        debug_assert!(seq <= self.next_seq, "a follower only goes back");
        self.next_seq = seq.min(self.next_seq);
    }

    /// Reads the next records, about `budget_bytes` of them and at least one; waits at the tail. Cancel-safe: a dropped
    /// call has not advanced.
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

/// A timer that elapses when nothing was sent for a whole period, so that a sign of life is due.
pub struct IdleTimer {
    longest: Duration,
    /// The timer of the runtime; it is moved only when it fires, so that a busy stream does not touch it.
    alarm: Pin<Box<Sleep>>,
    since: Instant,
}

impl IdleTimer {
    /// Makes a timer whose period `longest` begins now.
    #[must_use]
    pub fn new(longest: Duration) -> IdleTimer {
        IdleTimer { longest, alarm: Box::pin(tokio::time::sleep(longest)), since: Instant::now() }
    }

    /// Begins the period anew, because something was sent.
    pub fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// Resolves at the end of a period without [`IdleTimer::restart`], and begins the next one. Cancel-safe.
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
