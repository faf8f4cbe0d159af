//! Packets and items as they stand on the wire, borrowed from it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One event of a stream.
#[derive(Deserialize)]
pub(super) struct RawEvent<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Cow<'a, str>,
    #[serde(default)]
    pub(super) sequence_number: Option<u64>,
    #[serde(default)]
    pub(super) output_index: Option<u32>,
    #[serde(default)]
    pub(super) summary_index: Option<u32>,
    #[serde(default)]
    pub(super) content_index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) delta: Option<&'a RawValue>,
    /// The whole of what `function_call_arguments.done` ends.
    #[serde(borrow, default)]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) annotation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

/// A whole answer, or what a stream says of itself at its beginning and end.
#[derive(Deserialize)]
pub(super) struct Response<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) background: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) incomplete_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) output: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) service_tier: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) tool_usage: Option<&'a RawValue>,
}

/// An item of the output.
#[derive(Deserialize)]
pub(super) struct Item<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) call_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) name: Option<&'a RawValue>,
    /// Arguments of a function call.
    #[serde(borrow, default)]
    pub(super) arguments: Option<&'a RawValue>,
    /// Input of a custom tool's call.
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) encrypted_content: Option<&'a RawValue>,
    /// Whose reasoning it is, where a router says so.
    #[serde(borrow, default)]
    pub(super) format: Option<&'a RawValue>,
    /// Whether a message is a remark on the way or the answer.
    #[serde(borrow, default)]
    pub(super) phase: Option<&'a RawValue>,
    /// Action of a web search.
    #[serde(borrow, default)]
    pub(super) action: Option<&'a RawValue>,
    /// Base64 of an image that was made.
    #[serde(borrow, default)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) output_format: Option<&'a RawValue>,
}

/// A part of a message or of reasoning.
#[derive(Deserialize)]
pub(super) struct Part<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) annotations: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// The parts of a message or of reasoning; none where there is no list of such.
pub(super) fn parts(value: Option<&RawValue>) -> Vec<Part<'_>> {
    value.and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
}

/// What says nothing that is not said elsewhere: the course of an item, and pieces of what the item
/// holds whole at its end.
pub(super) fn is_lifecycle(kind: &str) -> bool {
    const ENDS: &[&str] = &[
        ".created",
        ".queued",
        ".in_progress",
        ".added",
        ".done",
        ".searching",
        ".interpreting",
        ".generating",
        ".completed",
        ".failed",
        ".partial_image",
        "_call_code.delta",
        "mcp_call_arguments.delta",
    ];
    kind == "keepalive" || (kind.starts_with("response.") && ENDS.iter().any(|end| kind.ends_with(end)))
}
