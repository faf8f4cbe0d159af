//! Events of texts, calls and asides, for decoders of formats of their own.
//!
//! Owns the limits that every decoder keeps: a text over 16 KiB becomes several events, a field of a
//! provider's own over 8 KiB is named instead of kept. Knows no provider's format.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Code, Delta, Event, Failure, Part, ToolCall};

/// Bytes of one field of a provider's own that are kept in `extra`.
const FIELD_BYTES_MAX: usize = 8 * 1024;
/// Bytes of reasoning that are repeated where a client must send it back with the next turn.
pub(super) const THOUGHT_BYTES_MAX: usize = 16 * 1024;

/// A piece of the answer; nothing for an empty one.
pub(super) fn text(part: Part, text: String, out: &mut Vec<Event>) {
    if text.is_empty() {
        return;
    }
    if text.len() <= EVENT_TEXT_BYTES_MAX {
        return out.push(Event::Delta(Delta { part, index: 0, text, extra: None }));
    }
    for piece in pieces(&text) {
        out.push(Event::Delta(Delta { part, index: 0, text: piece.to_owned(), extra: None }));
    }
}

/// A call, or a piece of one.
pub(super) fn call(call: ToolCall, out: &mut Vec<Event>) {
    if call.arguments.len() <= EVENT_TEXT_BYTES_MAX {
        return out.push(Event::ToolCall(call));
    }
    let index = call.index;
    let mut head = Some(ToolCall { arguments: String::new(), ..call.clone() });
    for piece in pieces(&call.arguments) {
        let call = head.take().unwrap_or(ToolCall { index, ..ToolCall::default() });
        out.push(Event::ToolCall(ToolCall { arguments: piece.to_owned(), ..call }));
    }
}

/// A field that our events do not model, as `extra.LEVEL.NAME` of an empty delta.
pub(super) fn aside(level: &str, name: &str, value: &RawValue, out: &mut Vec<Event>) {
    let small = value.get().len() <= FIELD_BYTES_MAX;
    let value = small.then(|| serde_json::from_str::<Value>(value.get()).ok()).flatten();
    let fields = match value {
        Some(value) => Map::from_iter([(name.to_owned(), value)]),
        None => Map::from_iter([("dropped".to_owned(), json!([name]))]),
    };
    let extra = Map::from_iter([(level.to_owned(), Value::Object(fields))]);
    out.push(Event::Delta(Delta { extra: Some(Box::new(Value::Object(extra))), ..Delta::default() }));
}

/// A text cut at character boundaries so that each piece fits an event.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The provider's answer ended before its end.
pub(super) fn truncated() -> Failure {
    broken("the provider's answer ended before its end")
}

/// The provider sent what is not of its own format.
pub(super) fn malformed() -> Failure {
    broken("the provider sent a packet that is not JSON of its own format")
}

/// `provider_truncated`, of the target.
pub(super) fn broken(message: &'static str) -> Failure {
    Failure::new(Code::ProviderTruncated, message).of_the_target()
}

/// The JSON text of a call's arguments, which some give as a text and some as the object itself.
pub(super) fn arguments(value: Option<&RawValue>) -> String {
    match value.map(RawValue::get) {
        None | Some("null") => "{}".to_owned(),
        Some(text) => serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned()),
    }
}

/// Ids for calls to which a provider gives none: the same at each decoding, others in each job, so
/// that a conversation of several jobs has no id twice.
pub(super) struct CallIds(u64);

impl CallIds {
    pub(super) fn of(job: &str) -> CallIds {
        // FNV-1a: short, and the same on every machine and in every version.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        CallIds(job.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    pub(super) fn id(&self, index: u32) -> Box<str> {
        format!("call_{:016x}_{index}", self.0).into()
    }
}

/// A count that may be missing, null, fractional or of another shape altogether.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Whole(u64),
        Real(f64),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Shape::deserialize(deserializer)? {
        Shape::Whole(count) => Some(count),
        Shape::Real(count) if (0.0..9.0e15).contains(&count) => Some(count as u64),
        Shape::Real(_) | Shape::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_characters_and_lose_nothing() {
        let long = "aé🦀".repeat(6000);
        let mut out = Vec::new();
        text(Part::Text, long.clone(), &mut out);
        let name = Some("f".into());
        call(ToolCall { index: 3, call_id: Some("c".into()), name, arguments: long.clone() }, &mut out);
        let (mut raw, mut arguments, mut names) = (String::new(), String::new(), 0);
        for event in &out {
            match event {
                Event::Delta(delta) => {
                    assert!(delta.text.len() <= EVENT_TEXT_BYTES_MAX);
                    raw.push_str(&delta.text);
                }
                Event::ToolCall(call) => {
                    assert!(call.arguments.len() <= EVENT_TEXT_BYTES_MAX && call.index == 3);
                    names += usize::from(call.name.is_some() && call.call_id.is_some());
                    arguments.push_str(&call.arguments);
                }
                other => panic!("{}", other.kind()),
            }
        }
        assert!(raw == long && arguments == long && names == 1);
    }

    #[test]
    fn a_field_is_kept_or_named() {
        let check = |json: String, expected: Value| {
            let mut out = Vec::new();
            aside("delta", "citations", &RawValue::from_string(json).unwrap(), &mut out);
            let [Event::Delta(delta)] = &out[..] else { panic!("one delta") };
            assert_eq!(delta.extra.as_deref(), Some(&expected));
        };
        check(r#"[{"start":1}]"#.into(), json!({"delta": {"citations": [{"start": 1}]}}));
        check(format!("\"{}\"", "x".repeat(FIELD_BYTES_MAX)), json!({"delta": {"dropped": ["citations"]}}));
    }
}
