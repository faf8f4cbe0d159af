//! From the bytes of a chat completion, streamed or whole, to the events of a job.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::chunk::{self, Choice, Chunk, Delta as ChunkDelta, Rest};
use super::tools::Calls;
use super::usage;
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Code, Delta, Event, Failure, Part, Usage};
use crate::provider::family::error;
use crate::provider::{Decoder, Finish, Packet, Step};

/// Answers (`n`) that one reply may hold.
const CHOICES_MAX: usize = 128;
/// Bytes of one unknown field that are kept; larger ones are named in `extra.dropped`.
const EXTRA_FIELD_BYTES_MAX: usize = 8 * 1024;
/// Events without text that wait for the next one with some.
const HELD_MAX: usize = 64;
/// Unknown fields of chunks whose last value is remembered, so that only changes are told.
const REMEMBERED_MAX: usize = 32;

/// Decodes one reply, streamed or whole.
#[derive(Default)]
pub struct ChatDecoder {
    calls: Calls,
    /// Finish reason per choice, in order of appearance.
    choices: Vec<(u32, Option<Box<str>>)>,
    usage: Option<Usage>,
    /// An error that came together with choices: usage may still follow.
    failure: Option<Failure>,
    done: bool,
    /// Unknown fields without a text to ride on: they must not count as output by themselves.
    held: Vec<Delta>,
    remembered: Vec<(Box<str>, Box<str>)>,
}

impl Decoder for ChatDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        if self.done {
            return Ok(Step::Done);
        }
        match packet {
            Packet::Sse { event, data } => self.on_event(event, data, out),
            Packet::Line(body) | Packet::Whole(body) | Packet::Frame { data: body, .. } => self.on_whole(body, out),
        }
    }

    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let all_finished = !self.choices.is_empty() && self.choices.iter().all(|(_, reason)| reason.is_some());
        if !(all_finished || (self.done && !self.choices.is_empty())) {
            return Err(truncated("the provider's answer ended before its end"));
        }
        let (reason, native) = self.finish_reason(out)?;
        self.flush(out);
        Ok(Finish { reason, native, usage: self.usage.clone() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.clone()
    }
}

