//! Writing: streams are created, appended to, closed and deleted.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::{Method, StatusCode};

use super::source::{find, no_stream};
use crate::dialect::durable_streams;
use crate::dialect::durable_streams::{Lifetime, Producer, SEQ_BYTES_MAX};
use crate::http::auth::header;
use crate::http::body;
use crate::http::context::RequestContext;
use crate::http::errors::stream_failure_reply;
use crate::http::response;
use crate::http::response::Reply;
use crate::job::{Code, Failure};
use crate::streams::{Append, CONTENT_TYPE_BYTES_MAX, Created, Done, Key, Plan, Refused, UserStream};
use crate::wire::Cursor;

/// Content type of a stream whose creator names none.
const ANY_TYPE: &str = "application/octet-stream";
/// Headers of forks, which are not to be had here.
const FORKS: [&str; 3] = ["stream-forked-from", "stream-fork-offset", "stream-fork-sub-offset"];

/// Answers `PUT`, `POST` and `DELETE`.
pub(super) async fn answer(context: &RequestContext<'_>, key: Key) -> Result<Reply, Failure> {
    let body = body::read(context).await?;
    match context.parts.method {
        Method::PUT => create(context, key, body).await,
        Method::DELETE => match context.broker().user_streams.delete(key).await? {
            true => Ok(response::empty(StatusCode::NO_CONTENT)),
            false => Err(no_stream()),
        },
        _ => append(context, key, body).await,
    }
}

/// Returns the text of one of the protocol's headers.
fn text_header<'a>(context: &'a RequestContext<'_>, name: &str) -> Result<Option<&'a str>, Failure> {
    header(&context.parts.headers, name, Code::Invalid)
}

fn content_type<'a>(context: &'a RequestContext<'_>) -> Result<Option<&'a str>, Failure> {
    let content_type = text_header(context, CONTENT_TYPE.as_str())?.map(str::trim).filter(|text| !text.is_empty());
    match content_type {
        Some(text) if text.len() > CONTENT_TYPE_BYTES_MAX || !text.is_ascii() => {
            Err(Failure::invalid("content-type", format!("must have at most {CONTENT_TYPE_BYTES_MAX} ASCII bytes")))
        }
        content_type => Ok(content_type),
    }
}

async fn create(context: &RequestContext<'_>, key: Key, body: Bytes) -> Result<Reply, Failure> {
    if let Some(name) = FORKS.iter().find(|name| context.parts.headers.contains_key(**name)) {
        return Err(Failure::unsupported(name, "streams cannot be forked here"));
    }
    let plan = Plan {
        content_type: content_type(context)?.unwrap_or(ANY_TYPE).into(),
        lifetime: Lifetime::of(text_header(context, "stream-ttl")?, text_header(context, "stream-expires-at")?)?,
        closed: durable_streams::is_true(text_header(context, "stream-closed")?),
    };
    let (status, feed) = match context.broker().user_streams.create(key, plan, body).await? {
        Created::New(feed) => (StatusCode::CREATED, feed),
        Created::Same(feed) => (StatusCode::OK, feed),
        Created::Other => {
            return Err(Failure::new(Code::Conflict, "there is such a stream, and it is another: see its HEAD"));
        }
    };
    let mut reply = response::empty(status);
    if let Ok(content_type) = HeaderValue::try_from(feed.content_type()) {
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    if let Ok(place) = HeaderValue::try_from(address(context)) {
        reply.headers_mut().insert(LOCATION, place);
    }
    let tail = feed.tail();
    place(&mut reply, &feed, tail.next, tail.closed);
    Ok(reply)
}

/// The stream's address as its client knows it.
fn address(context: &RequestContext<'_>) -> String {
    let scheme = if context.broker().snapshot.load().tls.is_some() { "https" } else { "http" };
    let host = context.parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let path = context.parts.uri.path();
    host.map_or_else(|| path.to_owned(), |host| format!("{scheme}://{host}{path}"))
}

fn place(reply: &mut Reply, feed: &UserStream, next: u64, closed: bool) {
    let next = Cursor::At { epoch: feed.epoch(), seq: next };
    response::set(reply, "stream-next-offset", next.to_string());
    if closed {
        response::set(reply, "stream-closed", "true");
    }
}

async fn append(context: &RequestContext<'_>, key: Key, body: Bytes) -> Result<Reply, Failure> {
    let feed = find(context, &key).await?;
    let producer = Producer::of(
        text_header(context, "producer-id")?,
        text_header(context, "producer-epoch")?,
        text_header(context, "producer-seq")?,
    )?;
    let closes = durable_streams::is_true(text_header(context, "stream-closed")?);
    let seq = text_header(context, "stream-seq")?;
    if seq.is_some_and(|seq| seq.len() > SEQ_BYTES_MAX) {
        return Err(Failure::invalid("stream-seq", format!("must have at most {SEQ_BYTES_MAX} bytes")));
    }
    let content_type = match (body.is_empty(), content_type(context)?) {
        (true, _) if closes => None,
        (true, _) => return Err(Failure::invalid("body", "must not be empty")),
        (false, None) => return Err(Failure::invalid("content-type", "must be there")),
        (false, content_type) => content_type,
    };
    let append = Append { content_type: content_type.map(Into::into), closes, seq: seq.map(Into::into), producer };
    let appended = feed.append(&context.broker().user_streams, &append, &body).await?;
    let mut reply = match &appended.done {
        Done::New if append.producer.is_some() && append.content_type.is_some() => response::empty(StatusCode::OK),
        Done::New | Done::Known(_) => response::empty(StatusCode::NO_CONTENT),
        Done::Refused(why) => not_taken(why),
    };
    place(&mut reply, &feed, appended.next, appended.closed);
    if let (Some(producer), Done::New | Done::Known(_)) = (&append.producer, &appended.done) {
        let highest = match appended.done {
            Done::Known(Some(highest)) => highest,
            _ => producer.seq,
        };
        response::set(&mut reply, "producer-epoch", producer.epoch.to_string());
        response::set(&mut reply, "producer-seq", highest.to_string());
    }
    Ok(reply)
}

/// The answer to an append that was refused, in the form of the protocol.
fn not_taken(why: &Refused) -> Reply {
    let conflict = |message: &'static str| Failure::new(Code::Conflict, message);
    let failure = match why {
        Refused::Fenced { .. } => {
            Failure::new(Code::Forbidden, "the producer has a newer epoch").with_param("producer-epoch")
        }
        Refused::NotFirst => Failure::invalid("producer-seq", "a new epoch begins at 0"),
        Refused::Gap { .. } => conflict("appends of the producer are missing").with_param("producer-seq"),
        Refused::Closed => conflict("the stream is closed"),
        Refused::OtherType => conflict("the stream holds another content type").with_param("content-type"),
        Refused::OldSeq => conflict("does not come after the last").with_param("stream-seq"),
    };
    let mut reply = stream_failure_reply(&failure);
    match why {
        Refused::Fenced { epoch } => response::set(&mut reply, "producer-epoch", epoch.to_string()),
        Refused::Gap { expected, received } => {
            response::set(&mut reply, "producer-expected-seq", expected.to_string());
            response::set(&mut reply, "producer-received-seq", received.to_string());
        }
        _ => {}
    }
    reply
}
