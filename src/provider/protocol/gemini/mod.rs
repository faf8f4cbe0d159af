//! Google's `generateContent`: Gemini at the Developer API, at Vertex AI, and at compatible servers.
//!
//! Owns the request, written from the job's chat or taken as it is when the input has `contents`
//! and no `messages`; the decoder of streamed and whole answers, also of the JSON array that comes
//! without `alt=sse`; what errors mean; embeddings. Schemas of tools and answers go out untouched as
//! `parametersJsonSchema` and `responseJsonSchema`: cleaning them into the older OpenAPI subset
//! would lose references and unions. Usage: `promptTokenCount` holds cached tokens but neither those
//! that tools read nor thoughts; both are added here, thoughts as reasoning inside the output. There
//! is no terminal: the end is a clean end after every candidate's finish reason. Signatures of
//! thoughts are told once and sent back where they stood; a call from elsewhere in the history of a
//! Gemini 3 gets the documented dummy.

mod config;
mod contents;
mod decode;
mod embed;
mod encode;
mod error;
mod extra;
mod finish;
mod media;
mod model;
mod packet;
mod partial;
mod reads;
mod tools;
mod usage;

pub use decode::GeminiDecoder;
use embed::embed_decoder;
pub use embed::{embed, predict};
pub use encode::{Site, encode};
pub use error::classify;
pub use media::wants_files_inside;
pub use model::path;
pub use reads::reads;

use crate::job::Task;
use crate::provider::{Decoder, ModelCall};

/// A decoder for the reply to a job of either task.
#[must_use]
pub fn decoder(model_call: ModelCall<'_>) -> Box<dyn Decoder> {
    match model_call.job.task {
        Task::Embedding => embed_decoder(model_call),
        _ => Box::new(GeminiDecoder::new(model_call)),
    }
}
