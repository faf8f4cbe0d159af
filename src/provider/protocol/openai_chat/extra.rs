//! Unknown fields: kept beside the text they came with, by the level they stood at.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::chunk::Rest;
use crate::job::{Delta, Event};

/// Bytes of one unknown field that are kept; larger ones are named in `dropped` at their level, and
/// of a list the beginning is kept.
const EXTRA_FIELD_BYTES_MAX: usize = 8 * 1024;
/// Events without text that wait for the next one with some.
const HELD_MAX: usize = 64;
/// Unknown fields of chunks whose last value is remembered, so that only changes are told.
const REMEMBERED_MAX: usize = 32;

/// The unknown fields of one reply.
#[derive(Default)]
pub(super) struct Extras {
    /// Fields without a text to ride on: they must not count as output by themselves.
    held: Vec<Delta>,
    /// Name and a hash of the last value: search results come with every chunk again.
    remembered: Vec<(Box<str>, u64)>,
}

impl Extras {
    /// What the next text of this answer carries, if it is all that is held.
    pub(super) fn ride(&mut self, index: u32, out: &mut Vec<Event>) -> Option<Box<Value>> {
        let extra = match &mut self.held[..] {
            [only] if only.index == index => only.extra.take(),
            _ => None,
        };
        self.held.retain(|held| held.extra.is_some());
        self.flush(out);
        extra
    }

    /// Fields of the whole chunk: told when they come and when they change.
    pub(super) fn on_chunk(&mut self, rest: &Rest<'_>, before: usize, out: &mut [Event]) {
        let mut news: Rest<'_> = Vec::new();
        for (name, value) in rest {
            let mut hasher = DefaultHasher::new();
            value.get().hash(&mut hasher);
            let hash = hasher.finish();
            match self.remembered.iter().position(|(known, _)| **known == **name) {
                Some(at) if self.remembered[at].1 == hash => continue,
                Some(at) => self.remembered[at].1 = hash,
                None if self.remembered.len() < REMEMBERED_MAX => self.remembered.push(((&**name).into(), hash)),
                None => {}
            }
            news.push((Cow::Borrowed(name), value));
        }
        if !news.is_empty() {
            let mut extra = Map::new();
            insert_level(&mut extra, "chunk", values(&news));
            self.attach(0, extra, before, out);
        }
    }

    /// Puts fields on the first text of this packet, else holds them for the next output.
    pub(super) fn attach(&mut self, index: u32, extra: Map<String, Value>, first: usize, out: &mut [Event]) {
        let ride = out[first..].iter_mut().find_map(|event| match event {
            Event::Delta(delta) if delta.index == index => Some(delta),
            _ => None,
        });
        match ride.map(|delta| delta.extra.get_or_insert_with(|| Box::new(Value::Object(Map::new())))) {
            Some(place) => {
                for (level, fields) in extra {
                    match (&mut place[&level], fields) {
                        (Value::Object(known), Value::Object(fields)) => known.extend(fields),
                        (place, fields) => *place = fields,
                    }
                }
            }
            None if self.held.len() < HELD_MAX => {
                let extra = Some(Box::new(Value::Object(extra)));
                self.held.push(Delta { index, extra, ..Delta::default() });
            }
            None => crate::telemetry::skipped_packet(),
        }
    }

    /// Tells what is held.
    pub(super) fn flush(&mut self, out: &mut Vec<Event>) {
        out.extend(self.held.drain(..).map(Event::Delta));
    }
}

/// Adds a level, if there is anything at it.
pub(super) fn insert_level(extra: &mut Map<String, Value>, level: &str, fields: Map<String, Value>) {
    if !fields.is_empty() {
        extra.insert(level.into(), Value::Object(fields));
    }
}

/// The fields as JSON.
pub(super) fn values(rest: &Rest<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut dropped = Vec::new();
    for (name, value) in rest {
        if value.get().len() > EXTRA_FIELD_BYTES_MAX {
            dropped.push(Value::from(&**name));
            let head = head(value);
            if !head.is_empty() {
                fields.insert(name.to_string(), Value::Array(head));
            }
            continue;
        }
        fields.insert(name.to_string(), serde_json::from_str(value.get()).unwrap_or_default());
    }
    if !dropped.is_empty() {
        fields.insert("dropped".into(), Value::Array(dropped));
    }
    fields
}

/// As much of the beginning of a list as is kept: the first of many search results.
fn head(list: &RawValue) -> Vec<Value> {
    let mut bytes = 0;
    let entries: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap_or_default();
    let fit = entries.iter().take_while(|entry| {
        bytes += entry.get().len();
        bytes <= EXTRA_FIELD_BYTES_MAX
    });
    fit.map(|entry| serde_json::from_str(entry.get()).unwrap_or_default()).collect()
}
