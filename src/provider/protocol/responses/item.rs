//! From an item of the output to what it says beyond its deltas.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::decode::{ResponsesDecoder, item, merge};
use super::packet::{self, Item, parts};
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Blob, Event, Failure, Output, OutputBody, Part, ToolCall};
use crate::provider::protocol::openai_chat::text;

/// Bytes of one field that are kept in `extra`; larger ones are named in `extra.dropped`.
const EXTRA_FIELD_BYTES_MAX: usize = 8 * 1024;

/// What was said of an item so far.
pub(super) struct Seen {
    /// Its place in the output.
    pub(super) index: Option<u32>,
    /// The number of the call that it is.
    pub(super) call: Option<u32>,
    /// Whether its text or its arguments came as deltas.
    pub(super) is_emitted: bool,
    annotations: usize,
}

impl Seen {
    pub(super) fn new(index: Option<u32>) -> Seen {
        Seen { index, call: None, is_emitted: false, annotations: 0 }
    }
}

impl ResponsesDecoder {
    pub(super) fn item_added(&mut self, at: usize, item: &Item<'_>, out: &mut Vec<Event>) {
        match &*item.kind {
            "function_call" | "custom_tool_call" => self.call(at, item, None, out),
            "message" => {
                if let Some(phase) = item.phase.and_then(text) {
                    merge(&mut self.rider, fields("delta", "phase", json!(phase)));
                }
            }
            _ => {}
        }
    }

    pub(super) fn item_done(&mut self, at: usize, raw: &RawValue, out: &mut Vec<Event>) -> Result<(), Failure> {
        let item = item(Some(raw))?;
        match &*item.kind {
            "message" => self.message(at, &item, out),
            "reasoning" => self.thought(at, &item, out),
            "function_call" | "custom_tool_call" => {
                let arguments = item.arguments.or(item.input).and_then(text).filter(|_| !self.seen[at].is_emitted);
                match self.seen[at].call {
                    Some(_) => self.arguments(at, arguments, out),
                    None => self.call(at, &item, arguments, out),
                }
            }
            "image_generation_call" if item.result.is_some() => self.image(&item, out),
            kind => {
                self.searches += u64::from(kind == "web_search_call" && is_search(item.action));
                let fields = match raw.get().len() > EXTRA_FIELD_BYTES_MAX {
                    true => fields("delta", "dropped", json!([kind])),
                    false => fields("delta", "output", json!([value(raw)])),
                };
                let event = self.extra(fields);
                out.push(event);
            }
        }
        Ok(())
    }

    /// A tool call's first event, unless it was made; with its arguments if they are whole.
    fn call(&mut self, at: usize, item: &Item<'_>, arguments: Option<Cow<'_, str>>, out: &mut Vec<Event>) {
        if self.seen[at].call.is_some() {
            return;
        }
        let index = self.calls;
        self.calls += 1;
        self.seen[at].call = Some(index);
        let word = |value: Option<&RawValue>| value.and_then(text).filter(|text| !text.is_empty()).map(Into::into);
        let mut whole = arguments;
        let arguments = whole.take_if(|text| text.len() <= EVENT_TEXT_BYTES_MAX).unwrap_or_default().into_owned();
        self.seen[at].is_emitted |= !arguments.is_empty();
        out.push(Event::ToolCall(ToolCall {
            index,
            call_id: word(item.call_id).or_else(|| word(item.id)),
            name: word(item.name),
            arguments,
        }));
        self.arguments(at, whole, out);
        if item.kind == "custom_tool_call" {
            let event = self.extra(fields("delta", "tool_calls", json!([{"index": index, "type": "custom"}])));
            out.push(event);
        }
    }

    fn message(&mut self, at: usize, item: &Item<'_>, out: &mut Vec<Event>) {
        let was_emitted = self.seen[at].is_emitted;
        if !was_emitted {
            self.item_added(at, item, out);
        }
        let mut annotations = 0;
        for part in parts(item.content) {
            if !was_emitted {
                self.log_probabilities(part.logprobs);
                match (&*part.kind, part.text.and_then(text), part.refusal.and_then(text)) {
                    ("refusal", text, refusal) => {
                        self.push_text(Part::Refusal, refusal.or(text).unwrap_or_default(), out);
                    }
                    (_, text, _) => self.push_text(Part::Text, text.unwrap_or_default(), out),
                }
            }
            for annotation in part.annotations.into_iter().flatten() {
                annotations += 1;
                if annotations > self.seen[at].annotations {
                    self.annotation(at, Some(annotation), out);
                }
            }
        }
    }

