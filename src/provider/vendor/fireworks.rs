//! Fireworks' open models.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{MessageRules, Reasoning, Rules, Vendor};
use crate::provider::protocol::responses;

pub(super) static FIREWORKS: Vendor = Vendor {
    card: &Card {
        id: "fireworks",
        base_url: "https://api.fireworks.ai/inference/v1",
        key_variables: &["FIREWORKS_API_KEY"],
        docs: "https://docs.fireworks.ai/api-reference/post-chatcompletions",
        ..Card::PLAIN
    },
    chat: &Rules {
        responses: Some(&responses::Rules::PLAIN),
        messages: MessageRules { reasoning: Reasoning::In("reasoning_content"), ..MessageRules::USUAL },
        ..Rules::USUAL
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
