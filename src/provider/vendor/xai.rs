//! The models of xAI (Grok): what an answer cost comes in ticks.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{MessageRules, Money, Reasoning, ReplyRules, Rules, Vendor};

pub(super) static XAI: Vendor = Vendor {
    card: &Card {
        id: "xai",
        base_url: "https://api.x.ai/v1",
        key_variables: &["XAI_API_KEY"],
        docs: "https://docs.x.ai/docs/api-reference",
        ..Card::PLAIN
    },
    chat: &Rules {
        has_responses: true,
        refuses: &[Rules::OPENAI_ONLY, &["logit_bias", "prediction"]],
        messages: MessageRules {
            only_system: false,
            reasoning: Reasoning::In("reasoning_content"),
            ..MessageRules::USUAL
        },
        // `completion_tokens` is without reasoning; the total is with it.
        reply: ReplyRules { money: Money::Ticks, ..ReplyRules::PLAIN },
        ..Rules::USUAL
    },
    embeddings: None,
};
