//! A reply, read a little ahead while the log is busy.
//!
//! Owns how far: what a fast provider sends during one commit goes into the next one together,
//! instead of waiting for a commit each. Promises order, and back-pressure behind that little. Does
//! not look into what it holds.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::job::Failure;
use crate::provider::call::Reply;

/// Pieces that are read ahead; a provider sends one per token. Far more than come during a commit,
/// and far fewer than an append may hold.
const PIECES_MAX: usize = 64;
/// Bytes after which no further piece is read ahead.
const BYTES_MAX: usize = 32 * 1024;

/// See the module.
pub(crate) struct Ahead {
    reply: Reply,
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// When the oldest of them came.
    since: Instant,
    /// How the reply ended, behind the pieces.
    end: Option<Result<(), Failure>>,
}

impl Ahead {
    /// The body of `reply`, none of it read.
    pub(crate) fn new(reply: Reply) -> Ahead {
        Ahead { reply, pieces: VecDeque::new(), bytes: 0, since: Instant::now(), end: None }
    }

    /// Resolves when there is a piece or the end; how the reply ended is [`Ahead::end`]'s to say.
    /// Cancel-safe.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        if self.pieces.is_empty() && self.end.is_none() {
            let read = self.reply.chunk().await;
            self.keep(read);
        }
        Ok(())
    }

    /// Does `work`, reading meanwhile.
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

    /// Reads what is left for whoever gets the reply's bytes; nobody else gets it.
    pub(crate) async fn flow_on(&mut self, idle: Duration) {
        self.reply.flow_on(idle).await;
    }

    /// The next piece that has come.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// When the oldest piece came that was held at the last call of [`Ahead::ready`].
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// How the reply ended, once every piece is taken.
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
