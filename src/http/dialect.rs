//! What the doors of other dialects share: taking a job in, and answering it rendered.
//!
//! Owns the status and headers of these answers. The head of a stream waits for the first thing to
//! tell, so that a job which fails before it is an HTTP error, as the dialects' clients expect. What
//! a job has tried itself they are told not to try again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::body::{self, Cut, Pieces};
use super::cloudflare_headers::Step;
use super::context::RequestContext;
use super::errors::{Dialect, SHOULD_RETRY};
use super::query::Query;
use super::response;
use super::response::Reply;
use super::sse::{Counted, FRAME_STORED_BYTES};
use super::submit::{self, DisconnectGuard, SubmittedJob};
use crate::broker::Broker;
use crate::config::Scope;
use crate::dialect::render::{Render, Served, Told};
use crate::job::{Failure, State, Task};
use crate::log::{Chunk, Followed, Follower, Silence, Stream};
use crate::telemetry;
use crate::wire::submit::Said;
use crate::wire::{Cursor, record};

/// The body of a request that submits a job.
pub(super) async fn read(context: &RequestContext<'_>, body: Incoming) -> Result<Bytes, Failure> {
    context.auth.access.require(Scope::Run)?;
    Query::parse(context.parts.uri.query()).only(|name| matches!(name, "api-version" | "beta"))?;
    if submit::is_msgpack(context.parts.headers.get(CONTENT_TYPE))? {
        return Err(Failure::invalid("content-type", "must be application/json"));
    }
    body::read(context, body).await
}

/// Submits what was said; its client waits for the answer.
pub(super) async fn take_in(context: &RequestContext<'_>, said: Said, task: Task) -> Result<SubmittedJob, Failure> {
    let (said, door) = submit::beside_body(context, said, Some(task))?;
    if said.options.background {
        let message = "this dialect has no answer at once: leave it out, or submit to /v1/run";
        return Err(Failure::unsupported("options.background", message));
    }
    submit::take_in(context, said, door).await
}

/// An answer, or why there is none; and who served it.
pub(super) struct Answered {
    pub(super) reply: Result<Reply, Failure>,
    pub(super) served: Served,
}

impl Answered {
    /// With its headers.
    pub(super) fn reply(self, dialect: Dialect, context: &RequestContext<'_>, taken: &SubmittedJob) -> Reply {
        let mut reply = self.reply.unwrap_or_else(|failure| {
            let mut reply = dialect.refused(&failure, &context.request_id);
            // All that could be tried was. One that we broke off ourselves may be asked anew.
            if taken.submitted.stream.tail().state != State::Interrupted {
                reply.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            reply
        });
        if self.served.attempts > 0 {
            response::set(&mut reply, "forebay-attempts", self.served.attempts.to_string());
            reply.extensions_mut().insert(Step(self.served.step));
        }
        if let Some(cost) = self.served.cost.filter(|cost| cost.priced) {
            response::set(&mut reply, "forebay-cost-usd", cost.usd.to_string());
        }
        if let Some((provider, model)) = &self.served.target {
            response::set(&mut reply, "forebay-provider", provider.as_bytes());
            response::set(&mut reply, "forebay-model", model.as_bytes());
        }
        taken.mark(&mut reply);
        reply
    }
}

/// The stream of a job from its first record, rendered. Unless the rendering begins at once, the head
/// waits for the first thing to tell: a piece of the answer, why there is none, or that it takes long.
pub(super) async fn streamed<R: Render>(
    broker: &Broker,
    stream: &Arc<Stream>,
    render: R,
    submitter: Option<DisconnectGuard>,
) -> Answered {
    match Follower::new(Arc::clone(&broker.log), Arc::clone(stream), Cursor::Start) {
        Ok(follower) => Reader::new(broker, follower, render, submitter).answer().await,
        Err(failure) => Answered { reply: Err(failure), served: Served::default() },
    }
}

/// How a stream goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    /// It has come to its own end.
    Ended,
    /// The connection is to be cut.
    Broken,
}

/// One reader of an answer: its place in the stream, and what it was told.
struct Reader<R> {
    follower: Follower,
    render: R,
    silence: Silence,
    /// Was read for the head, and not sent yet.
    first: Option<Bytes>,
    goes: Goes,
    _submitter: Option<DisconnectGuard>,
    _counted: Counted,
}

impl<R: Render> Reader<R> {
    fn new(broker: &Broker, follower: Follower, render: R, submitter: Option<DisconnectGuard>) -> Reader<R> {
        let heartbeat = Duration::from_millis(broker.snapshot.load().config.server.heartbeat_ms.max(1));
        let (silence, _counted) = (Silence::new(heartbeat), Counted::new());
        Reader { follower, render, silence, first: None, goes: Goes::On, _submitter: submitter, _counted }
    }

    async fn answer(mut self) -> Answered {
        if self.render.has_begun() {
            return Answered { served: Served::default(), reply: Ok(response::events(Some(self.pieces()))) };
        }
        let first = self.piece().await;
        let served = self.render.served().clone();
        let reply = match first {
            Err(failure) if !self.render.has_begun() => Err(failure),
            first => {
                let first = first.unwrap_or_else(|failure| self.breaks(&failure));
                let mut begun = Vec::new();
                self.render.begin(&mut begun);
                self.first = Some(if begun.is_empty() { first } else { [first, begun.into()].concat().into() });
                Ok(response::events(Some(self.pieces())))
            }
        };
        Answered { reply, served }
    }

    fn pieces(self) -> Pieces {
        Box::pin(stream::unfold(self, |mut reader| async { Some((reader.next().await?, reader)) }))
    }

    /// The next piece. Cancel-safe.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        match self.goes {
            Goes::On => {}
            Goes::Ended => return None,
            Goes::Broken => return Some(Err(Cut::after_the_rest().await)),
        }
        let piece = self.piece().await;
        Some(Ok(piece.unwrap_or_else(|failure| self.breaks(&failure))))
    }

    /// What is to be told next, or a sign of life. An error is one that was not told yet.
    async fn piece(&mut self) -> Result<Bytes, Failure> {
        loop {
            tokio::select! {
                biased;
                followed = self.follower.next(FRAME_STORED_BYTES) => {
                    let piece = match followed? {
                        Followed::Records(chunk) => self.render(&chunk)?,
                        Followed::End(_) => return Err(Failure::internal("the job ended without a terminal")),
                    };
                    if !piece.is_empty() || self.goes == Goes::Ended {
                        self.silence.broken();
                        return Ok(piece);
                    }
                }
                () = self.silence.lasts() => return Ok(Bytes::from_static(R::KEEP_ALIVE)),
            }
        }
    }

    fn render(&mut self, chunk: &Chunk) -> Result<Bytes, Failure> {
        let mut out = Vec::new();
        for (seq, stored) in chunk.iter() {
            match self.render.push(record::decode(seq, stored)?, &mut out) {
                Told::More => {}
                Told::Done => self.goes = Goes::Ended,
                Told::Broken(failure) if !self.render.has_begun() => return Err(failure),
                Told::Broken(failure) => {
                    telemetry::error(&failure);
                    self.goes = Goes::Broken;
                    break;
                }
            }
        }
        Ok(out.into())
    }

    fn breaks(&mut self, failure: &Failure) -> Bytes {
        telemetry::error(failure);
        self.goes = Goes::Broken;
        let mut out = Vec::new();
        self.render.error(failure, &mut out);
        out.into()
    }
}
