//! A job's records as the stream of another API.
//!
//! Owns when the head of such an answer is sent: it waits for the first piece, so that a job which fails
//! before is an HTTP error, as the clients of these APIs expect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::body::{Cut, Pieces};
use super::response;
use super::response::Reply;
use super::sse::{FRAME_STORED_BYTES, ReaderCount};
use super::submit::DisconnectGuard;
use crate::broker::Broker;
use crate::dialect::render::{Render, RenderState, Served};
use crate::job::Failure;
use crate::log::{Chunk, Followed, Follower, IdleTimer, Stream};
use crate::telemetry;
use crate::wire::{Cursor, record};

/// Answers with the stream of a job from its first record, rendered; and returns who served it so far.
/// Unless the rendering begins at once, the head waits for the first piece of the answer, for a failure, or
/// until a sign of life is due.
pub(super) async fn stream<R: Render>(
    broker: &Broker,
    stream: &Arc<Stream>,
    render: R,
    guard: Option<DisconnectGuard>,
) -> (Result<Reply, Failure>, Served) {
    match Follower::new(broker.log.clone(), Arc::clone(stream), Cursor::Start) {
        Ok(follower) => Reader::new(broker, follower, render, guard).answer().await,
        Err(failure) => (Err(failure), Served::default()),
    }
}

/// State of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Open,
    /// The stream has come to its own end.
    Ended,
    /// The connection must be cut.
    Broken,
}

/// One reader of an answer: its place in the stream, and the state of the rendering.
struct Reader<R> {
    follower: Follower,
    render: R,
    idle: IdleTimer,
    /// Piece that was read for the head and is not sent yet.
    first: Option<Bytes>,
    state: StreamState,
    _guard: Option<DisconnectGuard>,
    _reader_count: ReaderCount,
}

impl<R: Render> Reader<R> {
    fn new(broker: &Broker, follower: Follower, render: R, guard: Option<DisconnectGuard>) -> Reader<R> {
        let heartbeat = Duration::from_millis(broker.snapshot.load().config.server.heartbeat_ms.max(1));
        let (idle, _reader_count) = (IdleTimer::new(heartbeat), ReaderCount::new());
        Reader { follower, render, idle, first: None, state: StreamState::Open, _guard: guard, _reader_count }
    }

    async fn answer(mut self) -> (Result<Reply, Failure>, Served) {
        if self.render.has_begun() {
            return (Ok(response::events(Some(self.pieces()))), Served::default());
        }
        let first = self.piece().await;
        let served = self.render.served().clone();
        let reply = match first {
            Err(failure) if !self.render.has_begun() => Err(failure),
            first => {
                let first = first.unwrap_or_else(|failure| self.break_off(&failure));
                let mut begun = Vec::new();
                self.render.begin(&mut begun);
                self.first = Some(if begun.is_empty() { first } else { [first, begun.into()].concat().into() });
                Ok(response::events(Some(self.pieces())))
            }
        };
        (reply, served)
    }

    fn pieces(self) -> Pieces {
        Box::pin(futures_util::stream::unfold(self, |mut reader| async { Some((reader.next().await?, reader)) }))
    }

    /// Returns the next piece. Cancel-safe.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        match self.state {
            StreamState::Open => {}
            StreamState::Ended => return None,
            StreamState::Broken => return Some(Err(Cut::after_the_rest().await)),
        }
        let piece = self.piece().await;
        Some(Ok(piece.unwrap_or_else(|failure| self.break_off(&failure))))
    }

    /// Returns the next piece or a sign of life. An error is one that was not written yet.
    async fn piece(&mut self) -> Result<Bytes, Failure> {
        loop {
            tokio::select! {
                biased;
                followed = self.follower.next(FRAME_STORED_BYTES) => {
                    let piece = match followed? {
                        Followed::Records(chunk) => self.render(&chunk)?,
                        Followed::End(_) => return Err(Failure::internal("the job ended without a terminal")),
                    };
                    if !piece.is_empty() || self.state == StreamState::Ended {
                        self.idle.restart();
                        return Ok(piece);
                    }
                }
                () = self.idle.elapsed() => return Ok(Bytes::from_static(R::KEEP_ALIVE)),
            }
        }
    }

    fn render(&mut self, chunk: &Chunk) -> Result<Bytes, Failure> {
        let mut out = Vec::new();
        for (seq, stored) in chunk.iter() {
            match self.render.push(record::decode(seq, stored)?, &mut out) {
                RenderState::More => {}
                RenderState::Done => self.state = StreamState::Ended,
                RenderState::Broken(failure) if !self.render.has_begun() => return Err(failure),
                RenderState::Broken(failure) => {
                    telemetry::error(&failure);
                    self.state = StreamState::Broken;
                    break;
                }
            }
        }
        Ok(out.into())
    }

    fn break_off(&mut self, failure: &Failure) -> Bytes {
        telemetry::error(failure);
        self.state = StreamState::Broken;
        let mut out = Vec::new();
        self.render.error(failure, &mut out);
        out.into()
    }
}
