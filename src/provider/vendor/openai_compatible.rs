//! Anybody who speaks the OpenAI dialect: a kind for the configuration.

use crate::job::Failure;
use crate::provider::family::{error, openai_chat};
use crate::provider::{Ask, Card, Decoder, Headers, Outbound, Provider};

pub(super) struct OpenAiCompatible;

static CARD: Card =
    Card { id: "openai-compatible", docs: "https://platform.openai.com/docs/api-reference/chat", ..Card::PLAIN };

impl Provider for OpenAiCompatible {
    fn card(&self) -> &'static Card {
        &CARD
    }

    super::openai_chat!(embeddings);
}
