//! OpenAI's dialect over HTTP: chat completions and embeddings.
//!
//! Owns the status and headers of these answers. The head of a stream waits for the first thing to
//! tell, so that a job which fails before it is an HTTP error, as the dialect's clients expect. What
//! a job has tried itself they are told not to try again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::answer::Visit;
use super::body::{self, Cut, Pieces};
use super::query::Query;
use super::reply::{self, Reply};
use super::run::{self, Submitter, TakenIn};
use super::sse::{Counted, FRAME_STORED_BYTES};
use crate::config::Scope;
use crate::job::{Failure, OutputBody, State, Task};
use crate::log::{Chunk, Followed, Follower, Silence};
use crate::request::Services;
use crate::telemetry;
use crate::wire::openai::{self, Chunks, Completion, Embeddings, Envelope, Served, Told};
use crate::wire::submit::Said;
use crate::wire::{Cursor, record};

/// A sign of life: an empty line after it would make OpenAI's Python library raise.
const COMMENT: &[u8] = b": still here\n";
/// What this dialect's libraries obey.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// `POST /v1/chat/completions`.
pub(super) async fn chat(visit: &Visit<'_>, body: Incoming) -> Result<Reply, Failure> {
    let body = read(visit, body).await?;
    let asked = openai::chat(&body)?;
    // A large body is not held while its job is under way.
    drop(body);
    let streamed = asked.said.stream == Some(true);
    let mut taken = take_in(visit, asked.said, Task::Chat).await?;
    let svc = &visit.connection.front.svc;
    let id = taken.submitted.stream.head().id.clone();
    let answered = match streamed {
        true => {
            let follower = Follower::new(Arc::clone(&svc.log), Arc::clone(&taken.submitted.stream), Cursor::Start)?;
            Reader::new(svc, follower, Chunks::new(&id, asked.include_usage), taken.submitter.take()).answer().await
        }
        false => {
            let mut whole = Completion::default();
            let read = run::read_whole(svc, &taken.submitted.stream, |record| whole.push(record)).await;
            drop(taken.submitter.take());
            let served = whole.served().clone();
            Answered {
                reply: read.and_then(|()| whole.finish(&id)).map(|whole| reply::json(StatusCode::OK, &whole)),
                served,
            }
        }
    };
    Ok(answered.reply(&taken))
}

/// `POST /v1/embeddings`.
pub(super) async fn embeddings(visit: &Visit<'_>, body: Incoming) -> Result<Reply, Failure> {
    let body = read(visit, body).await?;
    let said = openai::embedding(&body)?;
    drop(body);
    let input = said.input.clone();
    let mut taken = take_in(visit, said, Task::Embedding).await?;
    let svc = &visit.connection.front.svc;
    let mut whole = Embeddings::default();
    let stream = &taken.submitted.stream;
    let read = run::read_whole(svc, stream, |record| whole.push(record)).await;
    drop(taken.submitter.take());
    let served = whole.served().clone();
    let vectors = async {
        read?;
        let output = whole.output()?;
        let vectors = match (output.body, output.sha256) {
            (_, Some(sha256)) => svc.log.get_output(stream, &sha256).await?,
            (OutputBody::Data(data), None) => data.0,
            (OutputBody::Value(value), None) => value.to_string().into(),
            (OutputBody::Url(_), None) => return Err(Failure::internal("vectors are not fetched from elsewhere")),
        };
        let json = HeaderValue::from_static("application/json");
        Ok(reply::whole(StatusCode::OK, json, whole.finish(&vectors, &input)?))
    };
    let answered = Answered { reply: vectors.await, served };
    Ok(answered.reply(&taken))
}

/// What a failure looks like to this dialect's clients.
pub(super) fn refused(failure: &Failure) -> Reply {
    let mut reply = reply::failed(failure, &Envelope::new(failure));
    if !failure.retryable {
        reply.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    reply
}

async fn read(visit: &Visit<'_>, body: Incoming) -> Result<Bytes, Failure> {
    visit.asked.access.require(Scope::Run)?;
    Query::parse(visit.parts.uri.query()).only(|name| name == "api-version")?;
    if run::is_msgpack(visit.parts.headers.get(CONTENT_TYPE))? {
        return Err(Failure::invalid("content-type", "must be application/json"));
    }
    body::read(visit, body).await
}

async fn take_in(visit: &Visit<'_>, said: Said, task: Task) -> Result<TakenIn, Failure> {
    let (said, door) = run::beside_body(visit, said, Some(task))?;
    if said.options.background {
        let message = "this dialect has no answer at once: leave it out, or submit to /v1/run";
        return Err(Failure::unsupported("options.background", message));
    }
    run::take_in(visit, said, door).await
}

/// An answer, or why there is none; and who served it.
struct Answered {
    reply: Result<Reply, Failure>,
    served: Served,
}

impl Answered {
    fn reply(self, taken: &TakenIn) -> Reply {
        let mut reply = self.reply.unwrap_or_else(|failure| {
            let mut reply = refused(&failure);
            // All that could be tried was. One that we broke off ourselves may be asked anew.
            if taken.submitted.stream.tail().state != State::Interrupted {
                reply.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            reply
        });
        if self.served.attempts > 0 {
            reply::set(&mut reply, "forebay-attempts", self.served.attempts.to_string());
        }
        if let Some(cost) = self.served.cost.filter(|cost| cost.priced) {
            reply::set(&mut reply, "forebay-cost-usd", cost.usd.to_string());
        }
        if let Some((provider, model)) = &self.served.target {
            reply::set(&mut reply, "forebay-provider", provider.as_bytes());
            reply::set(&mut reply, "forebay-model", model.as_bytes());
        }
        taken.mark(&mut reply);
        reply
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

/// One reader of a chat answer: its place in the stream, and what it was told.
struct Reader {
    follower: Follower,
    chunks: Chunks,
    silence: Silence,
    /// Was read for the head, and not sent yet.
    first: Option<Bytes>,
    goes: Goes,
    _submitter: Option<Submitter>,
    _counted: Counted,
}

impl Reader {
    fn new(svc: &Services, follower: Follower, chunks: Chunks, submitter: Option<Submitter>) -> Reader {
        let heartbeat = Duration::from_millis(svc.live.load().config.server.heartbeat_ms.max(1));
        let (silence, _counted) = (Silence::new(heartbeat), Counted::new());
        Reader { follower, chunks, silence, first: None, goes: Goes::On, _submitter: submitter, _counted }
    }

    /// The head, once there is something to tell: a piece of the answer, why there is none, or that
    /// it takes long.
    async fn answer(mut self) -> Answered {
        let first = self.piece().await;
        let served = self.chunks.served().clone();
        let reply = match first {
            Err(failure) if !self.chunks.has_begun() => Err(failure),
            first => {
                self.first = Some(first.unwrap_or_else(|failure| self.breaks(&failure)));
                Ok(reply::events(Some(self.pieces())))
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
                    if !piece.is_empty() {
                        self.silence.broken();
                        return Ok(piece);
                    }
                }
                () = self.silence.lasts() => return Ok(Bytes::from_static(COMMENT)),
            }
        }
    }

    fn render(&mut self, chunk: &Chunk) -> Result<Bytes, Failure> {
        let mut out = Vec::new();
        for (seq, stored) in chunk.iter() {
            match self.chunks.push(record::decode(seq, stored)?, &mut out) {
                Told::More => {}
                Told::Done => self.goes = Goes::Ended,
                Told::Broken(failure) if !self.chunks.has_begun() => return Err(failure),
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
        Chunks::error(failure, &mut out);
        out.into()
    }
}
