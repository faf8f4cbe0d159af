//! OpenAI itself: the home of the chat family, with nothing to translate.

use crate::job::{Failure, Job};
use crate::provider::family::{error, openai_chat};
use crate::provider::{Auth, Card, Decoder, Endpoint, Headers, Outbound, Provider, Target};

pub(super) struct OpenAi;

static CARD: Card = Card {
    id: "openai",
    base_url: "https://api.openai.com/v1",
    key_variable: "OPENAI_API_KEY",
    auth: Auth::Bearer,
    docs: "https://platform.openai.com/docs/api-reference/chat",
};

impl Provider for OpenAi {
    fn card(&self) -> &'static Card {
        &CARD
    }

    super::openai_chat!();
}
