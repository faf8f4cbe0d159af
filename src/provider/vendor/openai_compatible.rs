//! Anybody who speaks the OpenAI dialect: a kind for the configuration.

use crate::job::{Failure, Job};
use crate::provider::family::{error, openai_chat};
use crate::provider::{Auth, Card, Decoder, Endpoint, Headers, Outbound, Provider, Target};

pub(super) struct OpenAiCompatible;

static CARD: Card = Card {
    id: "openai-compatible",
    base_url: "",
    key_variable: "",
    auth: Auth::Bearer,
    docs: "https://platform.openai.com/docs/api-reference/chat",
};

impl Provider for OpenAiCompatible {
    fn card(&self) -> &'static Card {
        &CARD
    }

    super::openai_chat!();
}
