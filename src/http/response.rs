//! Answers: the one place where a failure becomes an HTTP response.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::{Body, Pieces};
use crate::job::{Code, Failure};
use crate::telemetry;

pub(super) type Reply = Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer whose body is one piece.
pub(super) fn whole(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Whole(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// An answer with a value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(value).expect("answers have string keys");
    whole(status, JSON, body)
}

/// An answer with text for people.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    whole(status, HeaderValue::from_static("text/plain; charset=utf-8"), text)
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::Whole(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// A stream of server-sent events.
pub(super) fn events(body: Option<Pieces>) -> Reply {
    let mut reply = Response::new(body.map_or(Body::Whole(Bytes::new()), Body::Pieces));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    reply
}

/// Sets a header; a value that cannot be one is left out.
pub(super) fn set(reply: &mut Reply, name: &'static str, value: impl AsRef<[u8]>) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_ref()) {
        reply.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a Failure,
}

/// The answer to a failure in our own form.
pub(super) fn failure_reply(failure: &Failure) -> Reply {
    failure_reply_with(failure, &Envelope { error: failure })
}

/// The answer to a failure, with a body of the caller's.
pub(super) fn failure_reply_with(failure: &Failure, body: &impl Serialize) -> Reply {
    telemetry::error(failure);
    let status = StatusCode::from_u16(failure.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = json(status, body);
    if let Some(ms) = failure.retry_after_ms {
        reply.headers_mut().insert(RETRY_AFTER, ms.div_ceil(1000).max(1).into());
    }
    if failure.code == Code::Unauthenticated {
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if failure.code == Code::Internal {
        tracing::error!(error = %failure, "an answer failed for a reason of ours");
    }
    reply
}

/// The answer to a method that the route does not have; `allow` names those that it has.
pub(super) fn wrong_method(allow: &str) -> Reply {
    let mut reply = failure_reply(&Failure::invalid("method", format!("this route takes {allow}")));
    *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    set(&mut reply, "allow", allow);
    reply
}

/// The answer to `OPTIONS`; `allow` names the route's methods.
pub(super) fn options(allow: &str) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    set(&mut reply, "allow", allow);
    reply
}
