//! Moonshot (Kimi): fetches no files; its usage can stand inside the choice.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{MessageRules, Reasoning, Rules, Vendor, no_effort_is_no_thinking};

pub(super) static MOONSHOT: Vendor = Vendor {
    card: &Card {
        id: "moonshot",
        base_url: "https://api.moonshot.ai/v1",
        key_variables: &["MOONSHOT_API_KEY"],
        docs: "https://platform.moonshot.ai/docs/api/chat",
        ..Card::PLAIN
    },
    chat: &Rules {
        renames: &[("max_tokens", "max_completion_tokens")],
        refuses: &[Rules::OPENAI_ONLY, &["logit_bias", "logprobs", "prediction", "seed", "top_logprobs"]],
        most: &[("temperature", 1.0, "1")],
        wants_files_inside: true,
        translate: Some(no_effort_is_no_thinking),
        // Thinking models refuse a tool call of theirs that comes back without its reasoning.
        messages: MessageRules { reasoning: Reasoning::In("reasoning_content"), ..MessageRules::USUAL },
        ..Rules::USUAL
    },
    embeddings: None,
};
