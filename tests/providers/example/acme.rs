//! Acme, a provider that does not exist: its models are asked as OpenAI's are, with two oddities.

use forebay::job::Failure;
use forebay::provider::Card;
use forebay::provider::protocol::openai_chat::{Draft, MessageRules, Reasoning, ReplyRules, Rules, Vendor};

/// Acme has one switch for reasoning, where others take a word for its effort.
fn effort_is_a_switch(draft: &mut Draft<'_>) -> Result<(), Failure> {
    if let Some(effort) = draft.take("reasoning_effort") {
        draft.put("deep", if effort == "\"none\"" { "false" } else { "true" });
    }
    Ok(())
}

pub(super) static ACME: Vendor = Vendor {
    card: &Card {
        id: "acme",
        base_url: "https://api.acme.example/v1",
        key_variables: &["ACME_API_KEY"],
        docs: "https://docs.acme.example/chat",
        ..Card::PLAIN
    },
    chat: &Rules {
        renames: Rules::OLDER_MAX_TOKENS,
        // Acme answers a seed with an error.
        refuses: &[Rules::OPENAI_ONLY, &["seed"]],
        translate: Some(effort_is_a_switch),
        messages: MessageRules { reasoning: Reasoning::Never, ..MessageRules::USUAL },
        reply: ReplyRules { has_think_tags: true, ..ReplyRules::PLAIN },
        ..Rules::USUAL
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
