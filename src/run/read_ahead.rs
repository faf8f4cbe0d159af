//! A reply of which a little is read ahead while the log is busy.
//!
//! Owns how far: what a fast provider sends during one commit goes into the next one together, instead of
//! waiting for a commit each. Promises the order of the pieces, and back-pressure beyond its limits. Does
//! not look into what it holds.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::job::Failure;
use crate::provider::call::Reply;

/// Number of pieces that are read ahead; a provider sends one per token. Far more than come during a
/// commit, and far fewer than an append may hold.
const PIECES_MAX: usize = 64;
/// Number of bytes after which no further piece is read ahead.
const BYTES_MAX: usize = 32 * 1024;

/// A reply and the pieces of it that were read ahead.
pub(crate) struct ReadAhead {
    reply: Reply,
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// The moment at which the oldest piece came.
    since: Instant,
    /// How the reply ended, after the pieces.
    end: Option<Result<(), Failure>>,
}

impl ReadAhead {
    /// Wraps a reply of which nothing was read.
    pub(crate) fn new(reply: Reply) -> ReadAhead {
        ReadAhead { reply, pieces: VecDeque::new(), bytes: 0, since: Instant::now(), end: None }
    }

    /// Waits until there is a piece or the end; [`ReadAhead::end`] tells how the reply ended. Cancel-safe.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        if self.pieces.is_empty() && self.end.is_none() {
            let read = self.reply.chunk().await;
            self.keep(read);
        }
        Ok(())
    }

    /// Does `work` and reads meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let room = self.end.is_none() && self.pieces.len() < PIECES_MAX && self.bytes < BYTES_MAX;
            tokio::select! {
                biased;
                done = &mut work => return done,
                read = self.reply.chunk(), if room => self.keep(read),
            }
        }
    }

    /// Reads the rest of the reply for the second reader of its bytes only.
    pub(crate) async fn flow_on(&mut self, idle: Duration) {
        self.reply.flow_on(idle).await;
    }

    /// Takes the next piece that has come.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// The moment at which the oldest piece came that was there at the last call of [`ReadAhead::ready`].
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Returns how the reply ended, once every piece was taken.
    pub(crate) fn end(&mut self) -> Option<Result<(), Failure>> {
        if self.pieces.is_empty() { self.end.take() } else { None }
    }

    fn keep(&mut self, read: Result<Option<Bytes>, Failure>) {
        if self.pieces.is_empty() {
            self.since = Instant::now();
        }
        match read {
            Ok(Some(piece)) => {
                self.bytes += piece.len();
                self.pieces.push_back(piece);
            }
            Ok(None) => self.end = Some(Ok(())),
            Err(failure) => self.end = Some(Err(failure)),
        }
    }
}
