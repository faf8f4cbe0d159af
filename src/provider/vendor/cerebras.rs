//! Cerebras: strict about fields; its errors are flat and its streams end without `[DONE]`.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{MessageRules, Reasoning, Rules, Vendor};

/// Any other field is an error (`wrong_api_format`).
const KNOWN: &[&str] = &[
    "clear_thinking",
    "disable_reasoning",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "reasoning",
    "reasoning_effort",
    "reasoning_format",
    "response_format",
    "seed",
    "service_tier",
    "stop",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
];

pub(super) static CEREBRAS: Vendor = Vendor {
    card: &Card {
        id: "cerebras",
        base_url: "https://api.cerebras.ai/v1",
        key_variables: &["CEREBRAS_API_KEY"],
        docs: "https://inference-docs.cerebras.ai/api-reference/chat-completions",
        ..Card::PLAIN
    },
    chat: &Rules {
        takes_only: Some(KNOWN),
        words: &[
            Rules::ANY_IS_REQUIRED,
            ("reasoning_effort", "\"minimal\"", "\"low\""),
            ("reasoning_effort", "\"xhigh\"", "\"high\""),
        ],
        most: &[("temperature", 1.5, "1.5")],
        messages: MessageRules { reasoning: Reasoning::In("reasoning"), ..MessageRules::USUAL },
        ..Rules::USUAL
    },
    embeddings: None,
};
