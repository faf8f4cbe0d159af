//! Cloudflare Workers AI. Its models are called `@cf/author/model`, which names them by itself.

use crate::job::Failure;
use crate::provider::protocol::workers_ai;
use crate::provider::{Card, Decoder, Headers, ModelCall, Outbound, Provider, Setting};

pub(super) struct WorkersAi;

static CARD: Card = Card {
    id: "workers-ai",
    base_url: "https://api.cloudflare.com/client/v4/accounts/{account_id}/ai",
    key_variables: &["CLOUDFLARE_API_TOKEN"],
    settings: &[
        Setting { name: "account_id", variables: &["CLOUDFLARE_ACCOUNT_ID"], default: "" },
        Setting { name: "api", variables: &[], default: "chat" },
    ],
    docs: "https://developers.cloudflare.com/workers-ai/",
    ..Card::PLAIN
};

impl Provider for WorkersAi {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        workers_ai::encode(model_call, CARD.id)
    }

    /// Models that see take images inside the request only.
    fn wants_files_inside(&self, _ask: ModelCall<'_>) -> bool {
        true
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        workers_ai::decoder(model_call)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        workers_ai::classify(status, headers, body)
    }
}
