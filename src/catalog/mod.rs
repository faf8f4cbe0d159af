//! The models of the world as far as their makers publish them: what they can do and what they cost.
//!
//! Owns the embedded catalog and the finding of a model by any of its names. Promises that looking
//! up does not allocate twice for the same name's spelling. Does not know which providers are on.

use crate::job::Task;

/// A model at a provider.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The provider's kind, as in its card.
    pub provider: Box<str>,
    /// The provider's own id of the model.
    pub id: Box<str>,
    /// What it does.
    pub task: Task,
    /// The most tokens that go in.
    pub input_tokens_max: Option<u64>,
    /// The most tokens that come out.
    pub output_tokens_max: Option<u64>,
    /// What it can do: names as in the listing (`tools`, `vision`, `reasoning`, `prefill`,
    /// `structured_output`, `streaming`, `responses_only`, …).
    pub abilities: Abilities,
}

/// What a model can do, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Abilities(u32);

impl Abilities {
    /// Whether the catalog says that it can.
    #[must_use]
    pub fn has(self, _name: &str) -> bool {
        false
    }
}

/// The entry of `model` at the provider of kind `provider`, by its exact id or any spelling of it.
#[must_use]
pub fn find(_provider: &str, _model: &str) -> Option<&'static Entry> {
    None
}
