//! DeepInfra's open models; it says what an answer cost.

use super::THINKING_ALOUD;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Money, ReplyRules, Rules, Vendor};

pub(super) static DEEPINFRA: Vendor = Vendor {
    card: &Card {
        id: "deepinfra",
        base_url: "https://api.deepinfra.com/v1/openai",
        key_variables: &["DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"],
        docs: "https://deepinfra.com/docs/openai_api",
        ..Card::PLAIN
    },
    chat: &Rules {
        renames: Rules::OLDER_MAX_TOKENS,
        reply: ReplyRules { money: Money::Dollars("estimated_cost"), ..THINKING_ALOUD.reply },
        ..THINKING_ALOUD
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
