//! The models of xAI (Grok): what an answer cost comes in ticks.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{MessageRules, Money, Reasoning, ReplyRules, Rules, Vendor};
use crate::provider::protocol::responses;

/// Only xAI can read its encrypted reasoning, and it serves all its models by Responses.
const RESPONSES: responses::Rules =
    responses::Rules { reasoning_format: "xai-responses-v1", is_preferred: true, ..responses::Rules::PLAIN };

pub(super) static XAI: Vendor = Vendor {
    card: &Card {
        id: "xai",
        base_url: "https://api.x.ai/v1",
        key_variables: &["XAI_API_KEY"],
        docs: "https://docs.x.ai/docs/api-reference",
        ..Card::PLAIN
    },
    chat: &Rules {
        responses: Some(&RESPONSES),
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
