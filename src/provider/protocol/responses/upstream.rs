//! Responses in background mode: they go on at the provider when the connection is gone, and their
//! packets are numbered, so that a stream can be listened to again from any of them.

use serde_json::value::RawValue;

use super::decode::ResponsesDecoder;
use super::packet::Response;
use crate::job::{Event, Progress, ProgressState, UpstreamId};
use crate::provider::protocol::openai_chat::text;
use crate::provider::{Framing, Headers, Method, ModelCall, Outbound, Route, Upstream};

/// Characters of an id; it becomes part of an address.
const ID_BYTES_MAX: usize = 256;

impl ResponsesDecoder {
    /// Says once that the response goes on without us, so that its id is durable before a crash.
    pub(super) fn tell_upstream(&mut self, response: &Response<'_>, out: &mut Vec<Event>) {
        if response.background.map(RawValue::get) != Some("true") {
            return;
        }
        let Some(id) = response.id.and_then(text).filter(|id| is_id(id)) else { return };
        let id: Box<str> = id.into();
        let is_queued = response.status.and_then(text).is_some_and(|status| status == "queued");
        let state = if is_queued { ProgressState::Queued } else { ProgressState::Running };
        let upstream = Some(UpstreamId { id: id.clone() });
        out.push(Event::Progress(Progress { state, fraction: None, note: None, upstream }));
        self.upstream = Some(Upstream { id, sequence: None });
    }

    /// A packet became events.
    pub(super) fn note_sequence(&mut self, sequence: Option<u64>) {
        if let (Some(upstream), Some(sequence)) = (&mut self.upstream, sequence) {
            upstream.sequence = Some(sequence);
        }
    }
}

fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain)
}

/// Builds the request that listens again. `url` is where a response is asked for; it may have a query.
#[must_use]
pub fn resume(model_call: ModelCall<'_>, url: &str, upstream: &Upstream) -> Outbound {
    let after = upstream.sequence.map(|sequence| format!("&starting_after={sequence}")).unwrap_or_default();
    let url = below(url, &upstream.id, &format!("stream=true{after}"));
    request(model_call, Method::GET, url, Framing::Sse)
}

/// Asks for the whole response as it stands.
#[must_use]
pub fn fetch(model_call: ModelCall<'_>, url: &str, upstream: &Upstream) -> Outbound {
    request(model_call, Method::GET, below(url, &upstream.id, ""), Framing::Whole)
}

/// Builds the request that ends the response.
#[must_use]
pub fn cancel(model_call: ModelCall<'_>, url: &str, upstream: &Upstream) -> Outbound {
    request(model_call, Method::POST, below(url, &format!("{}/cancel", upstream.id), ""), Framing::Whole)
}

/// The address of `path` below `url`, with `query` added to the query that is there.
fn below(url: &str, path: &str, query: &str) -> String {
    let (place, known) = url.split_once('?').unwrap_or((url, ""));
    let queries: Vec<&str> = [known, query].into_iter().filter(|query| !query.is_empty()).collect();
    let mark = if queries.is_empty() { "" } else { "?" };
    format!("{place}/{path}{mark}{}", queries.join("&"))
}

/// Without a body, and so without its type.
fn request(model_call: ModelCall<'_>, method: Method, url: String, framing: Framing) -> Outbound {
    let mut headers: Headers = model_call.endpoint.headers.clone();
    let accept = if framing == Framing::Sse { "text/event-stream" } else { "application/json" };
    headers.insert(crate::egress::ACCEPT, crate::egress::HeaderValue::from_static(accept));
    let route = Route::Http { method, url: url.into(), headers, credential: model_call.endpoint.credential.clone() };
    Outbound { route, body: bytes::Bytes::new(), framing, dropped: Vec::new() }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
