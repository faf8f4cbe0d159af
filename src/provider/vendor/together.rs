//! Together's open models; `logprobs` is a number there.

use crate::job::Failure;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Draft, MessageRules, Reasoning, ReplyRules, Rules, Vendor};

/// `logprobs` is how many there shall be, which OpenAI calls `top_logprobs`.
fn logprobs_is_a_number(draft: &mut Draft<'_>) -> Result<(), Failure> {
    let how_many = draft.take("top_logprobs");
    if draft.get("logprobs") == Some("true") {
        draft.put("logprobs", how_many.unwrap_or("1".into()));
    } else if draft.get("logprobs") == Some("false") {
        draft.take("logprobs");
    }
    Ok(())
}

pub(super) static TOGETHER: Vendor = Vendor {
    card: &Card {
        id: "together",
        base_url: "https://api.together.xyz/v1",
        key_variables: &["TOGETHER_API_KEY"],
        docs: "https://docs.together.ai/reference/chat-completions-1",
        ..Card::PLAIN
    },
    chat: &Rules {
        has_rerank: true,
        renames: Rules::OLDER_MAX_TOKENS,
        translate: Some(logprobs_is_a_number),
        messages: MessageRules { reasoning: Reasoning::In("reasoning"), ..MessageRules::USUAL },
        reply: ReplyRules { has_think_tags: true, ..ReplyRules::PLAIN },
        // Its own `reasoning` is `{"enabled": …}`, which is left alone.
        ..Rules::USUAL
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
