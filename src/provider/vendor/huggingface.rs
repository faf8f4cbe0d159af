//! Hugging Face's router: the provider that it chooses answers, each in its own way.

use super::THINKING_ALOUD;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Rules, Vendor};
use crate::provider::protocol::responses;

pub(super) static HUGGINGFACE: Vendor = Vendor {
    card: &Card {
        id: "huggingface",
        base_url: "https://router.huggingface.co/v1",
        key_variables: &["HF_TOKEN"],
        docs: "https://huggingface.co/docs/inference-providers",
        ..Card::PLAIN
    },
    chat: &Rules { responses: Some(&responses::Rules::PLAIN), renames: Rules::OLDER_MAX_TOKENS, ..THINKING_ALOUD },
    embeddings: None,
};
