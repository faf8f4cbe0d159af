//! Bodies: reading what was sent, within limits; and what we send.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;

use super::context::RequestContext;
use super::context::{Limits, ServerState};
use crate::job::{Code, Failure};

/// Bytes of an over-long body that are read and thrown away, so that its sender gets to read our
/// answer instead of a reset connection.
const DISCARD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Time that reading and throwing away may take.
const DISCARD_WAIT: Duration = Duration::from_secs(5);

/// The connection is to be dropped without a polite end: what was sent is not whole.
#[derive(Debug)]
pub(super) struct Cut;

impl Cut {
    /// After what was given before is on its way: the server writes out what it has when a body lets
    /// it wait, and drops that when a body fails.
    pub(super) async fn after_the_rest() -> Cut {
        tokio::task::yield_now().await;
        Cut
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Cut {
        match never {}
    }
}

/// Pieces of an answer as they come.
pub(super) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Cut>> + Send>>;

/// Body of an answer.
pub(super) enum Body {
    /// The whole body at once.
    Whole(Bytes),
    /// Piece by piece; the connection asks for the next when the last is on its way.
    Pieces(Pieces),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Pieces(pieces) => {
                pieces.as_mut().poll_next(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Pieces(_) => SizeHint::default(),
        }
    }
}

/// Reads a body of at most `server.body_bytes_max`; all that are coming in are at most
/// `server.bodies_bytes_max` together. A body that came in one piece is not copied.
///
/// # Errors
/// `too_large`, `overloaded`, or `invalid` when it is slow or breaks off.
pub(super) async fn read(context: &RequestContext<'_>) -> Result<Bytes, Failure> {
    let body = context.body.lock().expect("nothing panics while it holds this lock").take();
    let mut body = body.ok_or_else(|| Failure::internal("the body was read before"))?;
    let server = &context.connection.server;
    let (limits, bytes_max) = (&server.limits, server.broker.snapshot.load().config.server.body_bytes_max);
    let declared_bytes = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let gathered = match declared_bytes {
        Some(bytes) if bytes > bytes_max => Err(too_large(bytes_max)),
        _ => {
            let budget = BodyBudget { server, bytes: 0, bytes_max };
            let whole = tokio::time::timeout(
                limits.body,
                gather(&mut body, limits, budget, declared_bytes.unwrap_or_default()),
            );
            whole.await.unwrap_or_else(|_| Err(slow()))
        }
    };
    // Who asked first has not sent it: looking for it would tell them to.
    let asks_first = context.parts.headers.contains_key(EXPECT);
    let is_too_much = matches!(&gathered, Err(failure) if matches!(failure.code, Code::TooLarge | Code::Overloaded));
    if !asks_first && is_too_much {
        let _ = tokio::time::timeout(DISCARD_WAIT, discard(&mut body)).await;
    }
    context.body_read.get_or_init(Instant::now);
    gathered
}

/// Bytes that one body takes of the limit that all bodies share while they are received.
struct BodyBudget<'a> {
    server: &'a ServerState,
    bytes: usize,
    bytes_max: usize,
}

impl BodyBudget<'_> {
    /// # Errors
    /// `too_large`; `overloaded`, when the others have left too little.
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        if self.bytes + bytes > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        self.bytes += bytes;
        let all = self.server.body_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // One body has room in any case, however little is configured for all.
        if all > self.server.broker.snapshot.load().config.server.bodies_bytes_max && all > self.bytes {
            return Err(Failure::new(Code::Overloaded, "too many large bodies are coming in; try again"));
        }
        Ok(())
    }
}

impl Drop for BodyBudget<'_> {
    fn drop(&mut self) {
        self.server.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

async fn gather(
    body: &mut Incoming,
    limits: &Limits,
    mut budget: BodyBudget<'_>,
    declared_bytes: usize,
) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = tokio::time::timeout(limits.body_idle, body.frame()).await.map_err(|_| slow())? {
        let frame = frame.map_err(|_| Failure::new(Code::Invalid, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        budget.take(data.len())?;
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(declared_bytes.max(first.len() + data.len()));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

async fn discard(body: &mut Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > DISCARD_BYTES_MAX {
            return;
        }
    }
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::new(Code::TooLarge, format!("the body is over {bytes_max} bytes"))
}

fn slow() -> Failure {
    Failure::new(Code::Invalid, "the body was too slow to come")
}
