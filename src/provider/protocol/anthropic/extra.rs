//! What has no event of its own: kept beside the text, by the level it stands at.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::job::{Delta, Event};

/// Bytes of one field that is kept; larger ones are named in `dropped`.
const FIELD_BYTES_MAX: usize = 8 * 1024;
/// Bytes of all that waits for one text: both together must fit a record.
const HELD_BYTES_MAX: usize = 16 * 1024;

/// Extra fields that wait for a text to ride on: by themselves they are no output.
#[derive(Default)]
pub(super) struct Extras {
    held: Option<Box<Value>>,
    held_bytes: usize,
}

impl Extras {
    /// Holds a field of `level` (`delta`, `choice`, `chunk`) as it came, if it is small enough.
    pub(super) fn hold(&mut self, level: &str, name: &str, value: Option<&RawValue>) {
        let Some(value) = value else { return };
        match self.kept(value) {
            Some(value) => self.held()[level][name] = value,
            None => self.drop(level, name),
        }
    }

    /// Holds one more source of the text.
    pub(super) fn cite(&mut self, citation: &RawValue) {
        let Some(citation) = self.kept(citation) else { return self.drop("delta", "citations") };
        match &mut self.held()["delta"]["citations"] {
            Value::Array(all) => all.push(citation),
            none => *none = json!([citation]),
        }
    }

    fn held(&mut self) -> &mut Value {
        self.held.get_or_insert_with(|| Box::new(json!({})))
    }

    fn kept(&mut self, value: &RawValue) -> Option<Value> {
        let bytes = value.get().len();
        if bytes > FIELD_BYTES_MAX || self.held_bytes + bytes > HELD_BYTES_MAX {
            return None;
        }
        self.held_bytes += bytes;
        Some(serde_json::from_str(value.get()).unwrap_or_default())
    }

    fn drop(&mut self, level: &str, name: &str) {
        match &mut self.held()[level]["dropped"] {
            Value::Array(names) if names.iter().any(|known| known == name) => {}
            Value::Array(names) => names.push(name.into()),
            none => *none = json!([name]),
        }
    }

    /// What the next text carries.
    pub(super) fn ride(&mut self) -> Option<Box<Value>> {
        self.held_bytes = 0;
        self.held.take()
    }

    /// Tells what is held.
    pub(super) fn flush(&mut self, out: &mut Vec<Event>) {
        if let Some(extra) = self.ride() {
            out.push(Event::Delta(Delta { extra: Some(extra), ..Delta::default() }));
        }
    }
}

/// A block of the provider's own, small enough to be kept: of search results without what only the
/// provider can read, and without fields that are too large, which are named.
pub(super) fn small_block(raw: &str) -> Value {
    let mut block: Value = serde_json::from_str(raw).unwrap_or_default();
    if raw.len() <= FIELD_BYTES_MAX {
        return block;
    }
    let mut dropped = Vec::new();
    for result in block["content"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if result.remove("encrypted_content").is_some() && dropped.is_empty() {
            dropped.push(Value::from("content.encrypted_content"));
        }
    }
    let Some(fields) = block.as_object_mut() else { return block };
    let mut bytes = 0;
    let mut small = Map::new();
    for (name, value) in std::mem::take(fields) {
        bytes += value.to_string().len();
        if bytes <= FIELD_BYTES_MAX {
            small.insert(name, value);
        } else {
            bytes -= value.to_string().len();
            dropped.push(name.into());
        }
    }
    small.insert("dropped".into(), dropped.into());
    Value::Object(small)
}
