//! The door of the Durable Streams protocol: jobs' streams to read, users' own to write, too.
//!
//! Owns the protocol's status codes and headers. A position is a cursor as every other door gives it.
//! Promises that a reader is told only what is durable, and that one who waits holds a connection and
//! nothing else. Errors have our own envelope.

mod live;
mod read;
mod write;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, StatusCode};

use super::dispatch::RequestContext;
use super::jobs;
use super::query::decode;
use super::response;
use super::response::Reply;
use crate::config::Scope;
use crate::dialect::durable_streams::Form;
use crate::job::{Code, Epoch, Failure};
use crate::log::{self, Log};
use crate::streams::{Feed, Key, PATH_BYTES_MAX, Page, UserStreams};
use crate::wire::{Cursor, record};

/// Paths that the protocol keeps for itself.
const RESERVED: &str = "__ds";

/// Answers a request to `/v1/stream/{path}`.
pub(super) async fn serve(context: &RequestContext<'_>, path: &str, body: Incoming) -> Reply {
    served(context, path, body).await.unwrap_or_else(|failure| refused(&failure))
}

/// Answers a request to `/v1/stream/jobs/{id}`.
pub(super) async fn serve_job(context: &RequestContext<'_>, id: &str) -> Reply {
    let served = async {
        context.asked.access.require(Scope::Read)?;
        let log = Arc::clone(&context.connection.front.svc.log);
        read::answer(context, Source::Job(jobs::find(context, id).await?, log)).await
    };
    served.await.unwrap_or_else(|failure| refused(&failure))
}

async fn served(context: &RequestContext<'_>, path: &str, body: Incoming) -> Result<Reply, Failure> {
    let is_read = matches!(context.parts.method, Method::GET | Method::HEAD);
    let key = key(context, path)?;
    if !is_read {
        context.asked.access.require_in(Scope::Run, &key.gateway)?;
        return write::answer(context, key, body).await;
    }
    context.asked.access.require(Scope::Read)?;
    let feed = match context.asked.sees(&key.gateway) {
        true => find(context, &key).await?,
        false => return Err(no_stream()),
    };
    read::answer(context, Source::Feed(feed, Arc::clone(&context.connection.front.svc.feeds))).await
}

/// What every answer of this door has: what its users wrote is not to be taken for a page of ours.
pub(super) fn security_headers(reply: &mut Reply) {
    response::set(reply, "x-content-type-options", "nosniff");
    // Pages of other origins read with CORS, where they may, or not at all.
    response::set(reply, "cross-origin-resource-policy", "same-origin");
    response::set(reply, "content-security-policy", "sandbox; default-src 'none'");
}

fn key(context: &RequestContext<'_>, path: &str) -> Result<Key, Failure> {
    let path: Cow<'_, str> = decode(path, false);
    let is_plain = path.chars().all(|c| !c.is_control() && c != '\u{fffd}');
    if !(1..=PATH_BYTES_MAX).contains(&path.len()) || !is_plain {
        return Err(Failure::invalid("path", format!("must have 1 to {PATH_BYTES_MAX} bytes of text")));
    }
    if path.split('/').next() == Some(RESERVED) {
        return Err(Failure::unsupported("path", "subscriptions are not to be had here"));
    }
    Ok(Key { gateway: context.asked.gateway.clone().unwrap_or_default(), path: path.into() })
}

async fn find(context: &RequestContext<'_>, key: &Key) -> Result<Arc<Feed>, Failure> {
    context.connection.front.svc.feeds.find(key).await?.ok_or_else(no_stream)
}

fn no_stream() -> Failure {
    Failure::new(Code::NotFound, "no such stream")
}

/// A failure in the protocol's status codes.
fn refused(failure: &Failure) -> Reply {
    let mut reply = response::refused(failure);
    match failure.code {
        Code::BadCursor | Code::CursorAhead => *reply.status_mut() = StatusCode::BAD_REQUEST,
        // What stood there is gone: begin anew.
        Code::EpochMismatch | Code::CursorTrimmed => *reply.status_mut() = StatusCode::GONE,
        _ => {}
    }
    reply
}

/// Where content comes from.
enum Source {
    /// A job's records, as JSON messages.
    Job(Arc<log::Stream>, Arc<dyn Log>),
    /// A user's own.
    Feed(Arc<Feed>, Arc<UserStreams>),
}

/// How far it is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct End {
    next: u64,
    closed: bool,
    gone: bool,
}

impl Source {
    fn epoch(&self) -> Epoch {
        match self {
            Source::Job(stream, _) => stream.epoch(),
            Source::Feed(feed, _) => feed.epoch(),
        }
    }

    fn cursor(&self, seq: u64) -> Cursor {
        Cursor::At { epoch: self.epoch(), seq }
    }

    fn form(&self) -> Form {
        match self {
            Source::Job(..) => Form::Json,
            Source::Feed(feed, _) => feed.form(),
        }
    }

    fn content_type(&self) -> &str {
        match self {
            Source::Job(..) => "application/json",
            Source::Feed(feed, _) => feed.content_type(),
        }
    }

    fn end(&self) -> End {
        match self {
            Source::Job(stream, _) => {
                let tail = stream.tail();
                End { next: tail.durable, closed: tail.state.is_terminal(), gone: false }
            }
            Source::Feed(feed, _) => {
                let tail = feed.tail();
                End { next: tail.next, closed: tail.closed, gone: tail.gone }
            }
        }
    }

    /// Somebody reads it: its time goes on.
    fn used(&self) {
        if let Source::Feed(feed, feeds) = self {
            feed.used(feeds);
        }
    }

    /// Waits until there is something after `from`, or nothing will come. Cancel-safe.
    async fn wait(&self, from: u64) -> Result<(), Failure> {
        let waited = match self {
            Source::Job(stream, _) => {
                stream.watch().wait_for(|tail| tail.durable > from || tail.state.is_terminal()).await.is_ok()
            }
            Source::Feed(feed, _) => {
                feed.watch().wait_for(|tail| tail.next > from || tail.closed || tail.gone).await.is_ok()
            }
        };
        if waited { Ok(()) } else { Err(Failure::internal("the log is closed")) }
    }

    /// The same, for at most `limit`.
    async fn wait_for(&self, from: u64, limit: Duration) -> Result<(), Failure> {
        tokio::time::timeout(limit, self.wait(from)).await.unwrap_or(Ok(()))
    }

    async fn read(&self, from: u64, budget_bytes: usize) -> Result<Page, Failure> {
        let (stream, log) = match self {
            Source::Feed(feed, _) => return feed.read(from, budget_bytes).await,
            Source::Job(stream, log) => (stream, log),
        };
        if from >= stream.tail().durable {
            return Ok(Page { content: Vec::new(), next: from });
        }
        let chunk = match stream.read_ring(from, budget_bytes) {
            Some(chunk) => chunk,
            None => log.read_cold(stream, from, budget_bytes).await?,
        };
        let mut content = Vec::new();
        for (seq, stored) in chunk.iter() {
            if !content.is_empty() {
                content.push(b',');
            }
            record::decode(seq, stored)?.write_json(&mut content);
        }
        Ok(Page { content, next: chunk.next_seq() })
    }
}
