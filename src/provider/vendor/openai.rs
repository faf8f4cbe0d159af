//! OpenAI itself: chat completions with nothing to translate, Responses where they are asked for or
//! needed, and embeddings.

use crate::job::Failure;
use crate::provider::family::{error, openai, responses};
use crate::provider::{Ask, Card, Decoder, Headers, Outbound, Provider};

pub(super) struct OpenAi;

static CARD: Card = Card {
    id: "openai",
    base_url: "https://api.openai.com/v1",
    base_url_variables: &["OPENAI_BASE_URL"],
    key_variables: &["OPENAI_API_KEY"],
    docs: "https://platform.openai.com/docs/api-reference",
    ..Card::PLAIN
};

impl Provider for OpenAi {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        openai::encode(ask, &responses::Rules::OPENAI)
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        openai::decoder(ask, &responses::Rules::OPENAI)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        error::classify(status, headers, body)
    }
}
