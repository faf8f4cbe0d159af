//! What Bedrock's errors mean.
//!
//! Owns the names of its exceptions, which stand in a header, in the body, or in a frame of a reply
//! that had begun well. The words are the shared reader's. `provider_code` is the exception's name,
//! except where the prompt is too long for the model: there it is the name that all providers use.

use serde::Deserialize;

use crate::job::{Code, Failure};
use crate::provider::Headers;
use crate::provider::protocol::error;

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawError {
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(rename = "originalStatusCode")]
    original_status: Option<u16>,
}

/// What an answer with an error status means.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8]) -> Failure {
    let raw: RawError = serde_json::from_slice(body).unwrap_or_default();
    // `ValidationException:http://internal.amazon.com/…`, or `com.amazon.coral.service#…`.
    let in_header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let in_header = in_header.and_then(|text| text.split(':').next());
    let in_body = raw.kind.as_deref().and_then(|text| text.rsplit('#').next());
    let name = in_header.or(in_body).unwrap_or("").to_owned();
    judge(error::classify(status, headers, body), &name, &raw)
}

/// An exception in a reply whose status was fine.
pub(super) fn in_stream(name: &str, body: &[u8]) -> Failure {
    let raw: RawError = serde_json::from_slice(body).unwrap_or_default();
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let mut failure = error::classify(status_of(&name), &Headers::new(), body);
    failure.provider_status = None;
    judge(failure, &name, &raw)
}

/// A body that should have been an answer.
pub(super) fn in_body(body: &[u8]) -> Failure {
    let raw: RawError = serde_json::from_slice(body).unwrap_or_default();
    match raw.kind.as_deref().and_then(|text| text.rsplit('#').next()) {
        Some(name) => in_stream(name, body),
        None => error::in_reply(body),
    }
}

/// The status that an exception has where it comes instead of a reply.
fn status_of(name: &str) -> u16 {
    match name {
        "ValidationException" | "ServiceQuotaExceededException" => 400,
        "AccessDeniedException" | "ExpiredTokenException" | "UnrecognizedClientException" => 403,
        "ResourceNotFoundException" => 404,
        "ModelTimeoutException" => 408,
        "ModelErrorException" | "ModelStreamErrorException" => 424,
        "ThrottlingException" | "ModelNotReadyException" => 429,
        "ServiceUnavailableException" => 503,
        _ => 500,
    }
}

fn judge(mut failure: Failure, name: &str, raw: &RawError) -> Failure {
    if !name.is_empty() && name.len() <= 128 {
        failure.kind = Some(name.into());
        failure.provider_code.get_or_insert_with(|| name.into());
    }
    let words = failure.message.to_ascii_lowercase();
    match name {
        // The model behind Bedrock failed, which says in what way.
        "ModelErrorException" | "ModelStreamErrorException" => {
            let is_refusal = raw.original_status.is_some_and(|status| (400..500).contains(&status) && status != 429);
            failure.code = if is_refusal { Code::ProviderRejected } else { Code::ProviderUnavailable };
            failure.retryable = !is_refusal;
            failure.belongs_to_target = true;
        }
        // Waiting does not raise a quota, and a day is longer than any retry.
        "ServiceQuotaExceededException" => {
            failure.code = Code::ProviderRateLimited;
            failure.retryable = false;
            failure.belongs_to_target = true;
        }
        "ThrottlingException" if words.contains("per day") => failure.retryable = false,
        "ValidationException" if words.contains("model identifier is invalid") => failure.belongs_to_target = true,
        "ExpiredTokenException" => hint(&mut failure, "the credentials have run out"),
        _ => {}
    }
    if words.contains("on-demand throughput") {
        failure.belongs_to_target = true;
        hint(
            &mut failure,
            "ask for it by the id of an inference profile, such as us., eu. or global. before the model's",
        );
    }
    if words.contains("signature expired") || words.contains("signature not yet current") {
        hint(&mut failure, "is this machine's clock right?");
    }
    failure
}

fn hint(failure: &mut Failure, text: &str) {
    failure.message = format!("{}; {text}", failure.message).into();
}