    /// A piece of reasoning, with a blank line before a new part.
    pub(super) fn reasoning(&mut self, at: usize, part: u32, text: Cow<'_, str>, out: &mut Vec<Event>) {
        self.seen[at].is_emitted = true;
        let place = (self.seen[at].index, part);
        let is_new = self.paragraph.replace(place).is_some_and(|before| before != place);
        let text = if is_new { format!("\n\n{text}").into() } else { text };
        self.push_text(Part::Reasoning, text, out);
    }

    /// A whole reasoning item: its text unless it was told, and what must come back next time.
    fn thought(&mut self, at: usize, item: &Item<'_>, out: &mut Vec<Event>) {
        let was_emitted = self.seen[at].is_emitted;
        let id = item.id.and_then(text);
        let format = item.format.and_then(text).unwrap_or(self.format.into());
        let mut details = Vec::new();
        let mut bytes = 0;
        for (kind, field, parts) in
            [("reasoning.summary", "summary", parts(item.summary)), ("reasoning.text", "text", parts(item.content))]
        {
            for (number, part) in (0..).zip(parts) {
                let packet::Part { text: Some(parsed), .. } = part else { continue };
                let Some(parsed) = text(parsed).filter(|parsed| !parsed.is_empty()) else { continue };
                if !was_emitted {
                    self.reasoning(at, number, Cow::Borrowed(&parsed), out);
                }
                bytes += parsed.len();
                details.push(json!({"type": kind, field: parsed, "id": id, "format": format, "index": self.details}));
                self.details += 1;
            }
        }
        if bytes > EVENT_TEXT_BYTES_MAX {
            details.clear();
        }
        let data = item.encrypted_content.and_then(text).unwrap_or_default();
        if !details.is_empty() && bytes + data.len() > EVENT_TEXT_BYTES_MAX {
            let event = self.extra(fields("delta", "reasoning_details", std::mem::take(&mut details).into()));
            out.push(event);
        }
        // More than fits an event comes in several entries of one id, which are one when they come back.
        let mut rest = &*data;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
            let entry = json!({"type": "reasoning.encrypted", "data": piece, "id": id, "format": format, "index": self.details});
            details.push(entry);
            let event = self.extra(fields("delta", "reasoning_details", std::mem::take(&mut details).into()));
            out.push(event);
            rest = more;
        }
        self.details += u32::from(!data.is_empty());
        if !details.is_empty() {
            let event = self.extra(fields("delta", "reasoning_details", details.into()));
            out.push(event);
        }
    }

    /// In the form of a chat, where an annotation's fields stand under its kind.
    pub(super) fn annotation(&mut self, at: usize, annotation: Option<&RawValue>, out: &mut Vec<Event>) {
        let Some(annotation) = annotation.filter(|raw| raw.get().len() <= EXTRA_FIELD_BYTES_MAX) else { return };
        self.seen[at].annotations += 1;
        let mut parsed = value(annotation);
        if parsed["type"] == "url_citation" && !parsed["url_citation"].is_object() {
            if let Some(fields) = parsed.as_object_mut() {
                fields.remove("type");
            }
            parsed = json!({"type": "url_citation", "url_citation": parsed});
        }
        let event = self.extra(fields("delta", "annotations", json!([parsed])));
        out.push(event);
    }

    /// They ride on the text that comes with them.
    pub(super) fn log_probabilities(&mut self, parsed: Option<&RawValue>) {
        let Some(parsed) = parsed.filter(|raw| raw.get().len() <= EXTRA_FIELD_BYTES_MAX && raw.get() != "[]") else {
            return;
        };
        merge(&mut self.rider, fields("choice", "logprobs", json!({"content": value(parsed)})));
    }

    fn image(&mut self, item: &Item<'_>, out: &mut Vec<Event>) {
        let data = item.result.and_then(text).unwrap_or_default();
        let Ok(bytes) = STANDARD.decode(data.as_bytes()) else { return crate::telemetry::skipped_packet() };
        let format = item.output_format.and_then(text).unwrap_or("png".into());
        out.push(Event::Output(Output {
            index: self.outputs,
            mime: format!("image/{format}").into(),
            sha256: None,
            body: OutputBody::Data(Blob(bytes.into())),
        }));
        self.outputs += 1;
    }
}

/// Opening a page that was found costs nothing.
fn is_search(action: Option<&RawValue>) -> bool {
    action.is_none_or(|action| value(action)["type"] == "search")
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn fields(level: &str, name: &str, value: Value) -> Map<String, Value> {
    let mut inner = Map::new();
    inner.insert(name.to_owned(), value);
    let mut outer = Map::new();
    outer.insert(level.to_owned(), Value::Object(inner));
    outer
}
