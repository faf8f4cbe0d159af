//! Anthropic's Messages API: requests of its clients and the answers that they read.
//!
//! Owns the requests and answers of `/v1/messages`. A request becomes a chat like any other; what only
//! Anthropic reads goes along in a field of its own, which other providers ignore. Pure: the same
//! records give the same bytes, from record 0, at every reading; the id comes from the job. Does not
//! know HTTP: the entrance sends the bytes and picks the status.

mod blocks;
mod events;
mod input;
mod message;
mod request;
mod scan;
mod signature;
mod turns;

use serde::Serialize;
use serde_json::Value;

use crate::job::{Code, Completed, Failure, Usage};
use blocks::Beside;

pub use events::Events;
pub use message::MessageCollector;
pub use request::{count, message};

/// The field of a chat that holds what only Anthropic reads.
const OWN_FIELD: &str = "anthropic";

/// What stands in the body, or in the stream, where there is no answer.
#[derive(Serialize)]
pub struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Failure,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// The failure as these clients know it: with Anthropic's family in `type`, and fields named as
    /// they wrote them.
    #[must_use]
    pub fn new(failure: &Failure, request_id: Option<&'a str>) -> Envelope<'a> {
        let mut error = failure.clone();
        error.kind = Some(family(failure).into());
        if let Some(param) = failure.param.as_deref().and_then(|param| param.strip_prefix("input.")) {
            let field = theirs(param);
            if let Some(message) = failure.message.strip_prefix(&format!("input.{param}")) {
                error.message = format!("{field}{message}").into();
            }
            error.param = Some(field.into());
        }
        Envelope { kind: "error", error, request_id }
    }
}

/// A chat's field by the name that it has in this dialect. Messages are counted otherwise there: rules
/// and results of tools are not messages of their own.
fn theirs(param: &str) -> &str {
    match param {
        _ if param.starts_with("messages[") => "messages",
        "stop" => "stop_sequences",
        "reasoning_effort" | "reasoning" => "thinking",
        "parallel_tool_calls" => "tool_choice.disable_parallel_tool_use",
        "response_format" => "output_config.format",
        "user" => "metadata.user_id",
        _ => param,
    }
}

/// HTTP status of a failure: Anthropic's own status for overload stands for an overloaded broker or provider.
#[must_use]
pub fn status(failure: &Failure) -> u16 {
    match family(failure) {
        "overloaded_error" => 529,
        _ => failure.http_status(),
    }
}

fn family(failure: &Failure) -> &'static str {
    match (failure.code, failure.http_status()) {
        (Code::Overloaded, _) => "overloaded_error",
        (Code::ProviderUnavailable, _) if matches!(failure.provider_status, Some(503 | 529)) => "overloaded_error",
        (Code::OverBudget, _) => "billing_error",
        (Code::Cancelled, _) => "api_error",
        (_, 401) => "authentication_error",
        (_, 403) => "permission_error",
        (_, 404 | 410) => "not_found_error",
        (_, 413) => "request_too_large",
        (_, 429) => "rate_limit_error",
        (_, 504) => "timeout_error",
        (_, 500..) => "api_error",
        _ => "invalid_request_error",
    }
}

/// Anthropic's `usage`: what was read from a cache or written to it is counted apart there. Its two
/// counts are never left out, so one that is not known is 0.
#[derive(Serialize, Default)]
struct ErrorBody {
    input_tokens: u64,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    thinking_tokens: u64,
}

impl ErrorBody {
    fn of(usage: &Usage) -> ErrorBody {
        let (read, written) = (usage.cached_input_tokens, usage.cache_write_tokens);
        let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
        ErrorBody {
            input_tokens: usage.input_tokens.unwrap_or(0).saturating_sub(cached),
            cache_creation_input_tokens: written,
            cache_read_input_tokens: read,
            output_tokens: usage.output_tokens.unwrap_or(0),
            output_tokens_details: usage.reasoning_tokens.map(|thinking_tokens| Details { thinking_tokens }),
        }
    }
}

/// Reason for which an answer ended, and its details.
#[derive(Serialize)]
struct Stop<'a> {
    stop_reason: &'a str,
    stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a Value>,
}

impl<'a> Stop<'a> {
    fn of(end: &'a Completed, beside: &'a Beside) -> Stop<'a> {
        let sequence = beside.stop_sequence.as_deref();
        let native = end.native_finish_reason.as_deref().unwrap_or(&end.finish_reason);
        let stop_reason = match (native, &*end.finish_reason) {
            _ if beside.refused => "refusal",
            ("end_turn" | "max_tokens" | "stop_sequence" | "tool_use" | "pause_turn" | "refusal", _)
            | ("model_context_window_exceeded" | "compaction", _) => native,
            (_, "length") => "max_tokens",
            (_, "tool_calls") => "tool_use",
            (_, "content_filter") => "refusal",
            _ if sequence.is_some() => "stop_sequence",
            _ => "end_turn",
        };
        Stop {
            stop_reason,
            stop_sequence: sequence,
            stop_details: beside.stop_details.as_ref(),
            container: beside.container.as_ref(),
        }
    }
}
