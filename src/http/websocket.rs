//! The handshake that turns an HTTP connection into a WebSocket. The messages are the module `ws`'s.

use std::sync::Arc;

use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, StatusCode};

use super::auth;
use super::auth::RequestAuth;
use super::context::Connection;
use super::query::{Query, decode};
use super::response;
use super::response::Reply;
use super::upgrade::Upgrade;
use crate::config::Scope;
use crate::job::{Code, Failure};
use crate::ws::{Handshake, socket};

/// Bytes of a `Sec-WebSocket-Key`: 16 in base64.
const KEY_BYTES: usize = 24;

/// `GET /v1/ws` and `GET /v1/jobs/{id}/ws?cursor=`.
pub(super) fn upgrade(
    connection: &Arc<Connection>,
    parts: &mut Parts,
    gateway: Option<&str>,
    job: Option<&str>,
) -> Result<Reply, Failure> {
    let broker = &connection.server.broker;
    let Some(accept) = accept_key(&parts.headers) else {
        let mut reply = response::failure_reply(&Failure::invalid("upgrade", "this route is a WebSocket (version 13)"));
        *reply.status_mut() = StatusCode::UPGRADE_REQUIRED;
        let headers = reply.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Ok(reply);
    };
    // Browsers cannot send a key with the handshake: they say it in `hello`.
    let access = match auth::presented(&parts.headers) {
        Some(_) => Some(RequestAuth::read(&broker.snapshot.load().config, &parts.headers, gateway)?.access),
        None => None,
    };
    if let Some(access) = &access
        && !access.has(Scope::Run)
    {
        access.require(Scope::Read)?;
    }
    let offered = offered(&parts.headers);
    let protocol = socket::choose_protocol(offered.as_deref())
        .map_err(|()| Failure::invalid("sec-websocket-protocol", "must be forebay.v1.json or forebay.v1.msgpack"))?;
    let implicit = implicit(job, parts.uri.query())?;
    let mut request = Request::new(());
    *request.extensions_mut() = std::mem::take(&mut parts.extensions);
    let io = hyper::upgrade::on(&mut request);
    let arbiter = broker.arbiters().pick().clone();
    let handshake = Handshake { access, protocol, implicit, arbiter };
    *connection.upgrade.lock().expect("nothing panics while it holds this lock") = Some(Upgrade { io, handshake });
    let mut reply = response::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if offered.is_some() {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name()));
    }
    Ok(reply)
}

/// Value of `Sec-WebSocket-Accept`; `None` if the request is no handshake.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let holds = |name, wanted: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values.any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted)))
    };
    let version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok().filter(|key| key.len() == KEY_BYTES)?;
    let is_handshake = holds(CONNECTION, "upgrade") && holds(UPGRADE, "websocket") && version;
    is_handshake.then(|| HeaderValue::try_from(socket::accept_key(key)).ok()).flatten()
}

fn offered(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered = values.collect::<Vec<_>>().join(",");
    (!offered.trim().is_empty()).then_some(offered)
}

/// The job and the cursor, as they came; the module `ws` checks both.
fn implicit(job: Option<&str>, query: Option<&str>) -> Result<Option<(Box<str>, Option<Box<str>>)>, Failure> {
    let query = Query::parse(query);
    let Some(id) = job else {
        query.only(|_| false)?;
        return Ok(None);
    };
    query.only(|name| name == "cursor")?;
    let cursor = query.one("cursor", Code::BadCursor)?.map(Box::from);
    Ok(Some((decode(id, false).into(), cursor)))
}
