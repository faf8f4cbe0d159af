//! Events as bytes, with their numbers, and how items begin and end.

use serde::Serialize;
use serde_json::Value;

use super::answer::{Body, Item, ItemId, Progress, State, TextPart};
use super::events::{Events, SUMMARY};
use super::object::write;

/// Place in the output: an item, and a part of it.
pub(super) type Place<'a> = (ItemId<'a>, Option<(&'static str, usize)>);

/// Writes events with their numbers, but for those that the reader does not want.
#[derive(Debug, Default)]
pub(super) struct EventWriter {
    /// The number of the next event.
    pub(super) next: u64,
    /// The last event that is not wanted.
    after: Option<u64>,
    /// Events that are held back until there is some of the answer.
    held: Option<Vec<u8>>,
}

impl EventWriter {
    pub(super) fn held() -> EventWriter {
        EventWriter { held: Some(Vec::new()), ..EventWriter::default() }
    }

    pub(super) fn after(after: Option<u64>) -> EventWriter {
        EventWriter { after, ..EventWriter::default() }
    }

    pub(super) fn silent() -> EventWriter {
        EventWriter::after(Some(u64::MAX))
    }

    /// Whether events are still held back.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Writes the events that were held back.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        if let Some(held) = self.held.take() {
            out.extend_from_slice(&held);
        }
    }

    /// Writes an event; `fields` writes each of its fields with a comma after it.
    pub(super) fn tell(&mut self, kind: &str, out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
        let number = self.next;
        self.next += 1;
        if self.after.is_some_and(|after| number <= after) {
            return;
        }
        let out = self.held.as_mut().unwrap_or(out);
        for piece in ["event: ", kind, "\ndata: {\"type\":\"", kind, "\","] {
            out.extend_from_slice(piece.as_bytes());
        }
        fields(out);
        out.extend_from_slice(b"\"sequence_number\":");
        write(&number, out);
        out.extend_from_slice(b"}\n\n");
    }

    /// An event with one field beside its place.
    pub(super) fn place(&mut self, kind: &str, place: Place<'_>, out: &mut Vec<u8>, field: (&str, &impl Serialize)) {
        self.tell(kind, out, |out| {
            EventWriter::write_place(place, out);
            EventWriter::write_field(field.0, field.1, out);
        });
    }

    /// Writes an event with a piece of text.
    pub(super) fn piece(&mut self, kind: &str, place: Place<'_>, text: &str, out: &mut Vec<u8>) {
        self.tell(kind, out, |out| {
            EventWriter::write_place(place, out);
            EventWriter::write_field("delta", text, out);
        });
    }

    pub(super) fn write_place((id, part): Place<'_>, out: &mut Vec<u8>) {
        use std::io::Write as _;
        let done = match part {
            Some((name, part)) => {
                write!(out, r#""item_id":"{id}","output_index":{},"{name}":{part},"#, id.at)
            }
            None => write!(out, r#""item_id":"{id}","output_index":{},"#, id.at),
        };
        done.expect("a Vec takes every byte");
    }

    pub(super) fn write_field(name: &str, value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write(value, out);
        out.push(b',');
    }
}

/// How items begin and end.
impl Events {
    /// Begins a new item, after ending those that it closes.
    pub(super) fn add(&mut self, body: Body, out: &mut Vec<u8>) -> usize {
        self.writer.release(out);
        let is_message = matches!(body, Body::Message { .. });
        for at in self.open.clone() {
            let ends = match &self.items[at].body {
                Body::Message { .. } => !is_message,
                Body::Call(call) => call.is_whole(),
                Body::Reasoning { .. } | Body::Whole(_) => true,
            };
            if ends {
                self.close(at, State::Done, out);
            }
        }
        let at = self.items.len();
        self.items.push(Item { body, state: State::Open });
        self.open.push(at);
        self.item_event("response.output_item.added", at, Progress::Begun, out);
        at
    }

    /// Writes an item that comes in one piece.
    pub(super) fn whole(&mut self, item: Value, out: &mut Vec<u8>) {
        let at = self.add(Body::Whole(item), out);
        self.close(at, State::Done, out);
    }

    /// Ends an item of the output.
    pub(super) fn close(&mut self, at: usize, state: State, out: &mut Vec<u8>) {
        self.open.retain(|open| *open != at);
        self.items[at].state = state;
        let id = self.items[at].id(&self.about.job, at);
        match &self.items[at].body {
            Body::Message { .. } => self.part_done(at, out),
            Body::Reasoning { text, .. } if !text.is_empty() => {
                let part = serde_json::json!({"type": "summary_text", "text": text});
                let (done, part_done) =
                    ("response.reasoning_summary_text.done", "response.reasoning_summary_part.done");
                self.writer.place(done, (id, SUMMARY), out, ("text", text));
                self.writer.place(part_done, (id, SUMMARY), out, ("part", &part));
            }
            Body::Call(call) => self.writer.tell("response.function_call_arguments.done", out, |out| {
                EventWriter::write_place((id, None), out);
                EventWriter::write_field("name", call.name.as_deref().unwrap_or_default(), out);
                EventWriter::write_field("arguments", &call.arguments, out);
            }),
            Body::Reasoning { .. } | Body::Whole(_) => {}
        }
        self.item_event("response.output_item.done", at, Progress::Sent, out);
    }

    /// The end of a message's last part, if it has one.
    pub(super) fn part_done(&mut self, at: usize, out: &mut Vec<u8>) {
        let id = self.items[at].id(&self.about.job, at);
        let Body::Message { parts, .. } = &self.items[at].body else { return };
        let Some(part) = parts.last() else { return };
        let kind = if part.is_refusal { "response.refusal.done" } else { "response.output_text.done" };
        let place = (id, Some(("content_index", parts.len() - 1)));
        self.writer.tell(kind, out, |out| {
            EventWriter::write_place(place, out);
            EventWriter::write_field(part.field(), &part.text, out);
            if !part.is_refusal {
                EventWriter::write_field("logprobs", &part.logprobs, out);
            }
        });
        let json = part.json(Progress::Sent);
        self.writer.place("response.content_part.done", place, out, ("part", &json));
    }

    /// The beginning of a part.
    pub(super) fn part_event(&mut self, kind: &str, at: usize, part: &TextPart, out: &mut Vec<u8>) {
        let id = self.items[at].id(&self.about.job, at);
        let Body::Message { parts, .. } = &self.items[at].body else { return };
        let place = (id, Some(("content_index", parts.len())));
        self.writer.place(kind, place, out, ("part", &part.json(Progress::Begun)));
    }

    fn item_event(&mut self, kind: &str, at: usize, progress: Progress, out: &mut Vec<u8>) {
        let item: Value = self.items[at].json(&self.about.job, at, progress);
        self.writer.tell(kind, out, |out| {
            EventWriter::write_field("output_index", &at, out);
            EventWriter::write_field("item", &item, out);
        });
    }
}
