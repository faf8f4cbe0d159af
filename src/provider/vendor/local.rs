//! A model server on this machine.

use crate::job::{Failure, Job};
use crate::provider::family::{error, openai_chat};
use crate::provider::{Auth, Card, Decoder, Endpoint, Headers, Outbound, Provider, Target};

pub(super) struct Local;

static CARD: Card = Card {
    id: "local",
    base_url: "http://127.0.0.1:8080/v1",
    key_variable: "",
    auth: Auth::Bearer,
    docs: "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
};

impl Provider for Local {
    fn card(&self) -> &'static Card {
        &CARD
    }

    super::openai_chat!();
}
