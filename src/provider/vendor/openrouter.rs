//! OpenRouter: takes the dialect as it is, sends `reasoning_details` and wants them back.

use crate::catalog;
use crate::provider::prefill::{Thoughts, by_catalog};
use crate::provider::protocol::openai_chat::{MessageRules, Money, PrefillRules, ReplyRules, Rules, Vendor};
use crate::provider::{Card, ModelCall, Prefill};

/// The last message is handed on; it is known of Claude that it goes on then, where it may.
fn claude_goes_on(model_call: ModelCall<'_>, kind: &str) -> Prefill {
    let claude = model_call.target.model.strip_prefix("anthropic/").and_then(|model| catalog::find("anthropic", model));
    let takes = claude.is_some_and(|entry| entry.abilities.has("prefill"));
    let known = if takes { Prefill::Exact } else { by_catalog(kind, model_call) };
    known.only_if(Thoughts::of(&model_call.job.input) != Thoughts::Wanted)
}

pub(super) static OPENROUTER: Vendor = Vendor {
    card: &Card {
        id: "openrouter",
        base_url: "https://openrouter.ai/api/v1",
        key_variables: &["OPENROUTER_API_KEY"],
        docs: "https://openrouter.ai/docs/api-reference/overview",
        ..Card::PLAIN
    },
    chat: &Rules {
        words: &[Rules::ANY_IS_REQUIRED],
        messages: MessageRules { keeps: &["cache_control", "reasoning_details"], ..MessageRules::PLAIN },
        prefill: PrefillRules { takes: claude_goes_on, ..PrefillRules::ALWAYS },
        reply: ReplyRules { money: Money::Dollars("cost"), ..ReplyRules::PLAIN },
        ..Rules::PLAIN
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
