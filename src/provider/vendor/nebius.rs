//! Nebius Token Factory's open models.

use super::THINKING_ALOUD;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Rules, Vendor};

pub(super) static NEBIUS: Vendor = Vendor {
    card: &Card {
        id: "nebius",
        base_url: "https://api.tokenfactory.nebius.com/v1",
        key_variables: &["NEBIUS_API_KEY"],
        docs: "https://docs.tokenfactory.nebius.com/api-reference/introduction",
        ..Card::PLAIN
    },
    chat: &THINKING_ALOUD,
    embeddings: Some(&Rules::EMBEDDINGS),
};
