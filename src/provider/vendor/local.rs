//! A model server on this machine.

use crate::job::Failure;
use crate::provider::family::{error, openai_chat};
use crate::provider::{Ask, Card, Decoder, Headers, Outbound, Provider};

pub(super) struct Local;

static CARD: Card = Card {
    id: "local",
    base_url: "http://127.0.0.1:8080/v1",
    docs: "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    ..Card::PLAIN
};

impl Provider for Local {
    fn card(&self) -> &'static Card {
        &CARD
    }

    super::openai_chat!(embeddings);
}
