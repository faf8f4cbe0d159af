//! Reasoning that must go back in the next turn: `reasoning_details`, gathered from their pieces.
//!
//! OpenRouter sends every piece of reasoning twice, as text and as a detail; the details are wanted
//! as a whole only, with their signatures, by a client that sends them back. So they go out once, with
//! the finish. A text over 16 KiB is left out: it was told before.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::job::caps::EVENT_TEXT_BYTES_MAX;

/// Details of one answer; more is no reasoning.
const DETAILS_MAX: usize = 256;
/// Bytes of one detail that is kept: it must fit a record.
const DETAIL_BYTES_MAX: usize = 32 * 1024;

/// The details of one answer so far.
#[derive(Default)]
pub(super) struct Details(Vec<Detail>);

/// A piece as it comes.
#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    summary: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    signature: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    format: Option<Cow<'a, str>>,
    #[serde(default)]
    index: Option<u64>,
}

/// A detail so far.
#[derive(Serialize, Default)]
struct Detail {
    #[serde(rename = "type")]
    kind: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
}

impl Details {
    /// Takes pieces of reasoning and returns the text that is new in them.
    pub(super) fn take(&mut self, pieces: &RawValue) -> String {
        let mut text = String::new();
        let Ok(pieces) = serde_json::from_str::<Vec<Piece<'_>>>(pieces.get()) else {
            crate::telemetry::skipped_packet();
            return text;
        };
        for piece in pieces {
            text.extend(piece.text.iter().chain(&piece.summary).map(|text| &**text));
            let goes_on = self.0.last().is_some_and(|last| last.goes_on_with(&piece));
            if !goes_on && self.0.len() == DETAILS_MAX {
                crate::telemetry::skipped_packet();
                continue;
            }
            if !goes_on {
                self.0.push(Detail { kind: (&*piece.kind).into(), index: piece.index, ..Detail::default() });
            }
            self.0.last_mut().expect("one was there or was pushed").add(piece);
        }
        text
    }

    /// What must be sent back, in groups that each fit an event.
    pub(super) fn finish(&mut self) -> Vec<Map<String, Value>> {
        let mut groups: Vec<(usize, Vec<Value>)> = Vec::new();
        for mut detail in std::mem::take(&mut self.0) {
            for text in [&mut detail.text, &mut detail.summary] {
                text.take_if(|text| text.len() > EVENT_TEXT_BYTES_MAX);
            }
            let value = serde_json::to_value(&detail).unwrap_or_default();
            let bytes = value.to_string().len();
            if bytes > DETAIL_BYTES_MAX {
                crate::telemetry::skipped_packet();
                continue;
            }
            match groups.last_mut().filter(|(sum, _)| sum + bytes <= DETAIL_BYTES_MAX) {
                Some((sum, group)) => {
                    *sum += bytes;
                    group.push(value);
                }
                None => groups.push((bytes, vec![value])),
            }
        }
        let level = |details: Vec<Value>| Map::from_iter([("reasoning_details".to_owned(), details.into())]);
        groups.into_iter().map(|(_, group)| level(group)).collect()
    }
}

impl Detail {
    /// Whether a piece belongs to it. Encrypted ones come whole.
    fn goes_on_with(&self, piece: &Piece<'_>) -> bool {
        let same_id = piece.id.is_none() || self.id.is_none() || piece.id.as_deref() == self.id.as_deref();
        *self.kind == *piece.kind && self.index == piece.index && same_id && piece.data.is_none()
    }

    fn add(&mut self, piece: Piece<'_>) {
        for (so_far, more) in [(&mut self.text, piece.text), (&mut self.summary, piece.summary)] {
            if let Some(more) = more {
                so_far.get_or_insert_default().push_str(&more);
            }
        }
        let later = |so_far: &mut Option<Box<str>>, more: Option<Cow<'_, str>>| {
            *so_far = more.map(|more| (&*more).into()).or(so_far.take());
        };
        later(&mut self.data, piece.data);
        later(&mut self.signature, piece.signature);
        later(&mut self.id, piece.id);
        later(&mut self.format, piece.format);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], text: &str, groups: Value) {
        let mut details = Details::default();
        let emitted: String =
            pieces.iter().map(|piece| details.take(&RawValue::from_string((*piece).to_owned()).unwrap())).collect();
        assert_eq!(emitted, text);
        assert_eq!(Value::from(details.finish().into_iter().map(Value::from).collect::<Vec<_>>()), groups);
    }

    #[test]
    fn pieces_become_wholes_that_fit_an_event() {
        let text = r#"{"type":"reasoning.text","index":0,"#;
        let signed = [
            &format!(r#"[{text}"text":"a"}}]"#),
            &format!(r#"[{text}"text":"b","format":"f"}},{{"type":"reasoning.summary","summary":"s"}}]"#),
            r#"[{"type":"reasoning.encrypted","data":"x","id":"1"},{"type":"reasoning.encrypted","data":"y","id":"2"}]"#,
            "[7]",
        ];
        let whole = serde_json::json!([{"reasoning_details": [
            {"type": "reasoning.text", "index": 0, "text": "ab", "format": "f"},
            {"type": "reasoning.summary", "summary": "s"},
            {"type": "reasoning.encrypted", "data": "x", "id": "1"},
            {"type": "reasoning.encrypted", "data": "y", "id": "2"},
        ]}]);
        check(&signed, "abs", whole);
        let long = "t".repeat(EVENT_TEXT_BYTES_MAX + 1);
        let (data, too_much) = ("d".repeat(20_000), "d".repeat(DETAIL_BYTES_MAX));
        let encrypted = |data: &str| format!(r#"[{{"type":"reasoning.encrypted","data":"{data}"}}]"#);
        let group = |detail: Value| serde_json::json!({"reasoning_details": [detail]});
        check(
            &[&format!(r#"[{text}"text":"{long}","signature":"s"}}]"#)],
            &long,
            serde_json::json!([group(serde_json::json!({"type": "reasoning.text", "index": 0, "signature": "s"}))]),
        );
        let one = group(serde_json::json!({"type": "reasoning.encrypted", "data": data}));
        check(&[&encrypted(&data), &encrypted(&too_much), &encrypted(&data)], "", serde_json::json!([one, one]));
        check(&["[]"], "", serde_json::json!([]));
    }
}
