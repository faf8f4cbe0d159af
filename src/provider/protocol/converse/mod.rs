//! Bedrock's Converse, streamed and whole, and its embedding models through `invoke`.
//!
//! Owns the request, the decoders and what its errors mean. An input that is in Converse's own shape
//! is taken as it is: every message has the role `user` or `assistant` and a list of blocks without a
//! `type`, which no part of an OpenAI chat lacks. Everything else is read as an OpenAI chat.
//!
//! How it counts: `inputTokens` leaves out what was read from and written to the prompt cache, so
//! the three are added up; `outputTokens` includes reasoning, which is not told apart. The counts
//! come in `metadata`, after `messageStop`. `cacheDetails` says which writes are kept for an hour.
//!
//! `messageStop` is the terminal: what ends after it without `metadata` is whole, its usage unknown.

mod block;
mod decode;
mod embed;
mod emit;
mod encode;
mod error;
mod message;
mod model;
mod usage;
mod wire;

pub use decode::ConverseDecoder;
pub use encode::are_native;
pub use error::classify;

use crate::job::{Failure, Task};
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::{Decoder, Framing, Method, ModelCall, Outbound};

/// The request for a job.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    match model_call.job.task {
        Task::Chat => encode::encode(model_call),
        Task::Embedding => embed::encode(model_call),
        other => {
            let message = format!("{} serves chat and embedding, not {}", model_call.endpoint.name, other.as_str());
            Err(Failure::unsupported("task", message))
        }
    }
}

/// What a request in Converse's own format asks, if our decoder reads its answer.
#[must_use]
pub fn reads(request: &PassthroughRequest<'_>) -> Option<Reading> {
    let (model, operation) = request.path.strip_prefix("model/")?.split_once('/')?;
    let is_read = request.method == Method::POST && matches!(operation, "converse" | "converse-stream");
    // AWS's clients write the colons and slashes of ids and ARNs so.
    let model = ["%3A", "%3a"].iter().fold(model.to_owned(), |model, colon| model.replace(colon, ":"));
    let model = ["%2F", "%2f"].iter().fold(model, |model, slash| model.replace(slash, "/"));
    let is_read = is_read && !model.is_empty() && !model.contains('%');
    is_read.then(|| Reading { model: model.into(), task: Task::Chat, framing: Framing::AwsFrames })
}

/// A decoder for the reply to that request.
#[must_use]
pub fn decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    match model_call.job.task {
        Task::Embedding => embed::embed_decoder(model_call),
        _ => Box::<ConverseDecoder>::default(),
    }
}
