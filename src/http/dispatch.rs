//! From a request to its answer: find its route, authenticate it, call its handler, add common headers.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use super::auth::RequestAuth;
use super::cloudflare_names::Via;
use super::context::{Connection, RequestContext};
use super::errors::Dialect;
use super::response;
use super::response::Reply;
use super::routes::{self, Handler, Matched};
use super::{cloudflare_headers, cors, durable_streams, websocket};
use crate::job::{Code, Failure, StreamId};

const REQUEST_ID: &str = "x-request-id";
/// Bytes of a client's own request id that are given back.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Answers one request. Never fails: a failure is an answer.
pub(super) async fn answer(connection: &Arc<Connection>, request: Request<Incoming>) -> Reply {
    let arrived = Instant::now();
    let (mut parts, body) = request.into_parts();
    let request_id = request_id(&parts.headers);
    // The upgrade to a WebSocket needs the request's parts for itself, the route its path.
    let uri = parts.uri.clone();
    let matched = routes::find(uri.path());
    let (dialect, via) = matched.as_ref().map_or((Dialect::Own, Via::Own), |found| (found.route.dialect, found.via));
    let result = match matched {
        Some(matched) => dispatch(connection, &mut parts, body, matched, (arrived, &request_id)).await,
        None => Err(Failure::new(Code::NotFound, "there is no such route")),
    };
    let mut reply = result.unwrap_or_else(|failure| dialect.failure_reply(&failure, &request_id));
    if dialect == Dialect::Anthropic {
        reply.headers_mut().insert(HeaderName::from_static("request-id"), request_id.clone());
    }
    reply.headers_mut().insert(HeaderName::from_static(REQUEST_ID), request_id);
    if via != Via::Own {
        cloudflare_headers::add(&parts.headers, &mut reply);
    }
    if dialect == Dialect::DurableStreams {
        durable_streams::security_headers(&mut reply);
    }
    cors::add_headers(&connection.server.broker.snapshot.load().config.server, &parts, &mut reply);
    tracing::debug!(
        method = %parts.method,
        path = parts.uri.path(),
        status = reply.status().as_u16(),
        us = arrived.elapsed().as_micros(),
        traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok()),
        "answered"
    );
    reply
}

/// The client's own if it is fit to be given back, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID);
    let is_fit = |id: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    given.filter(is_fit).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(StreamId::generate().to_job_id().as_str()).expect("an id is letters and digits")
    })
}

/// Calls the handler of the request's operation, if the request may have it.
async fn dispatch(
    connection: &Arc<Connection>,
    parts: &mut Parts,
    body: Incoming,
    matched: Matched<'_>,
    (arrived, request_id): (Instant, &HeaderValue),
) -> Result<Reply, Failure> {
    let Matched { route, params, gateway, via } = matched;
    if parts.method == Method::OPTIONS {
        return Ok(response::options(&route.allow()));
    }
    let Some(operation) = route.operation(parts.method.as_str()) else {
        return Ok(response::wrong_method(&route.allow()));
    };
    let broker = &connection.server.broker;
    cors::check(&broker.snapshot.load().config, parts, operation.is_websocket())?;
    let handler = match operation.handler {
        Handler::Open(handler) => return Ok(handler(broker, routes::ROUTES)),
        Handler::WebSocket => {
            let job = route.pattern.contains('{').then_some(params[0]);
            return websocket::upgrade(connection, parts, gateway, job);
        }
        Handler::Request(handler) => handler,
    };
    let auth = RequestAuth::read(&broker.snapshot.load().config, &parts.headers, gateway)?;
    let (body, body_read, request_id) = (Mutex::new(Some(body)), OnceLock::new(), request_id.clone());
    let context = RequestContext { connection, parts, auth, params, body, via, arrived, body_read, request_id };
    handler(&context).await
}
