//! A durable stream as server-sent events: content, and after each piece where that leaves the reader.
//!
//! One loop over the log, as every reader's. The end of a stream is reported; a reader that is not at the
//! end comes again from where it is, which also happens after some time, so that caches
//! and balancers between us get their turn.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::time::Sleep;

use super::params::ReadParams;
use super::source::{End, Source, budget};
use crate::broker::Broker;
use crate::dialect::durable_streams;
use crate::dialect::durable_streams::{Control, Form};
use crate::http::body::{Cut, Pieces};
use crate::http::context::RequestContext;
use crate::http::response;
use crate::http::response::Reply;
use crate::http::sse::ReaderCount;
use crate::job::Failure;
use crate::log::IdleTimer;
use crate::telemetry;

/// Bytes of content in one event.
const FRAME_BYTES: usize = 32 * 1024;
/// The same of a job's stored records.
const FRAME_STORED_BYTES: usize = 8 * 1024;
/// Length of a reader's stay in long polls: a minute with the default of `server.long_poll_ms`.
const STAY_POLLS: u32 = 3;
/// A sign of life that no reader of events sees.
const COMMENT: &[u8] = b":\n\n";

/// Answers a reader with `live=sse`.
pub(super) fn events(context: &RequestContext<'_>, source: Source, from: u64, params: ReadParams) -> Reply {
    let broker = context.broker();
    let is_binary = source.form() == Form::Binary;
    let (heartbeat, stay) = {
        let server = &broker.snapshot.load().config.server;
        let poll = Duration::from_millis(server.long_poll_ms);
        (Duration::from_millis(server.heartbeat_ms.max(1)), poll.saturating_mul(STAY_POLLS))
    };
    let reader = Reader {
        broker: Arc::clone(broker),
        source,
        from,
        client_cursor: params.cursor,
        cursor: 0,
        reported: None,
        state: StreamState::Open,
        idle: IdleTimer::new(heartbeat),
        stay: Box::pin(tokio::time::sleep(stay)),
        _reader_count: ReaderCount::new(),
    };
    let mut reply = response::events(Some(reader.pieces()));
    if is_binary {
        response::set(&mut reply, "stream-sse-data-encoding", "base64");
    }
    reply
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Open,
    Ended,
    /// The connection must be cut.
    Broken,
}

struct Reader {
    broker: Arc<Broker>,
    source: Source,
    from: u64,
    client_cursor: Option<Box<str>>,
    /// The last `Stream-Cursor` that was sent: it never goes back.
    cursor: u64,
    /// Position at which the last `control` event reported the reader up to date, and whether that was the end.
    reported: Option<(u64, bool)>,
    state: StreamState,
    idle: IdleTimer,
    stay: Pin<Box<Sleep>>,
    _reader_count: ReaderCount,
}

impl Reader {
    fn pieces(self) -> Pieces {
        Box::pin(stream::unfold(self, |mut reader| async { Some((reader.next().await?, reader)) }))
    }

    /// Returns the next piece. Cancel-safe.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        match self.state {
            StreamState::Open => {}
            StreamState::Ended => return None,
            StreamState::Broken => return Some(Err(Cut::after_the_rest().await)),
        }
        loop {
            let end = self.source.end();
            if end.gone {
                return None;
            }
            if self.from < end.next {
                return Some(self.content().await);
            }
            if self.reported != Some((self.from, end.closed)) {
                let mut out = Vec::new();
                self.control(&mut out, end);
                return Some(Ok(out.into()));
            }
            tokio::select! {
                biased;
                waited = self.source.wait(self.from) => if waited.is_err() {
                    return Some(Err(Cut::after_the_rest().await));
                },
                () = self.stay.as_mut() => return None,
                () = self.idle.elapsed() => {
                    self.source.touch();
                    return Some(Ok(Bytes::from_static(COMMENT)));
                }
            }
        }
    }

    async fn content(&mut self) -> Result<Bytes, Cut> {
        let bytes = budget(&self.source, FRAME_BYTES);
        let bytes = if let Source::Job(..) = self.source { FRAME_STORED_BYTES } else { bytes };
        let page = match self.source.read(self.from, bytes).await {
            Ok(page) => page,
            Err(failure) => return Err(self.break_off(&failure).await),
        };
        self.from = page.next;
        self.source.touch();
        self.idle.restart();
        let mut out = Vec::with_capacity(page.content.len() + 256);
        durable_streams::put_data(&mut out, self.source.form(), &page.content);
        self.control(&mut out, self.source.end());
        Ok(out.into())
    }

    fn control(&mut self, out: &mut Vec<u8>, end: End) {
        let cursor =
            durable_streams::stream_cursor(self.broker.clock.now(), self.client_cursor.as_deref(), fastrand::u64(..));
        self.cursor = self.cursor.max(cursor);
        let up_to_date = self.from >= end.next;
        let closed = up_to_date && end.closed;
        let next = self.source.cursor(self.from);
        durable_streams::put_control(out, &Control { next, cursor: self.cursor, up_to_date, closed });
        if up_to_date {
            self.reported = Some((self.from, end.closed));
        }
        if closed {
            self.state = StreamState::Ended;
        }
    }

    async fn break_off(&mut self, failure: &Failure) -> Cut {
        telemetry::error(failure);
        tracing::warn!(error = %failure, "a reader of a durable stream was cut off");
        self.state = StreamState::Broken;
        Cut::after_the_rest().await
    }
}
