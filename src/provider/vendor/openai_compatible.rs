//! Anybody who speaks the OpenAI dialect: a kind for the configuration. `api = "responses"` for one
//! who has Responses.

use crate::job::Failure;
use crate::provider::family::responses::Rules;
use crate::provider::family::{error, openai};
use crate::provider::{Ask, Card, Decoder, Headers, Outbound, Provider};

pub(super) struct OpenAiCompatible;

static CARD: Card =
    Card { id: "openai-compatible", docs: "https://platform.openai.com/docs/api-reference", ..Card::PLAIN };

const RULES: Rules = Rules { kind: CARD.id, ..Rules::OPENAI };

impl Provider for OpenAiCompatible {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        openai::encode(ask, &RULES)
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        openai::decoder(ask, &RULES)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        error::classify(status, headers, body)
    }
}
