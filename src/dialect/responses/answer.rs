//! The items of an answer, as they grow.
//!
//! Owns what an item is and how it stands in a response's `output`: its place is its number, its id
//! is made of the job's id and that place. Does not know events.

use std::fmt;

use serde_json::{Map, Value, json};

use super::encrypted_content;
use crate::dialect::openai::call_id;
use crate::job::{JobId, Output, OutputBody};

/// One item of the output.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) body: Body,
    pub(super) state: State,
}

/// Whether more of an item may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Open,
    Done,
    /// The answer ended in the middle of this item.
    Cut,
}

/// What an item is.
#[derive(Debug)]
pub(super) enum Body {
    /// One of several answers.
    Message { index: u32, phase: Option<Value>, parts: Vec<TextPart> },
    /// Reasoning: all its text is one summary, which is what every client shows.
    Reasoning { text: String, details: Vec<Value> },
    /// A call of a tool.
    Call(Call),
    /// Something whole: what a built-in tool did, a picture.
    Whole(Value),
}

/// Text or refusal of a message.
#[derive(Debug, Default)]
pub(super) struct TextPart {
    pub(super) is_refusal: bool,
    pub(super) text: String,
    pub(super) annotations: Vec<Value>,
    pub(super) logprobs: Vec<Value>,
}

/// A call of a tool.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) index: u32,
    pub(super) call_id: Option<Box<str>>,
    pub(super) name: Option<Box<str>>,
    pub(super) arguments: String,
    /// What must come back with the call.
    pub(super) extra_content: Option<Value>,
}

/// How far an item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Nothing of the item was sent yet.
    Begun,
    /// As far as it got.
    Sent,
    /// As far as it got, and it will not go on.
    BrokenOff,
}

/// Id of an item.
#[derive(Clone, Copy)]
pub(super) struct ItemId<'a> {
    pub(super) kind: &'static str,
    pub(super) job: &'a JobId,
    pub(super) at: usize,
}

impl fmt::Display for ItemId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.kind, self.job, self.at)
    }
}

impl TextPart {
    /// The name of its text's field, and of its events.
    pub(super) fn field(&self) -> &'static str {
        if self.is_refusal { "refusal" } else { "text" }
    }

    pub(super) fn json(&self, progress: Progress) -> Value {
        let text = if progress == Progress::Begun { "" } else { &*self.text };
        if self.is_refusal {
            return json!({"type": "refusal", "refusal": text});
        }
        let list = |values: &[Value]| if progress == Progress::Begun { json!([]) } else { json!(values) };
        json!({
            "type": "output_text", "text": text, "annotations": list(&self.annotations),
            "logprobs": list(&self.logprobs),
        })
    }
}

impl Item {
    pub(super) fn id<'a>(&self, job: &'a JobId, at: usize) -> ItemId<'a> {
        let kind = match &self.body {
            Body::Message { .. } => "msg",
            Body::Reasoning { .. } => "rs",
            Body::Call(_) => "fc",
            Body::Whole(_) => "item",
        };
        ItemId { kind, job, at }
    }

    /// As it stands in the output, or in its events.
    pub(super) fn json(&self, job: &JobId, at: usize, progress: Progress) -> Value {
        let status = match (self.state, progress) {
            (State::Done, _) => "completed",
            (State::Cut, _) | (State::Open, Progress::BrokenOff) => "incomplete",
            (State::Open, _) => "in_progress",
        };
        let is_begun = progress == Progress::Begun;
        let mut item = match &self.body {
            Body::Message { phase, parts, .. } => {
                let parts = if is_begun { &[][..] } else { parts };
                let content: Vec<Value> = parts.iter().map(|part| part.json(progress)).collect();
                let mut message = json!({"type": "message", "role": "assistant", "status": status, "content": content});
                if let Some(phase) = phase {
                    message["phase"] = phase.clone();
                }
                message
            }
            Body::Reasoning { text, details } => {
                let note = (!is_begun && !text.is_empty()).then(|| json!({"type": "summary_text", "text": text}));
                let mut item = json!({"type": "reasoning", "status": status, "summary": Vec::from_iter(note)});
                if let Some(seal) = (!is_begun).then(|| encrypted_content::seal(details)).flatten() {
                    item["encrypted_content"] = seal.into();
                }
                item
            }
            Body::Call(call) => call.json(job, status, is_begun),
            Body::Whole(item) => item.clone(),
        };
        let is_theirs = matches!(&self.body, Body::Whole(item) if item["id"].is_string());
        if !is_theirs && let Some(fields) = item.as_object_mut() {
            fields.insert("id".into(), self.id(job, at).to_string().into());
        }
        item
    }
}

impl Call {
    fn json(&self, job: &JobId, status: &str, is_begun: bool) -> Value {
        let id = self.call_id.as_deref().map_or_else(|| call_id(job.as_str(), self.index), str::to_owned);
        let arguments = if is_begun { "" } else { &*self.arguments };
        let mut item = json!({
            "type": "function_call", "status": status, "call_id": id,
            "name": self.name.as_deref().unwrap_or_default(), "arguments": arguments,
        });
        if let Some(content) = &self.extra_content {
            item["extra_content"] = content.clone();
        }
        item
    }

    /// Whether nothing more can come: providers send one call after the other, but none guarantees it.
    pub(super) fn is_whole(&self) -> bool {
        self.arguments.ends_with('}') && serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok()
    }
}

/// A picture as its built-in tool would have made it; any other output as we have it.
pub(super) fn media(output: &Output) -> Value {
    let mut item = json!({"type": "image_generation_call", "status": "completed"});
    match &output.body {
        _ if !output.mime.starts_with("image/") => {
            item = serde_json::to_value(output).unwrap_or_default();
            item["type"] = "output".into();
        }
        OutputBody::Data(data) => item["result"] = serde_json::to_value(data).unwrap_or_default(),
        OutputBody::Url(url) => {
            item["result"] = Value::Null;
            item["url"] = (**url).into();
        }
        OutputBody::Value(value) => item["result"] = value.clone(),
    }
    item
}

/// An annotation as this dialect has it: in a chat its fields stand under its kind.
pub(super) fn annotation(note: Value) -> Value {
    let Value::Object(mut note) = note else { return note };
    let kind = note.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(Value::Object(fields)) = note.remove(&kind) {
        note.extend(fields);
    }
    Value::Object(note)
}

/// Takes a list out of the extra fields of one level.
pub(super) fn list(level: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match level.remove(name) {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}
