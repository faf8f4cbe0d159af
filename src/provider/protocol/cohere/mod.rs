//! Cohere's own format, v2: chat, embeddings, rerank.
//!
//! Owns the translation of a chat into `/v2/chat`, of embeddings into `/v2/embed` and of rerank into
//! `/v2/rerank`, and the decoders of their answers. Promises that what the model planned before its
//! calls (`tool_plan`) and what it thought are `reasoning`, and go back with the next turn; that
//! citations are kept in `extra.delta.citations`; that an answer is whole once its finish reason
//! came, `[DONE]` or none.
//! Usage: Cohere counts twice. `usage.tokens` is what the model read and wrote, with the template
//! that Cohere adds (hundreds of tokens for a word of prompt) and with `cached_tokens` as a part of
//! it: that is the usage here, as at every other provider. `usage.billed_units` is what is charged:
//! that is in the [`Bill`](crate::job::Bill), so that the price is right too.

mod chat;
mod decode;
mod embed;
mod message;
mod wire;

pub use chat::encode as encode_chat;
pub use decode::ChatDecoder;
use embed::embed_decoder;
pub use embed::encode as encode_embed;

use super::{error, rerank, send};
use crate::job::{Failure, Task};
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::{Decoder, Framing, Headers, Method, ModelCall, Outbound};

/// The version of the API that is spoken.
const VERSION: &str = "v2";

/// The request for a job.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    match model_call.job.task {
        Task::Chat => encode_chat(model_call),
        Task::Embedding => encode_embed(model_call),
        Task::Rerank => rerank::encode(model_call, address(model_call, "rerank"), &rerank::COHERE),
        _ => Err(send::not_served(model_call)),
    }
}

/// A decoder for the answer to a job.
#[must_use]
pub fn decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    match model_call.job.task {
        Task::Embedding => embed_decoder(model_call),
        Task::Rerank => rerank::decoder(),
        _ => Box::<ChatDecoder>::default(),
    }
}

/// What a request in Cohere's own format asks, if our decoders read its answer.
#[must_use]
pub fn reads(request: &PassthroughRequest<'_>) -> Option<Reading> {
    let task = match request.path.strip_prefix(VERSION)?.strip_prefix('/')? {
        "chat" => Task::Chat,
        "embed" => Task::Embedding,
        "rerank" => Task::Rerank,
        _ => return None,
    };
    let model = request.model_of_body().filter(|_| request.method == Method::POST)?;
    Some(Reading { model, task, framing: Framing::Sse })
}

/// What an error answer means. Cohere says 498 for a key that it has blocked, which elsewhere means
/// that there is no capacity.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8]) -> Failure {
    let mut failure = error::classify(if status == 498 { 401 } else { status }, headers, body);
    failure.provider_status = Some(status);
    // A trial key's month is over: waiting does not help, another key does.
    if status == 429 && failure.message.to_ascii_lowercase().contains("month") {
        failure.retryable = false;
    }
    failure
}

fn address(model_call: ModelCall<'_>, path: &str) -> Box<str> {
    let base = &*model_call.endpoint.base_url;
    let base = base.strip_suffix("/v2").or_else(|| base.strip_suffix("/v1")).unwrap_or(base);
    format!("{base}/{VERSION}/{path}").into()
}
