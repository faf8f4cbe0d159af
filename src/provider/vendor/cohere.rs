//! Cohere, in its own format.

use crate::job::Failure;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::protocol::cohere;
use crate::provider::{Card, Decoder, Headers, ModelCall, Outbound, Provider};

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

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        cohere::encode(model_call)
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        cohere::decoder(model_call)
    }

    fn reads(&self, request: &PassthroughRequest<'_>) -> Option<Reading> {
        cohere::reads(request)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        cohere::classify(status, headers, body)
    }
}
