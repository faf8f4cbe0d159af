//! What is OpenAI's own among those who speak its dialects, and which of its endpoints a job is for.

use super::openai_chat::{Draft, Rules};
use super::responses;
use crate::job::{Failure, Task};
use crate::provider::Ask;

/// Chat completions at OpenAI: bodies pass unchanged but for a limit that has a newer name.
pub static CHAT: Rules = Rules { translate: Some(rename_limit), ..Rules::PLAIN };

/// `max_tokens` is refused by models that reason.
fn rename_limit(draft: &mut Draft<'_>) -> Result<(), Failure> {
    if draft.has("max_tokens") && responses::takes_newer_limit("openai", draft.model) {
        let limit = draft.take("max_tokens").expect("it is there");
        if !draft.has("max_completion_tokens") {
            draft.put("max_completion_tokens", limit);
        }
    }
    Ok(())
}

/// An endpoint of OpenAI's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Api {
    /// `/chat/completions`.
    Chat,
    /// `/responses`.
    Responses,
    /// `/embeddings`.
    Embeddings,
}

impl Api {
    /// The one that a job is for, at a provider of this kind.
    #[must_use]
    pub fn of(ask: Ask<'_>, kind: &str) -> Api {
        match ask.job.task {
            Task::Embedding => Api::Embeddings,
            _ if responses::is_wanted(ask, kind) => Api::Responses,
            _ => Api::Chat,
        }
    }

    /// Its path, after the base address.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Api::Chat => "chat/completions",
            Api::Responses => "responses",
            Api::Embeddings => "embeddings",
        }
    }
}
