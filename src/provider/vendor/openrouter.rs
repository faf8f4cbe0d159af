//! OpenRouter: takes the dialect as it is, sends `reasoning_details` and wants them back.

use crate::provider::Card;
use crate::provider::family::openai_chat::{Money, ReplyRules, Rules, Vendor};

pub(super) static OPENROUTER: Vendor = Vendor {
    card: &Card {
        id: "openrouter",
        base_url: "https://openrouter.ai/api/v1",
        key_variables: &["OPENROUTER_API_KEY"],
        docs: "https://openrouter.ai/docs/api-reference/overview",
        ..Card::PLAIN
    },
    chat: &Rules {
        words: &[Rules::ANY_IS_REQUIRED],
        reply: ReplyRules { money: Money::Dollars("cost"), ..ReplyRules::PLAIN },
        ..Rules::PLAIN
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
