//! Ollama's own format: `/api/chat`, a JSON object a line, and `/api/embed`.
//!
//! Owns the translation of a chat and the decoder of its answer, streamed or whole, of `/api/chat`
//! and of the older `/api/generate`. Promises that calls have ids (older servers give none), that an
//! error in a line after status 200 is that error, and that a model which was only loaded or unloaded
//! is no answer. Images must be inside the request: the broker fetches them beforehand.
//! Usage: `prompt_eval_count` and `eval_count` (thoughts included). The first is absent where the
//! prompt was in the server's cache: then the input is not known, and not 0.

mod chat;
mod decode;

pub use chat::encode as encode_chat;
pub use decode::ChatDecoder;

use super::embeddings;
use super::embeddings::{Form, Wanted};
use super::openai_chat::ReplyRules;
use super::{error, send};
use crate::job::{Failure, Task};
use crate::provider::chat::Body;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::{Decoder, Framing, Headers, Method, ModelCall, Outbound};

/// The request for a job.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    match model_call.job.task {
        Task::Chat => encode_chat(model_call),
        Task::Embedding => embed(model_call),
        _ => Err(send::not_served(model_call)),
    }
}

/// A decoder for the answer to a job.
#[must_use]
pub fn decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    match model_call.job.task {
        Task::Embedding => embeddings::decoder(model_call, &ReplyRules::PLAIN),
        _ => Box::new(ChatDecoder::new(model_call.job.id.as_str())),
    }
}

/// What a request in Ollama's own format asks, if our decoders read its answer.
#[must_use]
pub fn reads(request: &PassthroughRequest<'_>) -> Option<Reading> {
    let (task, framing) = match request.path {
        "api/chat" | "api/generate" => (Task::Chat, Framing::Lines),
        "api/embed" => (Task::Embedding, Framing::Whole),
        _ => return None,
    };
    let model = request.model_of_body().filter(|_| request.method == Method::POST)?;
    Some(Reading { model, task, framing })
}

/// What an error answer means. What one model cannot do (tools, thinking, images) another can.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8]) -> Failure {
    let mut failure = error::classify(status, headers, body);
    failure.belongs_to_target |= failure.message.contains("does not support");
    failure
}

fn embed(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let provider = &*model_call.endpoint.name;
    let Wanted { texts, dimensions, form, mut params } = Wanted::read(&model_call.job.input, provider)?;
    // Ollama writes numbers only; a job that wants base64 gets it from our decoder.
    let (Form::Numbers | Form::Base64) = form;
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 64);
    body.put("model", &*model_call.target.model).put("input", &texts).put_some("dimensions", dimensions);
    for (name, value) in params.take_all(&["truncate", "options", "keep_alive"]) {
        body.put_json(&name, value.get());
    }
    let dropped = params.finish(provider, model_call.job.options.drop_unsupported)?;
    Ok(Outbound { dropped, ..send::post(model_call, address(model_call, "embed"), body, Framing::Whole) })
}

/// Returns the base address; the configuration may give that of the compatible API.
fn address(model_call: ModelCall<'_>, path: &str) -> Box<str> {
    let base = &*model_call.endpoint.base_url;
    let base = base.strip_suffix("/v1").or_else(|| base.strip_suffix("/api")).unwrap_or(base);
    format!("{base}/api/{path}").into()
}
