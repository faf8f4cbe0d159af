//! One small file per vendor.
//!
//! To add one: write `vendor/NAME.rs` with a unit struct that implements [`Provider`] (its card, and
//! a family's `encode`, decoder and `classify`; oddities are named constants, each with its reason),
//! add `mod NAME;` and `&NAME::NAME` here, and put exchanges that you wrote from the vendor's
//! documents into `tests/fixtures/text/NAME/` (tests/providers.rs says how they look). A vendor whose
//! card names a key variable is on when that variable is set; one with a base URL and no key is
//! always on; one without a base URL is a `kind` for `[providers.NAME]`. Somebody who speaks the
//! OpenAI dialect without oddities needs no file at all: `kind = "openai-compatible"`.

mod anthropic;
mod anthropic_compatible;
mod gemini_compatible;
mod google_ai_studio;
mod google_vertex_ai;
mod local;
mod openai;
mod openai_compatible;
mod scripted;

use super::Provider;

/// Every vendor, in the order of the documentation.
pub const ALL: &[&dyn Provider] = &[
    &openai::OpenAi,
    &anthropic::Anthropic,
    &google_ai_studio::GoogleAiStudio,
    &google_vertex_ai::GoogleVertexAi,
    &local::Local,
    &openai_compatible::OpenAiCompatible,
    &anthropic_compatible::AnthropicCompatible,
    &gemini_compatible::GeminiCompatible,
    &scripted::Scripted,
];

/// The provider of the OpenAI dialect in its plain form: chat only, or `embeddings` too.
macro_rules! openai_chat {
    (embeddings) => {
        fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
            match ask.job.task {
                crate::job::Task::Embedding => crate::provider::family::embeddings::encode(ask),
                _ => openai_chat::encode(ask),
            }
        }

        fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
            match ask.job.task {
                crate::job::Task::Embedding => {
                    Box::new(crate::provider::family::embeddings::EmbeddingsDecoder::new(ask))
                }
                _ => Box::<openai_chat::ChatDecoder>::default(),
            }
        }

        fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
            error::classify(status, headers, body)
        }
    };
    () => {
        fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
            openai_chat::encode(ask)
        }

        fn decoder(&self, _ask: Ask<'_>) -> Box<dyn Decoder> {
            Box::<openai_chat::ChatDecoder>::default()
        }

        fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
            error::classify(status, headers, body)
        }
    };
}
use openai_chat;
