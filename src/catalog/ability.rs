//! What a model can do, as a set of names from a closed list.

/// A name is a bit, by its place; only the file of models depends on it, and that is read at the start.
const NAMES: &[&str] = &[
    "tools",
    "parallel_tools",
    "tool_choice",
    "forced_tool",
    "vision",
    "pdf",
    "audio_input",
    "audio_output",
    "video_input",
    "image_output",
    "reasoning",
    "reasoning_always",
    "adaptive_thinking",
    "effort_none",
    "effort_minimal",
    "effort_xhigh",
    "effort_max",
    "prefill",
    "system",
    "sampling",
    "structured_output",
    "prompt_caching",
    "web_search",
    "url_context",
    "computer_use",
    "streaming",
    "responses_only",
];

const _: () = assert!(NAMES.len() <= u32::BITS as usize, "an ability is a bit");

/// What a model can do, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Abilities(u32);

impl Abilities {
    /// Whether the catalog says that the model can. No model has an ability of an unknown name.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Returns the same abilities and this one.
    #[must_use]
    pub fn with(self, name: &str) -> Option<Abilities> {
        Some(Abilities(self.0 | bit(name)?))
    }

    /// The names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(at, _)| self.0 >> at & 1 == 1).map(|(_, name)| *name)
    }

    /// Every name that there is.
    #[must_use]
    pub fn known() -> &'static [&'static str] {
        NAMES
    }
}

fn bit(name: &str) -> Option<u32> {
    NAMES.iter().position(|known| *known == name).map(|at| 1 << at)
}
