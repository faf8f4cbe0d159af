//! OpenAI itself: chat completions with next to nothing to translate, Responses where they are asked
//! for or needed, and embeddings.

use crate::job::Failure;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Draft, Rules, Vendor};
use crate::provider::protocol::responses;

static CARD: Card = Card {
    id: "openai",
    base_url: "https://api.openai.com/v1",
    base_url_variables: &["OPENAI_BASE_URL"],
    key_variables: &["OPENAI_API_KEY"],
    docs: "https://platform.openai.com/docs/api-reference",
    ..Card::PLAIN
};

/// Rules of the chat completions: bodies pass unchanged except for a limit that has a newer name.
pub(super) const CHAT: Rules = Rules { translate: Some(rename_limit), ..Rules::PLAIN };

/// OpenAI serves all its models by Responses, some of them better.
const RESPONSES: responses::Rules = responses::Rules { is_preferred: true, ..responses::Rules::PLAIN };

pub(super) static OPENAI: Vendor =
    Vendor { card: &CARD, chat: &Rules { responses: Some(&RESPONSES), ..CHAT }, embeddings: Some(&Rules::PLAIN) };

/// Renames `max_tokens`, which models that reason refuse.
fn rename_limit(draft: &mut Draft<'_>) -> Result<(), Failure> {
    if draft.has("max_tokens") && responses::takes_newer_limit(CARD.id, draft.model) {
        let limit = draft.take("max_tokens").expect("it is there");
        if !draft.has("max_completion_tokens") {
            draft.put("max_completion_tokens", limit);
        }
    }
    Ok(())
}
