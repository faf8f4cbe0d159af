//! What a model thought in an earlier turn, as clients send it back (`reasoning_details`).

use std::borrow::Cow;

use serde::Deserialize;

/// A piece of reasoning of an earlier turn. `format` says whose it is: no other provider can read the
/// signature or the data.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct Thought<'a> {
    /// Kind of the piece: `reasoning.text`, `reasoning.summary`, `reasoning.encrypted`.
    #[serde(borrow, rename = "type", default)]
    pub kind: Cow<'a, str>,
    /// Format that tells who can read it: `anthropic-claude-v1`, `google-gemini-v1`, `openai-responses-v1`.
    #[serde(borrow, default)]
    pub format: Option<Cow<'a, str>>,
    /// Text of the reasoning.
    #[serde(borrow, default)]
    pub text: Option<Cow<'a, str>>,
    /// Summary of the reasoning.
    #[serde(borrow, default)]
    pub summary: Option<Cow<'a, str>>,
    /// The provider's proof that it is its own.
    #[serde(borrow, default)]
    pub signature: Option<Cow<'a, str>>,
    /// Reasoning that only the provider can read.
    #[serde(borrow, default)]
    pub data: Option<Cow<'a, str>>,
    /// The provider's id of the reasoning.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// Index among several pieces of reasoning: parts of one piece have the same.
    #[serde(default)]
    pub index: Option<u64>,
}

impl<'a> Thought<'a> {
    /// Adds `later`, if it is but a further piece of this: of the same index, and without an author of its own.
    /// A seal that is too long for one event comes in pieces.
    fn join(&mut self, later: Thought<'a>) -> Option<Thought<'a>> {
        let is_piece = later.format.is_none() && later.index.is_some() && later.index == self.index;
        if !(is_piece && later.kind == self.kind) {
            return Some(later);
        }
        for (so_far, more) in [
            (&mut self.text, later.text),
            (&mut self.summary, later.summary),
            (&mut self.signature, later.signature),
            (&mut self.data, later.data),
        ] {
            if let Some(more) = more {
                so_far.get_or_insert_default().to_mut().push_str(&more);
            }
        }
        None
    }
}

/// The thoughts of a message, their pieces put together.
pub(super) fn joined(raw: Vec<Thought<'_>>) -> Vec<Thought<'_>> {
    let mut thoughts: Vec<Thought<'_>> = Vec::with_capacity(raw.len());
    for thought in raw {
        let whole = match thoughts.last_mut() {
            Some(last) => last.join(thought),
            None => Some(thought),
        };
        thoughts.extend(whole);
    }
    thoughts
}
