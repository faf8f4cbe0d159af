//! Cohere's packets as they stand on the wire.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::job::{Bill, Usage, UsageSource};
use crate::provider::protocol::emit::count;

/// An event of a stream, or a whole answer, or an error.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Packet<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(deserialize_with = "count")]
    pub(super) index: Option<u64>,
    #[serde(borrow)]
    pub(super) delta: Option<Delta<'a>>,
    /// Of a whole answer; of an error it is a text.
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    pub(super) finish_reason: Option<String>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// What an event brings.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) message: Option<DeltaMessage<'a>>,
    pub(super) finish_reason: Option<String>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// A piece of the message. `message-start` has empty lists where the others have objects.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DeltaMessage<'a> {
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    pub(super) tool_plan: Option<String>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) citations: Option<&'a RawValue>,
}

/// The message of a whole answer.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Message<'a> {
    pub(super) content: Option<Vec<Content>>,
    pub(super) tool_plan: Option<String>,
    pub(super) tool_calls: Option<Vec<Call>>,
    #[serde(borrow)]
    pub(super) citations: Option<Vec<&'a RawValue>>,
}

/// A text or a thought.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Content {
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
}

/// A call, or a piece of one.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Call {
    pub(super) id: Option<Box<str>>,
    pub(super) function: Option<Function>,
}

/// The tool, and a piece of its arguments.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Function {
    pub(super) name: Option<Box<str>>,
    pub(super) arguments: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawUsage {
    billed_units: Option<Units>,
    tokens: Option<Units>,
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
pub(super) struct Units {
    #[serde(deserialize_with = "count")]
    pub(super) input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub(super) output_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub(super) image_tokens: Option<u64>,
}

/// What was consumed, and what of it is charged.
pub(super) fn usage(value: &RawValue) -> Option<(Usage, Bill)> {
    let raw: RawUsage = serde_json::from_str(value.get()).ok()?;
    let billed = raw.billed_units.unwrap_or_default();
    let tokens = raw.tokens.unwrap_or(billed);
    tokens.input_tokens.or(tokens.output_tokens)?;
    let usage = Usage {
        input_tokens: tokens.input_tokens,
        output_tokens: tokens.output_tokens,
        cached_input_tokens: raw.cached_tokens,
        reasoning_tokens: tokens.reasoning_tokens,
        source: UsageSource::Provider,
        ..Usage::default()
    };
    let bill = Bill {
        billed_input_tokens: billed.input_tokens,
        billed_output_tokens: billed.output_tokens,
        image_input_tokens: billed.image_tokens.or(tokens.image_tokens),
        ..Bill::default()
    };
    Some((usage, bill))
}
