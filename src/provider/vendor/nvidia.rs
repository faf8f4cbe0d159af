//! NVIDIA's hosted models (NIM).

use super::THINKING_ALOUD;
use crate::job::Failure;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Draft, Rules, Vendor};

/// Its retrieval models must be told which side a text is on; the others take it as well. Passages
/// are what is embedded in numbers, so that is what holds if the job does not say.
fn input_type(draft: &mut Draft<'_>) -> Result<(), Failure> {
    if !draft.has("input_type") {
        draft.put("input_type", "\"passage\"");
    }
    Ok(())
}

pub(super) static NVIDIA: Vendor = Vendor {
    card: &Card {
        id: "nvidia",
        base_url: "https://integrate.api.nvidia.com/v1",
        key_variables: &["NVIDIA_API_KEY"],
        docs: "https://docs.api.nvidia.com/nim/reference/llm-apis",
        ..Card::PLAIN
    },
    chat: &Rules { renames: Rules::OLDER_MAX_TOKENS, ..THINKING_ALOUD },
    embeddings: Some(&Rules { translate: Some(input_type), ..Rules::EMBEDDINGS }),
};
