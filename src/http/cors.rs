//! Browsers: which pages may use the port, and the CORS headers that their browsers read.
//!
//! A page of another origin may read answers only where `server.cors_origins` lets it. And it may not
//! act: a browser sends some requests, and opens WebSockets, without asking us first, and a broker
//! on loopback may have no keys. So whatever changes something, or is a WebSocket, is refused to an
//! `Origin` that is neither this host nor let in. Clients that are no browsers send none.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HOST, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use super::response::Reply;
use crate::config::{Allowed, Config, Server};
use crate::job::{Code, Failure};
use crate::policy::access;

/// Headers of ours that a page may read beside those that it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, request-id, x-should-retry, retry-after, location, etag, www-authenticate, accept-ranges, \
     content-range, forebay-job-id, forebay-attempts, forebay-provider, forebay-model, forebay-cost-usd, \
     forebay-cache, forebay-overhead-us, stream-next-offset, stream-cursor, stream-up-to-date, stream-closed, \
     stream-ttl, stream-expires-at, stream-sse-data-encoding, producer-epoch, producer-seq, \
     producer-expected-seq, producer-received-seq",
);
/// Seconds that a browser may keep the answer to a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// Bytes of the header names that a preflight asks for; the answer repeats them.
const REQUESTED_BYTES_MAX: usize = 4096;

/// Checks that a page of another origin may send this request.
///
/// # Errors
/// `forbidden`, for a page of another origin.
pub(super) fn check(config: &Config, parts: &Parts, is_socket: bool) -> Result<(), Failure> {
    let Some(origin) = parts.headers.get(ORIGIN) else { return Ok(()) };
    let acts = is_socket || !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !acts
        || is_own(origin, parts, config)
        || config.server.allows(origin.to_str().unwrap_or_default()) != Allowed::No
    {
        return Ok(());
    }
    let message = "a page of another origin may not: name it in server.cors_origins";
    Err(Failure::new(Code::Forbidden, message).with_param("origin"))
}

/// Whether the page came from this very host and port. A broker that is open because only its own
/// machine reaches it goes by names of that machine alone: any owner of a domain can have a name point
/// to it.
fn is_own(origin: &HeaderValue, parts: &Parts, config: &Config) -> bool {
    let host = match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let is_any_name_fine = !config.keys.is_empty() || config.server.allow_anonymous;
    host.zip(of_origin).is_some_and(|(ours, theirs)| {
        ours.eq_ignore_ascii_case(theirs) && (is_any_name_fine || access::is_loopback(ours))
    })
}

/// Adds the headers that say what the browser's page may do. A route with rules of its own sets
/// `access-control-allow-origin` itself, and is left alone.
pub(super) fn add_headers(server: &Server, parts: &Parts, reply: &mut Reply) {
    if server.cors_origins.is_empty() || reply.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    let allow = reply.headers().get(ALLOW).cloned();
    let headers = reply.headers_mut();
    let is_preflight = parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let varies = if is_preflight { "origin, access-control-request-headers" } else { "origin" };
    headers.append(VARY, HeaderValue::from_static(varies));
    let Some(origin) = parts.headers.get(ORIGIN) else { return };
    match server.allows(origin.to_str().unwrap_or_default()) {
        Allowed::No => return,
        Allowed::Any => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Allowed::Named => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            // Cookies mean nothing to us, but may to a proxy before us; a named origin is trusted with them.
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    let Some(methods) = allow.filter(|_| is_preflight) else {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if let Some(names) = requested_headers(&parts.headers) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
}

/// The header names that a preflight asks for: any may be sent, since none means more from a page than
/// from any other client. Named, since `*` does not cover `Authorization`.
fn requested_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut names = String::new();
    for value in headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let is_token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
            if !is_token || names.len() + name.len() > REQUESTED_BYTES_MAX {
                return None;
            }
            names += if names.is_empty() { "" } else { ", " };
            names += name;
        }
    }
    HeaderValue::try_from(names).ok().filter(|names| !names.is_empty())
}
