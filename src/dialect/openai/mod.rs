//! OpenAI's API: requests of its clients and the answers that they read.
//!
//! Owns the requests and answers of `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`. Pure:
//! the same records give the same bytes, from record 0, at every reading; ids come from the job, dates from
//! its `accepted` record. Does not know HTTP: the entrance sends the bytes and picks the status.

mod chunks;
mod completion;
mod embeddings;
mod request;
mod text;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::job::{Code, Failure, Usage};

pub use chunks::Chunks;
pub use completion::Completion;
pub use embeddings::Embeddings;
pub use request::{Chat, chat, completion, embedding};
pub use text::{Texts, of_chat};

/// A sign of life on streams of this dialect: a comment. An empty line after it would make OpenAI's
/// Python library raise.
pub(crate) const KEEP_ALIVE: &[u8] = b": still here\n";

/// Names of the message that are ours to write; what a provider puts there itself is in another
/// shape, which clients of this dialect would trip over.
const OWN_PARTS: &str = "content";
/// Where such parts are found instead.
const PROVIDER_PARTS: &str = "content_parts";

/// What stands in the body, or in the stream, where there is no answer.
#[derive(Serialize)]
pub struct Envelope {
    error: Failure,
}

impl Envelope {
    /// The failure as these clients know it: with OpenAI's family in `type`, and fields named as
    /// they wrote them.
    #[must_use]
    pub fn new(failure: &Failure) -> Envelope {
        let mut error = failure.clone();
        if error.kind.is_none() {
            error.kind = Some(family(failure).into());
        }
        // In a job the body is `input`; here it is the body.
        if let Some(field) = failure.param.as_deref().and_then(|param| param.strip_prefix("input.")) {
            error.param = Some(field.into());
            if let Some(message) = failure.message.strip_prefix("input.") {
                error.message = message.to_owned().into();
            }
        }
        Envelope { error }
    }
}

fn family(failure: &Failure) -> &'static str {
    match (failure.code, failure.http_status()) {
        (Code::OverBudget, _) => "insufficient_quota",
        (_, 401) => "authentication_error",
        (_, 403) => "permission_error",
        (_, 429) => "rate_limit_error",
        (_, 500..) => "server_error",
        _ => "invalid_request_error",
    }
}

/// OpenAI's `usage`; `None` where nothing is known. Its two counts are never left out, so one that is
/// not known is 0.
fn usage(usage: &Usage) -> Option<Value> {
    if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
        return None;
    }
    let (prompt, completion) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
    let mut usage_json = json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt.saturating_add(completion),
    });
    let of_prompt = [
        ("cached_tokens", usage.cached_input_tokens),
        ("cache_write_tokens", usage.cache_write_tokens),
        ("audio_tokens", usage.audio_input_tokens),
    ];
    let of_completion = [("reasoning_tokens", usage.reasoning_tokens), ("audio_tokens", usage.audio_output_tokens)];
    for (level, counts) in [("prompt_tokens_details", &of_prompt[..]), ("completion_tokens_details", &of_completion)] {
        let known = counts.iter().filter_map(|(name, count)| Some(((*name).to_owned(), (*count)?.into())));
        let known: Map<String, Value> = known.collect();
        if !known.is_empty() {
            usage_json[level] = known.into();
        }
    }
    Some(usage_json)
}

/// Takes the fields that a provider sent beside the answer at one level.
pub(crate) fn level(extra: &mut Value, name: &str) -> Map<String, Value> {
    match extra.get_mut(name).map(Value::take) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Sets aside the parts of a message that are in a provider's own shape.
fn set_parts_aside(message: &mut Map<String, Value>) {
    if let Some(parts) = message.remove(OWN_PARTS) {
        message.insert(PROVIDER_PARTS.into(), parts);
    }
}

/// The id of a call whose provider gives none: an answer to it must name one.
pub(crate) fn call_id(job: &str, index: u32) -> String {
    format!("call_{job}_{index}")
}