impl ChatDecoder {
    fn on_event(&mut self, event: &str, data: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return Ok(Step::Done);
        }
        if event == "error" {
            let is_broken = data.is_empty()
                || (data.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(data).is_err());
            return Err(if is_broken { malformed() } else { error::in_reply(data) });
        }
        if data.is_empty() {
            return Ok(Step::More);
        }
        let is_named = !matches!(event, "" | "message");
        let chunk: Chunk<'_> = match serde_json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(_) if is_named => Chunk::default(),
            Err(_) => return Err(malformed()),
        };
        if is_named && chunk.choices.is_none() && chunk.usage.is_none() && chunk.error.is_none() {
            crate::telemetry::skipped_packet();
            return Ok(Step::More);
        }
        self.on_chunk(chunk, data, out)?;
        Ok(Step::More)
    }

    fn on_whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Err(truncated("the provider gave an empty answer"));
        }
        if body.starts_with(b"<") {
            return Err(error::in_reply(body));
        }
        let chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|_| malformed())?;
        if chunk.choices.is_none() {
            return Err(error::in_reply(body));
        }
        self.on_chunk(chunk, body, out)?;
        self.done = true;
        Ok(Step::Done)
    }

    fn on_chunk(&mut self, chunk: Chunk<'_>, data: &[u8], out: &mut Vec<Event>) -> Result<(), Failure> {
        if let Some(said) = chunk.usage.or(chunk.groq.as_ref().and_then(|groq| groq.usage)) {
            self.usage = usage::read(said).or_else(|| self.usage.take());
        }
        let choices = chunk.choices.unwrap_or_default();
        let groq_error = chunk.groq.as_ref().is_some_and(|groq| groq.error.is_some());
        let is_error = chunk.is_error || chunk.error.is_some() || choices.iter().any(|choice| choice.error.is_some());
        if is_error || (groq_error && choices.is_empty()) {
            let failure = error::in_reply(data);
            if choices.is_empty() {
                return Err(failure);
            }
            self.failure.get_or_insert(failure);
        }
        if self.failure.is_some() {
            // What stands beside an error is not part of the answer.
            return Ok(());
        }
        let before = out.len();
        for (position, choice) in choices.iter().enumerate() {
            self.on_choice(position, choice, out)?;
        }
        self.on_rest(&chunk.rest, before, out);
        Ok(())
    }

    fn on_choice(&mut self, position: usize, choice: &Choice<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        let index = choice.index.unwrap_or(u32::try_from(position).unwrap_or(u32::MAX));
        let place = self.place(index)?;
        let first = out.len();
        let no_delta = ChunkDelta::default();
        let delta = choice.delta.as_ref().unwrap_or(&no_delta);
        self.on_reasoning(index, delta, out);
        self.on_content(index, delta.content.or(choice.text.filter(|_| choice.delta.is_none())), out);
        if let Some(text) = chunk::said(delta.refusal) {
            self.push_text(Part::Refusal, index, &text, out);
        }
        let mut tool_rest = Vec::new();
        for call in delta.tool_calls.iter().flatten() {
            self.on_tool_call(index, call, &mut tool_rest, out)?;
        }
        if let Some(function) = &delta.function_call {
            // The form before tools: one call, without an id.
            let function = chunk::Function { name: function.name, arguments: function.arguments };
            let call = chunk::ToolCall { index: Some(0), function: Some(function), ..chunk::ToolCall::default() };
            self.on_tool_call(index, &call, &mut tool_rest, out)?;
        }
        if let Some(reason) = chunk::said(choice.finish_reason) {
            self.choices[place].1 = Some(reason.into());
        }
        let has_rest = !(delta.rest.is_empty() && choice.rest.is_empty() && tool_rest.is_empty());
        if has_rest {
            let mut extra = Map::new();
            let mut of_delta = values(&delta.rest);
            if !tool_rest.is_empty() {
                of_delta.insert("tool_calls".into(), Value::Array(tool_rest));
            }
            insert_level(&mut extra, "delta", of_delta);
            insert_level(&mut extra, "choice", values(&choice.rest));
            self.attach(index, extra, first, out);
        }
        Ok(())
    }

    /// Where the finish reason of a choice is kept.
    fn place(&mut self, index: u32) -> Result<usize, Failure> {
        if let Some(place) = self.choices.iter().position(|(known, _)| *known == index) {
            return Ok(place);
        }
        if self.choices.len() == CHOICES_MAX {
            return Err(truncated("the provider gives more answers than anybody asks for"));
        }
        self.choices.push((index, None));
        Ok(self.choices.len() - 1)
    }

    fn on_reasoning(&mut self, index: u32, delta: &ChunkDelta<'_>, out: &mut Vec<Event>) {
        let (first, second) = (chunk::said(delta.reasoning_content), chunk::said(delta.reasoning));
        // Some send the same text under both names.
        let second = second.filter(|second| first.as_ref() != Some(second));
        for text in [first, second].into_iter().flatten() {
            self.push_text(Part::Reasoning, index, &text, out);
        }
    }

    fn on_content(&mut self, index: u32, content: Option<&RawValue>, out: &mut Vec<Event>) {
        let Some(content) = content else { return };
        if let Some(text) = chunk::text(content) {
            return self.push_text(Part::Text, index, &text, out);
        }
        // Mistral's list of parts. Rare enough for a tree.
        let parts: Value = serde_json::from_str(content.get()).unwrap_or_default();
        let single = std::slice::from_ref(&parts);
        for part in parts.as_array().map_or(single, Vec::as_slice) {
            self.on_part(index, part, out);
        }
    }

    fn on_part(&mut self, index: u32, part: &Value, out: &mut Vec<Event>) {
        match (part["type"].as_str(), &part["text"], &part["thinking"]) {
            (Some("text" | "output_text"), Value::String(text), _) => self.push_text(Part::Text, index, text, out),
            (Some("refusal"), ..) if part["refusal"].is_string() => {
                self.push_text(Part::Refusal, index, part["refusal"].as_str().unwrap_or(""), out);
            }
            (Some("thinking"), _, Value::String(text)) => self.push_text(Part::Reasoning, index, text, out),
            (Some("thinking"), _, Value::Array(pieces)) => {
                for text in pieces.iter().filter_map(|piece| piece["text"].as_str()) {
                    self.push_text(Part::Reasoning, index, text, out);
                }
            }
            _ => {
                let mut extra = Map::new();
                extra.insert("delta".into(), serde_json::json!({"content": [part]}));
                self.attach(index, extra, out.len(), out);
            }
        }
    }

    fn push_text(&mut self, part: Part, index: u32, mut text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let mut extra = match &mut self.held[..] {
            [only] if only.index == index => only.extra.take(),
            _ => None,
        };
        self.held.retain(|held| held.extra.is_some());
        self.flush(out);
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
            out.push(Event::Delta(Delta { part, index, text: piece.to_owned(), extra: extra.take() }));
            text = rest;
        }
    }

    fn on_tool_call(
        &mut self,
        choice: u32,
        call: &chunk::ToolCall<'_>,
        rest: &mut Vec<Value>,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let Some((number, event)) = self.calls.take(choice, call) else {
            return Err(truncated("the provider makes more tool calls than anybody can answer"));
        };
        if let Some(mut event) = event {
            self.flush(out);
            let arguments = std::mem::take(&mut event.arguments);
            let (first, mut more) = arguments.split_at(arguments.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
            event.arguments = first.to_owned();
            out.push(Event::ToolCall(event));
            while !more.is_empty() {
                let (piece, left) = more.split_at(more.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
                let piece = crate::job::ToolCall { index: number, arguments: piece.to_owned(), ..Default::default() };
                out.push(Event::ToolCall(piece));
                more = left;
            }
        }
        if !call.rest.is_empty() {
            let mut fields = values(&call.rest);
            fields.insert("index".into(), number.into());
            rest.push(Value::Object(fields));
        }
        Ok(())
    }

    /// Fields of the whole chunk: told when they come and when they change.
    fn on_rest(&mut self, rest: &Rest<'_>, before: usize, out: &mut [Event]) {
        let mut news: Rest<'_> = Vec::new();
        for (name, value) in rest {
            match self.remembered.iter().position(|(known, _)| **known == **name) {
                Some(at) if *self.remembered[at].1 == *value.get() => continue,
                Some(at) => self.remembered[at].1 = value.get().into(),
                None if self.remembered.len() < REMEMBERED_MAX && value.get().len() <= EXTRA_FIELD_BYTES_MAX => {
                    self.remembered.push(((&**name).into(), value.get().into()));
                }
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

    /// Puts extra fields on the first text of this packet, else holds them for the next output.
    fn attach(&mut self, index: u32, extra: Map<String, Value>, first: usize, out: &mut [Event]) {
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

    fn flush(&mut self, out: &mut Vec<Event>) {
        out.extend(self.held.drain(..).map(Event::Delta));
    }

    /// The first answer's finish reason in our vocabulary, and its own word if that is another; those
    /// of further answers are kept as extra.
    fn finish_reason(&mut self, out: &mut [Event]) -> Result<(Box<str>, Option<Box<str>>), Failure> {
        self.choices.sort_by_key(|(index, _)| *index);
        let mut answer = None;
        for (position, (index, native)) in std::mem::take(&mut self.choices).into_iter().enumerate() {
            let native = native.unwrap_or_else(|| "unknown".into());
            let reason = match meaning(&native)? {
                "stop" if self.calls.any(index) => "tool_calls",
                reason => reason,
            };
            if position > 0 {
                let mut extra = Map::new();
                extra.insert("choice".into(), serde_json::json!({"finish_reason": native}));
                self.attach(index, extra, out.len(), out);
            } else {
                let other = (reason != &*native).then(|| native.clone());
                answer = Some((Box::<str>::from(reason), other));
            }
        }
        answer.ok_or_else(|| truncated("the provider's answer ended before its end"))
    }
}

/// One vocabulary for why an answer ended.
fn meaning(native: &str) -> Result<&str, Failure> {
    Ok(match native {
        "stop" | "eos" | "stop_sequence" | "end_turn" => "stop",
        "length" | "max_tokens" | "model_length" => "length",
        "tool_calls" | "tool_call" | "function_call" | "tool_use" => "tool_calls",
        "content_filter" | "sensitive" => "content_filter",
        // The provider gave up in mid-answer and says so politely.
        "error" | "insufficient_system_resource" | "network_error" => {
            let mut failure = Failure::new(Code::ProviderUnavailable, format!("the provider gave up: {native}"));
            failure.provider_code = Some(native.into());
            return Err(failure.of_the_target());
        }
        other => other,
    })
}

fn insert_level(extra: &mut Map<String, Value>, level: &str, fields: Map<String, Value>) {
    if !fields.is_empty() {
        extra.insert(level.into(), Value::Object(fields));
    }
}

fn values(rest: &Rest<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut dropped = Vec::new();
    for (name, value) in rest {
        if value.get().len() > EXTRA_FIELD_BYTES_MAX {
            dropped.push(Value::from(&**name));
            continue;
        }
        fields.insert(name.to_string(), serde_json::from_str(value.get()).unwrap_or_default());
    }
    if !dropped.is_empty() {
        fields.insert("dropped".into(), Value::Array(dropped));
    }
    fields
}

fn truncated(message: &'static str) -> Failure {
    Failure::new(Code::ProviderTruncated, message).of_the_target()
}

fn malformed() -> Failure {
    truncated("the provider sent a packet that is not JSON of its own format")
}
