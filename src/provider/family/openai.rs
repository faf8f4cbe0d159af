//! OpenAI's endpoints as one: which of them a job is for.
//!
//! Owns the choice between embeddings, Responses and chat completions; the encoder and the decoder
//! of an attempt make it alike. Knows no format.

use super::openai_chat::ChatDecoder;
use super::responses::{self, ResponsesDecoder};
use super::{embeddings, openai_chat};
use crate::job::{Failure, Task};
use crate::provider::{Ask, Decoder, Outbound};

/// An endpoint of OpenAI's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Api {
    /// `/chat/completions`.
    Chat,
    /// `/responses`.
    Responses,
    /// `/embeddings`.
    Embeddings,
}

impl Api {
    /// The one that a job is for, at a provider of this kind.
    #[must_use]
    pub fn of(ask: Ask<'_>, kind: &str) -> Api {
        match ask.job.task {
            Task::Embedding => Api::Embeddings,
            _ if responses::is_wanted(ask, kind) => Api::Responses,
            _ => Api::Chat,
        }
    }
}

/// The request for a job, at the endpoint that it is for.
///
/// # Errors
/// As the endpoint's own encoder.
pub fn encode(ask: Ask<'_>, rules: &responses::Rules) -> Result<Outbound, Failure> {
    match Api::of(ask, rules.kind) {
        Api::Chat => openai_chat::encode(ask),
        Api::Responses => responses::encode(ask, format!("{}/responses", ask.endpoint.base_url).into(), rules),
        Api::Embeddings => embeddings::encode(ask),
    }
}

/// The decoder of what that endpoint answers.
#[must_use]
pub fn decoder(ask: Ask<'_>, rules: &responses::Rules) -> Box<dyn Decoder> {
    match Api::of(ask, rules.kind) {
        Api::Chat => Box::<ChatDecoder>::default(),
        Api::Responses => Box::new(ResponsesDecoder::new(rules.thoughts)),
        Api::Embeddings => Box::new(embeddings::EmbeddingsDecoder::new(ask)),
    }
}
