//! One of the several answers (`n`) that a reply may hold, as far as it has come.

use super::details::Details;
use super::rules::ReplyRules;
use super::think::Think;

/// One answer so far.
pub(super) struct Answer {
    /// Its number at the provider.
    pub(super) index: u32,
    /// Reason of the end, in the provider's word.
    pub(super) finish: Option<Box<str>>,
    /// It comes in deltas: a whole message repeats it.
    pub(super) is_streamed: bool,
    /// Whether its text is reasoning.
    pub(super) think: Think,
    /// What must be sent back of its reasoning.
    pub(super) details: Details,
}

impl Answer {
    /// Starts an answer without text.
    pub(super) fn new(index: u32, rules: &ReplyRules) -> Answer {
        let think = if rules.has_think_tags { Think::watching() } else { Think::default() };
        Answer { index, finish: None, is_streamed: false, think, details: Details::default() }
    }
}
