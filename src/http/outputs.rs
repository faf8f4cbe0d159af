//! `GET /v1/jobs/{id}/outputs/{index}`: an output on its own, with its media type.
//!
//! Owns ranges: one range of bytes is answered with 206, a range that does not exist with 416, and everything else
//! (several ranges, another unit) with the whole output, as RFC 9110 allows. A stored output goes from its file to the
//! connection chunk by chunk.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_RANGE,
    LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::body::{Body, Cut};
use super::context::RequestContext;
use super::jobs;
use super::query::decode;
use super::response;
use super::response::Reply;
use crate::config::Scope;
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{Code, Event, Failure, Output, OutputBody};
use crate::log::{Followed, Follower, OutputReader, Stream, Streams};
use crate::wire::Cursor;
use crate::wire::record::{self, BodyRef};

/// Answers with one output of a job.
pub(super) async fn give(context: &RequestContext<'_>, id: &str, index: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    jobs::no_parameters(context)?;
    let index = decode(index, false).parse().map_err(|_| Failure::invalid("index", "must be a number from 0"))?;
    let stream = jobs::find(context, id).await?;
    let log = &context.broker().log;
    let output = find(log.clone(), &stream, index).await?;
    let output = output.ok_or_else(|| Failure::new(Code::NotFound, "no such output"))?;
    let mime = HeaderValue::try_from(output.mime.as_ref());
    let mime = mime.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut reply = match (output.body, output.sha256) {
        (_, Some(sha256)) => {
            let reader = log.get_output(&stream, &sha256).await?;
            let etag = HeaderValue::try_from(format!("\"{sha256}\"")).ok();
            ranged(context, (mime, etag), reader.len(), |range| Body::Pieces(pieces(reader.range(range))))
        }
        (OutputBody::Data(data), None) => in_memory(context, mime, data.0),
        (OutputBody::Value(value), None) => {
            let json = serde_json::to_vec(&value).map_err(|error| Failure::internal(format!("an output: {error}")))?;
            in_memory(context, HeaderValue::from_static("application/json"), json.into())
        }
        (OutputBody::Url(url), None) => {
            let place = HeaderValue::try_from(url.as_ref())
                .map_err(|_| Failure::new(Code::NotFound, "the provider's address of this output is not one"))?;
            let mut reply = response::empty(StatusCode::FOUND);
            reply.headers_mut().insert(LOCATION, place);
            reply
        }
    };
    // What a model made is shown as what it says it is, and runs nothing in our name.
    let headers = reply.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response::set(&mut reply, "forebay-job-id", stream.head().id.as_str());
    Ok(reply)
}

/// Answers with an output that a record holds.
fn in_memory(context: &RequestContext<'_>, mime: HeaderValue, bytes: Bytes) -> Reply {
    ranged(context, (mime, None), bytes.len() as u64, |range| {
        // Both ends are at most the length, which is a usize.
        Body::Whole(bytes.slice(range.start as usize..range.end as usize))
    })
}

/// Answers with the part of `len` bytes that the request asks for.
fn ranged(
    context: &RequestContext<'_>,
    (mime, etag): (HeaderValue, Option<HeaderValue>),
    len: u64,
    body: impl FnOnce(Range<u64>) -> Body,
) -> Reply {
    let headers = &context.parts.headers;
    // A range of another version of the output would not fit to what the client has.
    let is_same = headers.get(IF_RANGE).is_none_or(|known| etag.as_ref() == Some(known));
    let wanted = if context.parts.method == Method::GET && is_same { wanted(headers, len) } else { Wanted::Whole };
    let (status, range) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0..len),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let mut reply = response::failure_reply(&Failure::invalid("range", format!("the output has {len} bytes")));
            *reply.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            response::set(&mut reply, "content-range", format!("bytes */{len}"));
            return reply;
        }
    };
    let mut reply = Response::new(body(range.clone()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, mime);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
    headers.extend(etag.map(|etag| (ETAG, etag)));
    if status == StatusCode::PARTIAL_CONTENT {
        let place = format!("bytes {}-{}/{len}", range.start, range.end - 1);
        headers.extend(HeaderValue::try_from(place).map(|place| (CONTENT_RANGE, place)));
    }
    reply
}

/// What a request wants of an output.
#[derive(PartialEq, Eq, Debug)]
enum Wanted {
    /// The whole of the output.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that the output does not have.
    Nothing,
}

/// Reads the `Range` header for an output of `len` bytes.
fn wanted(headers: &HeaderMap, len: u64) -> Wanted {
    let value = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = value.and_then(|value| value.strip_prefix("bytes=")?.split_once('-')) else {
        return Wanted::Whole;
    };
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    let range = match (first.trim(), last.trim()) {
        ("", "") => return Wanted::Whole,
        ("", suffix) => number(suffix).map(|suffix| len.saturating_sub(suffix)..len),
        (first, "") => number(first).map(|first| first..len),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Some(first..last.saturating_add(1).min(len)),
            _ => None,
        },
    };
    match range {
        None => Wanted::Whole,
        Some(range) if range.start >= len || range.is_empty() => Wanted::Nothing,
        Some(range) => Wanted::Part(range),
    }
}

/// Gives a stored output chunk by chunk, as the connection takes it.
fn pieces(reader: OutputReader) -> super::body::Pieces {
    let next = |mut reader: OutputReader| async move {
        match reader.chunk().await {
            Ok(Some(chunk)) => Some((Ok(chunk), reader)),
            Ok(None) => None,
            Err(failure) => {
                tracing::error!(error = %failure, "an output broke off");
                Some((Err(Cut::after_the_rest().await), reader.range(0..0)))
            }
        }
    };
    Box::pin(stream::unfold(reader, next))
}

/// Finds the last output of that index which is durable and was not discarded by a restart.
async fn find(log: Arc<dyn Streams>, stream: &Arc<Stream>, index: u32) -> Result<Option<Output>, Failure> {
    let mut follower = Follower::new(log, Arc::clone(stream), Cursor::Start)?;
    let mut found = None;
    while !follower.is_caught_up() {
        let Followed::Records(chunk) = follower.next(FRAME_BYTES_MAX).await? else { break };
        for (seq, stored) in chunk.iter() {
            match record::decode(seq, stored)?.body {
                BodyRef::Event(Event::Output(output)) if output.index == index => found = Some(output),
                BodyRef::Event(Event::Restarted(_)) => found = None,
                _ => {}
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_or_nothing_and_what_is_not_understood_is_the_whole() {
        let check = |value: &'static str, expected: Wanted| {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(value))]);
            assert_eq!(wanted(&headers, 100), expected, "{value}");
        };
        check("bytes=0-0", Wanted::Part(0..1));
        check("bytes=10-19", Wanted::Part(10..20));
        check("bytes=90-", Wanted::Part(90..100));
        check("bytes=90-1000", Wanted::Part(90..100));
        check("bytes=-7", Wanted::Part(93..100));
        check("bytes=-1000", Wanted::Part(0..100));
        check("bytes=99-99999999999999999999999", Wanted::Part(99..100));
        for beyond in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"] {
            check(beyond, Wanted::Nothing);
        }
        for other in ["bytes=", "bytes=-", "bytes=5-4", "bytes=a-4", "bytes=0-1,5-6", "lines=0-1", "bytes=+1-2"] {
            check(other, Wanted::Whole);
        }
        assert_eq!(wanted(&HeaderMap::new(), 100), Wanted::Whole);
    }
}
