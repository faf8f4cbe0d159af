//! What errors of this dialect mean beyond what they mean everywhere.

use serde::Deserialize;

use crate::job::{Code, Failure};
use crate::provider::Headers;
use crate::provider::protocol::error;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    error: Option<RawError>,
    #[serde(default)]
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
}

/// What an answer with an error status means.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8]) -> Failure {
    let failure = error::classify(status, headers, body);
    judged(failure, body)
}

/// What an error inside a reply means.
pub(super) fn in_reply(body: &[u8]) -> Failure {
    judged(error::in_reply(body), body)
}

fn judged(mut failure: Failure, body: &[u8]) -> Failure {
    let Ok(Body { error, request_id }) = serde_json::from_slice::<Body>(body) else { return failure };
    let Some(raw) = error else { return failure };
    let is = |words: &str| raw.message.contains(words);
    match &*raw.kind {
        // The account must pay: told as a fault of the request, and none of it.
        "invalid_request_error" | "billing_error" if is("credit balance") || raw.kind == "billing_error" => {
            failure = changed(failure, Code::ProviderAuth);
            failure.retryable = false;
            failure.belongs_to_target = true;
        }
        // Prompt and answer together.
        "invalid_request_error" if is("exceed context limit") => {
            failure.provider_code = Some("context_length_exceeded".into());
            failure.overflows = true;
        }
        "timeout_error" => {
            failure = changed(failure, Code::ProviderTimeout);
        }
        _ => {}
    }
    let id = request_id.filter(|id| id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic()));
    if let Some(id) = id.filter(|_| !failure.message.contains("(request ")) {
        failure.message = format!("{} (request {id})", failure.message).into();
    }
    failure
}

fn changed(mut failure: Failure, code: Code) -> Failure {
    failure.code = code;
    failure.fault = code.fault();
    failure
}
