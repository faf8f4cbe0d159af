//! SambaNova's open models.

use super::THINKING_ALOUD;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Rules, Vendor};

/// What its documents say is ignored.
const IGNORED: &[&str] =
    &["frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "seed", "top_logprobs"];

pub(super) static SAMBANOVA: Vendor = Vendor {
    card: &Card {
        id: "sambanova",
        base_url: "https://api.sambanova.ai/v1",
        key_variables: &["SAMBANOVA_API_KEY"],
        docs: "https://docs.sambanova.ai/docs/en/features/openai-compatibility",
        ..Card::PLAIN
    },
    chat: &Rules { refuses: &[Rules::OPENAI_ONLY, IGNORED], ..THINKING_ALOUD },
    embeddings: Some(&Rules::EMBEDDINGS),
};
