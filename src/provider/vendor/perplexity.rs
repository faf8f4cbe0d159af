//! Perplexity (Sonar): every chunk repeats the whole message, the sources and the usage so far.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{MessageRules, Money, Reasoning, ReplyRules, Rules, Vendor};

/// Sonar searches by itself: it calls no tools of the client, and is sampled in few ways.
const NOT_IN_SONAR: &[&str] = &[
    "logit_bias",
    "logprobs",
    "n",
    "parallel_tool_calls",
    "prediction",
    "seed",
    "stop",
    "tool_choice",
    "tools",
    "top_logprobs",
];

pub(super) static PERPLEXITY: Vendor = Vendor {
    card: &Card {
        id: "perplexity",
        base_url: "https://api.perplexity.ai",
        key_variables: &["PERPLEXITY_API_KEY", "PPLX_API_KEY"],
        docs: "https://docs.perplexity.ai/api-reference/chat-completions-post",
        ..Card::PLAIN
    },
    chat: &Rules {
        takes_stream_options: false,
        renames: Rules::OLDER_MAX_TOKENS,
        refuses: &[Rules::OPENAI_ONLY, NOT_IN_SONAR],
        // Two itself is out of range.
        most: &[("temperature", 1.999, "1.999")],
        messages: MessageRules { reasoning: Reasoning::Never, ..MessageRules::USUAL },
        // `reasoning_tokens` and `citation_tokens` are charged beside the totals.
        reply: ReplyRules { has_think_tags: true, money: Money::Dollars("cost"), counts_beside: true },
        ..Rules::USUAL
    },
    embeddings: None,
};
