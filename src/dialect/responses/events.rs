//! An answer as the events of a response, record by record.
//!
//! Owns their grammar and their numbers, which are dense from 0 and the same at every reading: a reader that
//! has seen some gets the rest. An item closes before one of another kind opens; tool calls close
//! when their arguments are whole, since a provider may send several at once.
//! Reasoning that comes late is an item of its own at the end. An answer that restarts
//! cannot be written once part of it was: then the stream breaks, and only the whole object has it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Body, Call, Item, Progress, State, TextPart, annotation, list, media};
use super::event_writer::EventWriter;
use super::object::{Response, ResponseMeta, write};
use crate::dialect::openai::{Envelope, KEEP_ALIVE, level};
use crate::dialect::render::{Render, RenderState, Served};
use crate::job::{Code, Delta, Event, Failure, Part, ToolCall};
use crate::wire::collect;
use crate::wire::record::{BodyRef, RecordRef};

/// Renders the records of one job as events of a response.
#[derive(Debug)]
pub struct Events {
    pub(super) about: ResponseMeta,
    model: Box<str>,
    pub(super) items: Vec<Item>,
    /// Those of `items` that are open, in order.
    pub(super) open: Vec<usize>,
    /// Reasoning that came while another item was open.
    late: Vec<Value>,
    /// What must come back with calls that are not begun yet.
    contents: BTreeMap<u32, Value>,
    /// Whether an attempt was made.
    is_begun: bool,
    end: Option<Event>,
    served: Served,
    pub(super) writer: EventWriter,
    /// Whether only the object is wanted: then an answer that begins anew is a new answer.
    is_whole: bool,
}

impl Render for Events {
    const KEEP_ALIVE: &'static [u8] = KEEP_ALIVE;

    fn push(&mut self, record: RecordRef<'_>, out: &mut Vec<u8>) -> RenderState {
        match record.body {
            BodyRef::Delta { part, index, text } => self.text((part, index), &text, Beside::default(), out),
            BodyRef::Event(event) => {
                self.served.take(&event);
                return self.event(event, out);
            }
        }
        RenderState::More
    }

    fn has_begun(&self) -> bool {
        !self.writer.holds()
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        self.writer.release(out);
    }

    fn served(&self) -> &Served {
        &self.served
    }

    fn error(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        write(&Envelope::new(failure), out);
        out.extend_from_slice(b"\n\n");
    }
}

/// Fields that come beside a piece of text.
#[derive(Default)]
struct Beside {
    logprobs: Vec<Value>,
    phase: Option<Value>,
}

impl Events {
    /// Events for the submitter: nothing is written before there is some of the answer.
    #[must_use]
    pub fn of_submitter(about: ResponseMeta) -> Events {
        Events::new(about, EventWriter::held())
    }

    /// Events for a reader, from the event after `after`.
    #[must_use]
    pub fn of_reader(about: ResponseMeta, after: Option<u64>) -> Events {
        Events::new(about, EventWriter::after(after))
    }

    /// For the whole object only: no event is written.
    #[must_use]
    pub fn of_whole(about: ResponseMeta) -> Events {
        Events { is_whole: true, ..Events::new(about, EventWriter::silent()) }
    }

    fn new(about: ResponseMeta, writer: EventWriter) -> Events {
        Events {
            about,
            model: "".into(),
            items: Vec::new(),
            open: Vec::new(),
            late: Vec::new(),
            contents: BTreeMap::new(),
            is_begun: false,
            end: None,
            served: Served::default(),
            writer,
            is_whole: false,
        }
    }

