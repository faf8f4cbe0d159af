//! OpenAI itself: the home of the chat family, with nothing to translate.

use crate::job::Failure;
use crate::provider::family::{error, openai_chat};
use crate::provider::{Ask, Card, Decoder, Headers, Outbound, Provider};

pub(super) struct OpenAi;

static CARD: Card = Card {
    id: "openai",
    base_url: "https://api.openai.com/v1",
    key_variables: &["OPENAI_API_KEY"],
    docs: "https://platform.openai.com/docs/api-reference/chat",
    ..Card::PLAIN
};

impl Provider for OpenAi {
    fn card(&self) -> &'static Card {
        &CARD
    }

    super::openai_chat!(embeddings);
}
