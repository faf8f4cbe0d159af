//! Content blocks that are being told.

use serde_json::{Value, json};

use super::wire;
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Delta, Event, Part};

/// Bytes of a server tool's input that are kept.
const INPUT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a seal: it holds the whole of the thoughts, enciphered.
const SEAL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A block between its start and its stop.
pub(super) enum Open {
    /// A block of text.
    Text,
    /// A block of thoughts.
    Thinking(Thought),
    /// A call of a tool of the client's.
    Tool {
        /// Number of the call in the answer.
        number: u32,
        /// Whether arguments have come already.
        any: bool,
        /// The arguments that came with the start, where they come whole.
        input: Option<Box<str>>,
    },
    /// A block of the provider's own: a server tool, its results, a compaction.
    Own {
        /// JSON with which the block began.
        raw: Box<str>,
        /// The pieces of its input.
        input: String,
    },
}

/// Thoughts as far as they have come.
#[derive(Default)]
pub(super) struct Thought {
    /// What is told again beside the seal, unless it is too long for that.
    text: String,
    is_long: bool,
    signature: String,
}

impl Thought {
    pub(super) fn think(&mut self, text: &str) {
        self.is_long |= self.text.len() + text.len() > EVENT_TEXT_BYTES_MAX;
        if self.is_long {
            self.text = String::new();
        } else {
            self.text.push_str(text);
        }
    }

    pub(super) fn seal(&mut self, signature: &str) {
        if self.signature.len() + signature.len() <= SEAL_BYTES_MAX {
            self.signature.push_str(signature);
        }
    }

    /// What must be sent back so that the next turn can go on from these thoughts: nothing without a
    /// seal.
    pub(super) fn details(self, index: u32, format: &str, out: &mut Vec<Event>) -> bool {
        if self.signature.is_empty() {
            return false;
        }
        let mut first = json!({"type": "reasoning.text", "format": format, "index": index});
        if !self.text.is_empty() {
            first["text"] = self.text.into();
        }
        push_details(first, "signature", &self.signature, out);
        true
    }
}

/// Thoughts that only the provider can read.
pub(super) fn redacted(data: &str, index: u32, format: &str, out: &mut Vec<Event>) {
    let first = json!({"type": "reasoning.encrypted", "format": format, "index": index});
    push_details(first, "data", data, out);
}

/// One detail; a long seal comes in pieces of one index, which readers join.
fn push_details(mut detail: Value, name: &str, mut seal: &str, out: &mut Vec<Event>) {
    let kind = detail["type"].clone();
    let index = detail["index"].clone();
    loop {
        let (piece, rest) = seal.split_at(seal.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        detail[name] = piece.into();
        let extra = Some(Box::new(json!({"delta": {"reasoning_details": [detail]}})));
        out.push(Event::Delta(Delta { part: Part::Reasoning, extra, ..Delta::default() }));
        if rest.is_empty() {
            return;
        }
        seal = rest;
        detail = json!({"type": kind, "index": index});
    }
}

impl Open {
    /// A block of the provider's own that begins.
    pub(super) fn own(raw: &str) -> Open {
        Open::Own { raw: raw.into(), input: String::new() }
    }

    /// A piece of the input of a block of the provider's own.
    pub(super) fn own_input(input: &mut String, piece: &str) {
        if input.len() + piece.len() <= INPUT_BYTES_MAX {
            input.push_str(piece);
        }
    }
}

/// A block of the provider's own, when it is complete.
pub(super) fn own_block(raw: &str, input: &str) -> Value {
    let mut block = super::extra::small_block(raw);
    if !input.is_empty() {
        block["input"] = serde_json::from_str(input).unwrap_or_else(|_| input.into());
    }
    block
}

/// The arguments that came with the start of a call, if any did.
pub(super) fn whole_input(block: &wire::Block<'_>) -> Option<Box<str>> {
    block.input.map(|input| input.get()).filter(|input| input.starts_with('{') && *input != "{}").map(Into::into)
}