    /// Number of events so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.writer.next
    }

    /// The terminal event, once there is one.
    #[must_use]
    pub fn end(&self) -> Option<&Event> {
        self.end.as_ref()
    }

    /// The response as far as it is, as JSON.
    #[must_use]
    pub fn object(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.response().write(&mut out);
        out
    }

    /// The items of the output that were sent whole or in part.
    #[must_use]
    pub fn output(&self) -> Vec<Value> {
        (0..).zip(&self.items).map(|(at, item)| item.json(&self.about.job, at, Progress::Sent)).collect()
    }

    fn response(&self) -> Response<'_> {
        Response {
            about: &self.about,
            model: &self.model,
            items: &self.items,
            is_begun: self.is_begun,
            end: self.end.as_ref(),
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<u8>) -> RenderState {
        match event {
            Event::Accepted(accepted) => {
                self.model = accepted.model.as_str().into();
                self.stage("response.created", out);
                if self.about.is_in_background() {
                    self.stage("response.queued", out);
                }
            }
            Event::Attempt(attempt) => {
                self.model = attempt.model;
                if !std::mem::replace(&mut self.is_begun, true) {
                    self.stage("response.in_progress", out);
                }
            }
            Event::Delta(piece) => self.delta(piece, out),
            Event::ToolCall(piece) => self.tool_call(piece, out),
            Event::Output(output) => self.whole(media(&output), out),
            Event::Restarted(_) if self.is_whole => {
                self.items.clear();
                self.open.clear();
                self.late.clear();
                self.contents.clear();
            }
            Event::Restarted(_) if !self.items.is_empty() => {
                let failure = begins_anew();
                self.error(&failure, out);
                return RenderState::Broken(failure);
            }
            event if event.terminal().is_some() => return self.ended(event, out),
            _ => {}
        }
        RenderState::More
    }

    /// An event with the whole response.
    fn stage(&mut self, kind: &'static str, out: &mut Vec<u8>) {
        let mut writer = std::mem::take(&mut self.writer);
        writer.tell(kind, out, |out| {
            out.extend_from_slice(b"\"response\":");
            self.response().write(out);
            out.push(b',');
        });
        self.writer = writer;
    }

    fn ended(&mut self, end: Event, out: &mut Vec<u8>) -> RenderState {
        let failure = collect::failure_of(&end);
        if let Some(failure) = &failure
            && self.writer.holds()
        {
            self.end = Some(end);
            return RenderState::Broken(failure.clone());
        }
        if !self.late.is_empty() && failure.is_none() {
            let details = std::mem::take(&mut self.late);
            let at = self.add(Body::Reasoning { text: String::new(), details }, out);
            self.close(at, State::Done, out);
        }
        self.end = Some(end);
        let status = self.response().status();
        if failure.is_none() {
            for at in std::mem::take(&mut self.open) {
                let is_whole = matches!(&self.items[at].body, Body::Call(call) if call.is_whole());
                self.close(at, if status == "completed" || is_whole { State::Done } else { State::Cut }, out);
            }
        }
        self.writer.release(out);
        let kind = match status {
            "completed" => "response.completed",
            "incomplete" => "response.incomplete",
            // Their libraries know no event for one that was cancelled; its status says that it was.
            _ => "response.failed",
        };
        self.stage(kind, out);
        RenderState::Done
    }

    /// Writes a piece of text, if any, and the extra fields beside it.
    fn delta(&mut self, piece: Delta, out: &mut Vec<u8>) {
        let mut extra = piece.extra.map(|extra| *extra).unwrap_or_default();
        let (mut delta, mut choice) = (level(&mut extra, "delta"), level(&mut extra, "choice"));
        let logprobs = match choice.remove("logprobs") {
            Some(Value::Object(mut fields)) => list(&mut fields, "content"),
            _ => Vec::new(),
        };
        let beside = Beside { logprobs, phase: delta.remove("phase") };
        self.text((piece.part, piece.index), &piece.text, beside, out);
        self.details(list(&mut delta, "reasoning_details"), out);
        for mut call in list(&mut delta, "tool_calls") {
            let index = call["index"].as_u64().and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
            if let Some(content) = call.get_mut("extra_content").map(Value::take) {
                self.content_of_call(index, content);
            }
        }
        for fields in list(&mut delta, "annotations") {
            self.annotation(annotation(fields), out);
        }
        for item in list(&mut delta, "output") {
            self.whole(item, out);
        }
    }

    /// Most events are one of these, so they are written as they are.
    fn text(&mut self, (part, index): (Part, u32), text: &str, beside: Beside, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if part == Part::Reasoning {
            return self.reasoning(text, out);
        }
        let is_refusal = part == Part::Refusal;
        let at = self.message(index, beside.phase, out);
        let Body::Message { parts, .. } = &self.items[at].body else { return };
        if parts.last().is_none_or(|last| last.is_refusal != is_refusal) {
            self.part_done(at, out);
            let part = TextPart { is_refusal, ..TextPart::default() };
            self.part_event("response.content_part.added", at, &part, out);
            let Body::Message { parts, .. } = &mut self.items[at].body else { return };
            parts.push(part);
        }
        let id = self.items[at].id(&self.about.job, at);
        let kind = if is_refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        let Body::Message { parts, .. } = &self.items[at].body else { return };
        let place = (id, Some(("content_index", parts.len() - 1)));
        self.writer.tell(kind, out, |out| {
            EventWriter::write_place(place, out);
            EventWriter::write_field("delta", text, out);
            if !is_refusal {
                EventWriter::write_field("logprobs", &beside.logprobs, out);
            }
        });
        let Body::Message { parts, .. } = &mut self.items[at].body else { return };
        if let Some(part) = parts.last_mut() {
            part.text.push_str(text);
            part.logprobs.extend(beside.logprobs);
        }
    }

    fn reasoning(&mut self, piece: &str, out: &mut Vec<u8>) {
        let open = self.open.iter().copied().find(|at| matches!(self.items[*at].body, Body::Reasoning { .. }));
        let at = match open {
            Some(at) => at,
            None => self.add(Body::Reasoning { text: String::new(), details: Vec::new() }, out),
        };
        let id = self.items[at].id(&self.about.job, at);
        let Body::Reasoning { text, .. } = &self.items[at].body else { return };
        if text.is_empty() {
            let part = json!({"type": "summary_text", "text": ""});
            self.writer.place("response.reasoning_summary_part.added", (id, SUMMARY), out, ("part", &part));
        }
        self.writer.piece("response.reasoning_summary_text.delta", (id, SUMMARY), piece, out);
        let Body::Reasoning { text, .. } = &mut self.items[at].body else { return };
        text.push_str(piece);
    }

    /// What must come back so that the model can go on from its reasoning.
    fn details(&mut self, details: Vec<Value>, out: &mut Vec<u8>) {
        if details.is_empty() {
            return;
        }
        let at = match self.open.last() {
            None => self.add(Body::Reasoning { text: String::new(), details: Vec::new() }, out),
            Some(at) => *at,
        };
        match &mut self.items[at].body {
            Body::Reasoning { details: known, .. } => known.extend(details),
            _ => self.late.extend(details),
        }
    }

    fn message(&mut self, index: u32, phase: Option<Value>, out: &mut Vec<u8>) -> usize {
        let is_it = |at: &usize| matches!(self.items[*at].body, Body::Message { index: known, .. } if known == index);
        match self.open.iter().copied().rfind(is_it) {
            Some(at) => at,
            None => self.add(Body::Message { index, phase, parts: Vec::new() }, out),
        }
    }

    fn tool_call(&mut self, piece: ToolCall, out: &mut Vec<u8>) {
        let is_it = |item: &Item| matches!(&item.body, Body::Call(call) if call.index == piece.index);
        let at = match self.items.iter().rposition(is_it) {
            Some(at) => at,
            None => {
                let extra_content = self.contents.remove(&piece.index);
                let (call_id, name) = (piece.call_id, piece.name);
                let call = Call { index: piece.index, call_id, name, extra_content, ..Call::default() };
                self.add(Body::Call(call), out)
            }
        };
        if piece.arguments.is_empty() {
            return;
        }
        // What follows arguments that were whole is blank, or no JSON at all: it is in the object.
        if self.items[at].state == State::Open {
            let id = self.items[at].id(&self.about.job, at);
            let kind = "response.function_call_arguments.delta";
            self.writer.piece(kind, (id, None), &piece.arguments, out);
        }
        if let Body::Call(call) = &mut self.items[at].body {
            call.arguments.push_str(&piece.arguments);
        }
    }

    fn content_of_call(&mut self, index: u32, content: Value) {
        let calls = self.items.iter_mut().rev().filter_map(|item| match &mut item.body {
            Body::Call(call) => Some(call),
            _ => None,
        });
        match calls.into_iter().find(|call| call.index == index) {
            Some(call) => call.extra_content = Some(content),
            None => drop(self.contents.insert(index, content)),
        }
    }

    fn annotation(&mut self, annotation: Value, out: &mut Vec<u8>) {
        let Some(at) = self.open.last().copied() else { return };
        let id = self.items[at].id(&self.about.job, at);
        let Body::Message { parts, .. } = &mut self.items[at].body else { return };
        let place = parts.len().saturating_sub(1);
        let Some(part) = parts.last_mut().filter(|part| !part.is_refusal) else { return };
        let number = part.annotations.len();
        let place = (id, Some(("content_index", place)));
        self.writer.tell("response.output_text.annotation.added", out, |out| {
            EventWriter::write_place(place, out);
            EventWriter::write_field("annotation_index", &number, out);
            EventWriter::write_field("annotation", &annotation, out);
        });
        part.annotations.push(annotation);
    }
}

/// All reasoning is one part.
pub(super) const SUMMARY: Option<(&str, usize)> = Some(("summary_index", 0));

fn begins_anew() -> Failure {
    let message = "the answer begins anew, which this stream cannot tell: retrieve the response without stream";
    Failure::new(Code::ProviderTruncated, message)
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
