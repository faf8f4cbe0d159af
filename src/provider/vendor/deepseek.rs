//! DeepSeek's own models, which take text only.

use crate::job::Failure;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{
    Draft, MessageRules, PrefillRules, Reasoning, Rules, Vendor, no_effort_is_no_thinking,
};
use crate::provider::protocol::responses;

/// Where a last message of the assistant is continued, and tools are held to their schemas.
const BETA: &str = "/beta/chat/completions";

fn translate(draft: &mut Draft<'_>) -> Result<(), Failure> {
    let says = |field: &str, word: &str| draft.get(field).is_some_and(|json| json.contains(word));
    if says("messages", "\"prefix\":") || says("tools", "\"strict\":true") || says("tools", "\"strict\": true") {
        draft.path = BETA;
    }
    no_effort_is_no_thinking(draft)
}

pub(super) static DEEPSEEK: Vendor = Vendor {
    card: &Card {
        id: "deepseek",
        base_url: "https://api.deepseek.com",
        key_variables: &["DEEPSEEK_API_KEY"],
        docs: "https://api-docs.deepseek.com/api/create-chat-completion",
        ..Card::PLAIN
    },
    chat: &Rules {
        responses: Some(&responses::Rules::PLAIN),
        renames: Rules::OLDER_MAX_TOKENS,
        refuses: &[
            Rules::OPENAI_ONLY,
            &["logit_bias", "n", "parallel_tool_calls", "prediction", "seed", "web_search_options"],
        ],
        // JSON without a schema is all there is.
        refuses_words: &[("response_format", "\"json_schema\"")],
        translate: Some(translate),
        messages: MessageRules {
            // After a tool call the reasoning must come back; elsewhere it is ignored.
            reasoning: Reasoning::In("reasoning_content"),
            parts: Some(&["text"]),
            continues: Some("prefix"),
            ..MessageRules::USUAL
        },
        prefill: PrefillRules::ALWAYS,
        ..Rules::USUAL
    },
    embeddings: None,
};
