//! Novita's open models.

use super::THINKING_ALOUD;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Rules, Vendor};

pub(super) static NOVITA: Vendor = Vendor {
    card: &Card {
        id: "novita",
        base_url: "https://api.novita.ai/openai/v1",
        key_variables: &["NOVITA_API_KEY"],
        docs: "https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion",
        ..Card::PLAIN
    },
    chat: &Rules { renames: Rules::OLDER_MAX_TOKENS, ..THINKING_ALOUD },
    embeddings: Some(&Rules::EMBEDDINGS),
};
