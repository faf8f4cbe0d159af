//! What an answer says that our events do not model: kept on the text it came with.
//!
//! Owns the fields that wait for a text to ride on, and those whose last value is remembered so that
//! only changes are told. Promises that a field over its limit is named, not lost in silence.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::job::{Delta, Event};
use crate::provider::protocol::openai_chat::chunk::Rest;

/// Bytes of one field that are kept; larger ones are named in `dropped`.
const FIELD_BYTES_MAX: usize = 8 * 1024;
/// Events without text that wait for the next one with some.
const HELD_MAX: usize = 64;
/// Fields of responses whose last value is remembered.
const REMEMBERED_MAX: usize = 32;

/// Fields on their way.
#[derive(Default)]
pub(super) struct Extras {
    held: Vec<Delta>,
    remembered: Vec<(Box<str>, Box<str>)>,
}

impl Extras {
    /// Puts fields on the first text that this packet brought to the answer, else holds them for the
    /// next output: by themselves they are none.
    pub(super) fn attach(&mut self, index: u32, level: &str, fields: Map<String, Value>, events: &mut [Event]) {
        if fields.is_empty() {
            return;
        }
        let ride = events.iter_mut().find_map(|event| match event {
            Event::Delta(delta) if delta.index == index => Some(delta),
            _ => None,
        });
        match ride.map(|delta| delta.extra.get_or_insert_with(|| Box::new(json!({})))) {
            Some(place) => match &mut place[level] {
                Value::Object(known) => known.extend(fields),
                place => *place = Value::Object(fields),
            },
            None if self.held.len() < HELD_MAX => {
                let extra = Some(Box::new(json!({ level: fields })));
                self.held.push(Delta { index, extra, ..Delta::default() });
            }
            None => crate::telemetry::skipped_packet(),
        }
    }

    /// What waits, if it is one thing that can ride on a text of this answer; the rest goes to `out`.
    pub(super) fn ride(&mut self, index: u32, out: &mut Vec<Event>) -> Option<Box<Value>> {
        if let [only] = &mut self.held[..]
            && only.index == index
        {
            return self.held.pop().and_then(|only| only.extra);
        }
        self.flush(out);
        None
    }

    /// What waits goes out by itself.
    pub(super) fn flush(&mut self, out: &mut Vec<Event>) {
        out.extend(self.held.drain(..).map(Event::Delta));
    }

    /// Returns the fields that are new or have changed.
    pub(super) fn news<'a>(&mut self, fields: impl Iterator<Item = (&'a str, &'a RawValue)>) -> Rest<'a> {
        let mut news = Vec::new();
        for (name, value) in fields {
            match self.remembered.iter().position(|(known, _)| **known == *name) {
                Some(at) if *self.remembered[at].1 == *value.get() => continue,
                Some(at) => self.remembered[at].1 = value.get().into(),
                None if self.remembered.len() < REMEMBERED_MAX && value.get().len() <= FIELD_BYTES_MAX => {
                    self.remembered.push((name.into(), value.get().into()));
                }
                None => {}
            }
            news.push((Cow::Borrowed(name), value));
        }
        news
    }
}

/// Fields as they came; those that are too large are named.
pub(super) fn values(rest: &Rest<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut dropped = Vec::new();
    for (name, value) in rest {
        match fitting(name, value) {
            Some(value) => drop(fields.insert(name.to_string(), value)),
            None => dropped.push(Value::from(&**name)),
        }
    }
    if !dropped.is_empty() {
        fields.insert("dropped".into(), dropped.into());
    }
    fields
}

/// A field that may be kept. Grounding is mostly a page of HTML for a search box: without it the
/// sources themselves fit.
fn fitting(name: &str, value: &RawValue) -> Option<Value> {
    let parsed = || serde_json::from_str::<Value>(value.get()).unwrap_or_default();
    if value.get().len() <= FIELD_BYTES_MAX {
        return Some(parsed());
    }
    if name != "groundingMetadata" {
        return None;
    }
    let mut slim = parsed();
    slim.as_object_mut()?.remove("searchEntryPoint")?;
    (slim.to_string().len() <= FIELD_BYTES_MAX).then_some(slim)
}

/// Google's log probabilities in the shape of the OpenAI dialect.
pub(super) fn logprobs(raw: &RawValue) -> Map<String, Value> {
    let raw: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let one = |candidate: &Value| {
        let token = candidate["token"].as_str().unwrap_or("");
        json!({"token": token, "logprob": candidate["logProbability"], "bytes": token.as_bytes()})
    };
    let tops = list(&raw["topCandidates"]);
    let chosen = list(&raw["chosenCandidates"]);
    let content = chosen.iter().enumerate().map(|(at, candidate)| {
        let mut token = one(candidate);
        let top = tops.get(at).map(|top| list(&top["candidates"])).unwrap_or_default();
        token["top_logprobs"] = top.iter().map(one).collect();
        token
    });
    let logprobs = json!({"content": content.collect::<Vec<_>>()});
    let mut fields = Map::new();
    if logprobs.to_string().len() <= FIELD_BYTES_MAX {
        fields.insert("logprobs".into(), logprobs);
    } else {
        fields.insert("dropped".into(), json!(["logprobs"]));
    }
    fields
}
