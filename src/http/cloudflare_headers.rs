//! Cloudflare's headers on answers to requests that came by one of Cloudflare's addresses.

use hyper::HeaderMap;

use super::response;
use super::response::Reply;

/// The client's own id of the event, which is sent back.
const EVENT_ID: &str = "cf-aig-event-id";

/// Number of times that a job changed its target before it was answered; stored with the answer, for its headers.
#[derive(Clone, Copy)]
pub(super) struct Step(pub(super) u32);

/// Adds Cloudflare's headers beside our own.
pub(super) fn add(request: &HeaderMap, reply: &mut Reply) {
    for (from, names) in [
        ("forebay-job-id", &["cf-aig-log-id", "cf-aig-request-id", EVENT_ID][..]),
        ("forebay-provider", &["cf-aig-provider"]),
        ("forebay-model", &["cf-aig-model"]),
    ] {
        let Some(value) = reply.headers().get(from).cloned() else { continue };
        for name in names {
            response::set(reply, name, value.as_bytes());
        }
    }
    if let Some(id) = request.get(EVENT_ID) {
        response::set(reply, EVENT_ID, id.as_bytes());
    }
    let cache = reply.headers().get("forebay-cache").map(|value| value.as_bytes() == b"miss");
    if let Some(is_miss) = cache {
        // Who joins a job costs nothing either.
        response::set(reply, "cf-aig-cache-status", if is_miss { "MISS" } else { "HIT" });
    }
    if let Some(Step(step)) = reply.extensions().get().copied() {
        response::set(reply, "cf-aig-step", step.to_string());
    }
}
