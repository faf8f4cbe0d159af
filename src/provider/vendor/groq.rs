//! Groq: strict about fields and messages, and its usage is in `x_groq`.

use crate::job::Failure;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Draft, MessageRules, Reasoning, Rules, Vendor};
use crate::provider::protocol::responses;

/// Qwen's models know `none` and `default` only, the others `low`, `medium` and `high`.
fn effort_by_model(draft: &mut Draft<'_>) -> Result<(), Failure> {
    let is_qwen = draft.model.contains("qwen");
    let effort = match draft.get("reasoning_effort") {
        Some("\"minimal\"") if is_qwen => "\"none\"",
        Some("\"low\"" | "\"medium\"" | "\"high\"" | "\"xhigh\"") if is_qwen => "\"default\"",
        Some("\"minimal\"") => "\"low\"",
        Some("\"xhigh\"") => "\"high\"",
        _ => return Ok(()),
    };
    draft.put("reasoning_effort", effort);
    Ok(())
}

pub(super) static GROQ: Vendor = Vendor {
    card: &Card {
        id: "groq",
        base_url: "https://api.groq.com/openai/v1",
        key_variables: &["GROQ_API_KEY"],
        docs: "https://console.groq.com/docs/api-reference",
        ..Card::PLAIN
    },
    chat: &Rules {
        responses: Some(&responses::Rules::PLAIN),
        refuses: &[
            Rules::OPENAI_ONLY,
            &["logit_bias", "logprobs", "n", "prediction", "top_logprobs", "web_search_options"],
        ],
        translate: Some(effort_by_model),
        // A reasoning of earlier turns is an error with every model that does not reason.
        messages: MessageRules { reasoning: Reasoning::Never, without_names: true, ..MessageRules::USUAL },
        ..Rules::USUAL
    },
    embeddings: None,
};
