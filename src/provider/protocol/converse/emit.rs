//! Events as they are put out: cut to their limits, and fields that no event knows kept in `extra`.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Delta, Event, Part, ToolCall};

/// Bytes of one unknown field that are kept; larger ones are named in `extra.….dropped`.
const EXTRA_FIELD_BYTES_MAX: usize = 8 * 1024;

pub(super) fn push_text(part: Part, text: Cow<'_, str>, out: &mut Vec<Event>) {
    if text.len() <= EVENT_TEXT_BYTES_MAX {
        if !text.is_empty() {
            out.push(Event::Delta(Delta { part, index: 0, text: text.into_owned(), extra: None }));
        }
        return;
    }
    let mut rest = &*text;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        out.push(Event::Delta(Delta { part, index: 0, text: piece.to_owned(), extra: None }));
        rest = more;
    }
}

pub(super) fn push_arguments(index: u32, mut text: &str, out: &mut Vec<Event>) {
    while !text.is_empty() {
        let (piece, more) = text.split_at(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        out.push(Event::ToolCall(ToolCall { index, arguments: piece.to_owned(), ..ToolCall::default() }));
        text = more;
    }
}

/// Fields of the whole answer.
pub(super) fn push_fields(fields: &[(&str, Option<&RawValue>)], out: &mut Vec<Event>) {
    for (name, value) in fields {
        if let Some(value) = value {
            push_extra("chunk", name, value, out);
        }
    }
}

/// A field that our events do not know, as it came.
pub(super) fn push_extra(level: &str, name: &str, value: &RawValue, out: &mut Vec<Event>) {
    match value.get() {
        "null" | "{}" | "[]" | "\"\"" => {}
        text if text.len() > EXTRA_FIELD_BYTES_MAX => push_event(level, "dropped", json!([name]), out),
        text => push_event(level, name, serde_json::from_str(text).unwrap_or_default(), out),
    }
}

pub(super) fn push_value(level: &str, name: &str, value: Value, out: &mut Vec<Event>) {
    let is_long = value.to_string().len() > EXTRA_FIELD_BYTES_MAX;
    if is_long { push_event(level, "dropped", json!([name]), out) } else { push_event(level, name, value, out) }
}

pub(super) fn push_event(level: &str, name: &str, value: Value, out: &mut Vec<Event>) {
    let extra = Some(Box::new(json!({level: {name: value}})));
    out.push(Event::Delta(Delta { extra, ..Delta::default() }));
}
