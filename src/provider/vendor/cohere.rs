//! Cohere, in its own format.

use crate::job::Failure;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::protocol::cohere;
use crate::provider::{Ask, Card, Decoder, Headers, Outbound, Provider};

pub(super) struct Cohere;

static CARD: Card = Card {
    id: "cohere",
    base_url: "https://api.cohere.com",
    key_variables: &["COHERE_API_KEY", "CO_API_KEY"],
    docs: "https://docs.cohere.com/reference/chat",
    ..Card::PLAIN
};

impl Provider for Cohere {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        cohere::encode(ask)
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        cohere::decoder(ask)
    }

    fn reads(&self, asked: &PassthroughRequest<'_>) -> Option<Reading> {
        cohere::reads(asked)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        cohere::classify(status, headers, body)
    }
}
