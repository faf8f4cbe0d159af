//! Anthropic itself, whose protocol Messages is.

use crate::job::Failure;
use crate::provider::protocol::anthropic;
use crate::provider::protocol::anthropic::{Form, MessagesDecoder, OtherModels, Site};
use crate::provider::{Auth, Card, Decoder, Headers, ModelCall, Outbound, Prefill, Provider};

pub(super) struct Anthropic;

static CARD: Card = Card {
    id: "anthropic",
    base_url: "https://api.anthropic.com/v1",
    key_variables: &["ANTHROPIC_API_KEY"],
    auth: Auth::Header("x-api-key"),
    docs: "https://docs.claude.com/en/api/messages",
    ..Card::PLAIN
};

const SITE: Site = site(CARD.id, Form::Api);

/// Describes a provider of that kind that serves Claude.
pub(super) const fn site(kind: &'static str, form: Form) -> Site {
    Site { kind, maker: CARD.id, form, others: &OtherModels::PLAIN }
}

impl Provider for Anthropic {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        anthropic::encode(model_call, SITE)
    }

    fn known_prefill(&self, model_call: ModelCall<'_>) -> Prefill {
        anthropic::prefill(model_call, SITE)
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        Box::new(MessagesDecoder::new(model_call, SITE))
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        anthropic::classify(status, headers, body)
    }
}
