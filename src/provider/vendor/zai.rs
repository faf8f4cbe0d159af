//! Z.ai's own models (GLM); its error codes are numbers.

use crate::provider::Card;
use crate::provider::protocol::error;
use crate::provider::protocol::error::Meaning;
use crate::provider::protocol::openai_chat::{MessageRules, Reasoning, Rules, Vendor, no_effort_is_no_thinking};

/// What is ignored without a word.
const NOT_IN_GLM: &[&str] = &[
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "top_logprobs",
    "web_search_options",
];

/// Its codes are numbers.
const NUMBERS: &[error::Quirk] = &[
    ("1112", Meaning::AttemptRecord),
    ("1113", Meaning::AttemptRecord),
    ("1211", Meaning::NoModel),
    ("1261", Meaning::Overflow),
    ("1301", Meaning::Filtered),
    ("1308", Meaning::AttemptRecord),
    ("1309", Meaning::AttemptRecord),
    ("1310", Meaning::AttemptRecord),
];

pub(super) static ZAI: Vendor = Vendor {
    card: &Card {
        id: "zai",
        base_url: "https://api.z.ai/api/paas/v4",
        key_variables: &["ZAI_API_KEY"],
        docs: "https://docs.z.ai/api-reference/llm/chat-completion",
        ..Card::PLAIN
    },
    chat: &Rules {
        renames: Rules::OLDER_MAX_TOKENS,
        refuses: &[Rules::OPENAI_ONLY, NOT_IN_GLM],
        refuses_words: &[("response_format", "\"json_schema\"")],
        most: &[("temperature", 1.0, "1")],
        translate: Some(no_effort_is_no_thinking),
        messages: MessageRules { reasoning: Reasoning::In("reasoning_content"), ..MessageRules::USUAL },
        errors: NUMBERS,
        ..Rules::USUAL
    },
    embeddings: None,
};
