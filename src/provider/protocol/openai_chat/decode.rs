//! From the bytes of a chat completion, streamed or whole, to the events of a job.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::chunk::{self, Choice, Chunk, Delta as ChunkDelta};
use super::encode::fields;
use super::extra::{Extras, insert_level, values};
use super::finish::meaning;
use super::rules::Rules;
use super::tools::Calls;
use super::usage;
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Bill, Delta, Event, Failure, Job, Part, Usage};
use crate::provider::protocol::emit;
use crate::provider::protocol::error;
use crate::provider::{Decoder, Finish, Packet, Step};

/// Answers (`n`) that one reply may hold.
const CHOICES_MAX: usize = 128;

/// Decodes one reply, streamed or whole.
pub struct ChatDecoder {
    rules: &'static Rules,
    calls: Calls,
    /// Answers of the reply, in order of appearance.
    answers: Vec<Answer>,
    usage: Option<Usage>,
    bill: Bill,
    /// An error that came together with choices: usage may still follow.
    failure: Option<Failure>,
    done: bool,
    extras: Extras,
}

impl Default for ChatDecoder {
    fn default() -> ChatDecoder {
        ChatDecoder::by(&Rules::PLAIN)
    }
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
        let all_finished = !self.answers.is_empty() && self.answers.iter().all(|answer| answer.finish.is_some());
        if !(all_finished || (self.done && !self.answers.is_empty())) {
            return Err(emit::truncated());
        }
        for place in 0..self.answers.len() {
            self.on_finish(place, out);
        }
        let (reason, native) = self.finish_reason(out)?;
        self.extras.flush(out);
        Ok(Finish { reason, native, usage: self.usage.clone() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn bill(&self) -> Bill {
        self.bill.clone()
    }
}

impl ChatDecoder {
    /// Builds a decoder for the reply of a vendor with these rules.
    #[must_use]
    pub fn by(rules: &'static Rules) -> ChatDecoder {
        ChatDecoder {
            rules,
            calls: Calls::default(),
            answers: Vec::new(),
            usage: None,
            bill: Bill::default(),
            failure: None,
            done: false,
            extras: Extras::default(),
        }
    }

    /// The tier that the job asks for is the one it is billed at, unless the reply says another.
    #[must_use]
    pub fn for_job(mut self, job: &Job) -> ChatDecoder {
        if job.input.get().contains("\"service_tier\"") {
            let raw = fields(&job.input).unwrap_or_default().0;
            let tier = raw.iter().rev().find(|(name, _)| name == "service_tier");
            self.bill.service_tier = tier.and_then(|(_, tier)| chunk::some_text(Some(tier))).map(Into::into);
        }
        self
    }

    fn on_event(&mut self, event: &str, data: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return Ok(Step::Done);
        }
        if event == "error" {
            let is_broken = data.is_empty()
                || (data.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(data).is_err());
            return Err(if is_broken { emit::malformed() } else { error::in_reply_by(self.rules.errors, data) });
        }
        if data.is_empty() {
            return Ok(Step::More);
        }
        let is_named = !matches!(event, "" | "message");
        let chunk: Chunk<'_> = match serde_json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(_) if is_named => Chunk::default(),
            Err(_) => return Err(emit::malformed()),
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
            return Err(emit::broken("the provider gave an empty answer"));
        }
        if body.starts_with(b"<") {
            return Err(error::in_reply_by(self.rules.errors, body));
        }
        let chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|_| emit::malformed())?;
        if chunk.choices.is_none() {
            return Err(error::in_reply_by(self.rules.errors, body));
        }
        self.on_chunk(chunk, body, out)?;
        self.done = true;
        Ok(Step::Done)
    }

    fn on_chunk(&mut self, chunk: Chunk<'_>, data: &[u8], out: &mut Vec<Event>) -> Result<(), Failure> {
        let choices = chunk.choices.unwrap_or_default();
        let elsewhere = || chunk.groq.as_ref().and_then(|groq| groq.usage).or(choices.iter().find_map(|one| one.usage));
        if let Some(raw) = chunk.usage.or_else(elsewhere) {
            self.usage = usage::read(raw, &self.rules.reply, &mut self.bill).or_else(|| self.usage.take());
        }
        let groq_error = chunk.groq.as_ref().is_some_and(|groq| groq.error.is_some());
        let is_error = chunk.is_error || chunk.error.is_some() || choices.iter().any(|choice| choice.error.is_some());
        if is_error || (groq_error && choices.is_empty()) {
            let failure = error::in_reply_by(self.rules.errors, data);
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
        let tier = chunk.rest.iter().find(|(name, _)| name == "service_tier");
        if let Some(tier) = tier.and_then(|(_, tier)| chunk::text(tier))
            && self.bill.service_tier.as_deref() != Some(&*tier)
        {
            self.bill.service_tier = Some(tier.into());
        }
        self.extras.on_chunk(&chunk.rest, before, out);
        Ok(())
    }

    fn on_choice(&mut self, position: usize, choice: &Choice<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        let index = choice.index.unwrap_or(u32::try_from(position).unwrap_or(u32::MAX));
        let place = self.place(index)?;
        let first = out.len();
        let no_delta = ChunkDelta::default();
        let is_repeated = choice.is_message && self.answers[place].is_streamed;
        let delta = choice.delta.as_ref().filter(|_| !is_repeated).unwrap_or(&no_delta);
        self.answers[place].is_streamed |= choice.delta.is_some() && !choice.is_message;
        self.on_reasoning(place, delta, out);
        self.on_content(place, delta.content.or(choice.text.filter(|_| choice.delta.is_none())), out);
        if let Some(text) = chunk::some_text(delta.refusal) {
            self.push_text(Part::Refusal, index, &text, out);
        }
        let mut tool_rest = Vec::new();
        for call in delta.tool_calls.iter().flatten() {
            self.on_tool_call(place, call, &mut tool_rest, out)?;
        }
        if let Some(function) = &delta.function_call {
            // The form before tools: one call, without an id.
            let function = chunk::Function { name: function.name, arguments: function.arguments };
            let call = chunk::ToolCall { index: Some(0), function: Some(function), ..chunk::ToolCall::default() };
            self.on_tool_call(place, &call, &mut tool_rest, out)?;
        }
        if let Some(reason) = chunk::some_text(choice.finish_reason) {
            self.answers[place].finish = Some(reason.into());
            self.on_finish(place, out);
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
            self.extras.attach(index, extra, first, out);
        }
        Ok(())
    }

    /// Where an answer is kept.
    fn place(&mut self, index: u32) -> Result<usize, Failure> {
        if let Some(place) = self.answers.iter().position(|answer| answer.index == index) {
            return Ok(place);
        }
        if self.answers.len() == CHOICES_MAX {
            return Err(emit::broken("the provider gives more answers than a job can ask for"));
        }
        self.answers.push(Answer::new(index, &self.rules.reply));
        Ok(self.answers.len() - 1)
    }

    fn on_reasoning(&mut self, place: usize, delta: &ChunkDelta<'_>, out: &mut Vec<Event>) {
        let index = self.answers[place].index;
        let (first, second) = (chunk::some_text(delta.reasoning_content), chunk::some_text(delta.reasoning));
        // Some send the same text under both names.
        let second = second.filter(|second| first.as_ref() != Some(second));
        let details = delta.reasoning_details.map(|details| self.answers[place].details.take(details));
        // And some as details only.
        let third = details.filter(|text| !text.is_empty() && first.is_none() && second.is_none());
        for text in [first, second, third.map(Into::into)].into_iter().flatten() {
            self.push_text(Part::Reasoning, index, &text, out);
        }
    }

    /// No more text comes: what may have become a tag is text, and what must be sent back is whole.
    fn on_finish(&mut self, place: usize, out: &mut Vec<Event>) {
        self.end_tags(place, out);
        let answer = &mut self.answers[place];
        let index = answer.index;
        for details in answer.details.finish() {
            let mut extra = Map::new();
            insert_level(&mut extra, "delta", details);
            self.extras.attach(index, extra, out.len(), out);
        }
    }

    fn end_tags(&mut self, place: usize, out: &mut Vec<Event>) {
        if self.answers[place].think.is_off() {
            return;
        }
        let mut parts = Vec::new();
        self.answers[place].think.finish(&mut parts);
        let index = self.answers[place].index;
        for (part, text) in parts {
            self.push_text(part, index, &text, out);
        }
    }

    /// Text of the answer, which may hold its reasoning in tags.
    fn on_text(&mut self, place: usize, text: &str, out: &mut Vec<Event>) {
        let answer = &mut self.answers[place];
        let index = answer.index;
        if answer.think.is_off() {
            return self.push_text(Part::Text, index, text, out);
        }
        let mut parts = Vec::new();
        answer.think.feed(text, &mut parts);
        for (part, text) in parts {
            self.push_text(part, index, &text, out);
        }
    }

    fn on_content(&mut self, place: usize, content: Option<&RawValue>, out: &mut Vec<Event>) {
        let Some(content) = content else { return };
        if let Some(text) = chunk::text(content) {
            return self.on_text(place, &text, out);
        }
        // Mistral's list of parts. Rare enough for a tree.
        let parts: Value = serde_json::from_str(content.get()).unwrap_or_default();
        let single = std::slice::from_ref(&parts);
        for part in parts.as_array().map_or(single, Vec::as_slice) {
            self.on_part(place, part, out);
        }
    }

    fn on_part(&mut self, place: usize, part: &Value, out: &mut Vec<Event>) {
        let index = self.answers[place].index;
        match (part["type"].as_str(), &part["text"], &part["thinking"]) {
            (Some("text" | "output_text"), Value::String(text), _) => self.on_text(place, text, out),
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
                self.extras.attach(index, extra, out.len(), out);
            }
        }
    }

    fn push_text(&mut self, part: Part, index: u32, mut text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let mut extra = self.extras.ride(index, out);
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
            out.push(Event::Delta(Delta { part, index, text: piece.to_owned(), extra: extra.take() }));
            text = rest;
        }
    }

    fn on_tool_call(
        &mut self,
        place: usize,
        call: &chunk::ToolCall<'_>,
        rest: &mut Vec<Value>,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let Some((number, event)) = self.calls.take(self.answers[place].index, call) else {
            return Err(emit::broken("the provider makes more tool calls than a client can answer"));
        };
        if let Some(mut event) = event {
            self.end_tags(place, out);
            self.extras.flush(out);
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

    /// The first answer's finish reason in our vocabulary, and its own word if that is another; those
    /// of further answers are kept as extra.
    fn finish_reason(&mut self, out: &mut [Event]) -> Result<(Box<str>, Option<Box<str>>), Failure> {
        self.answers.sort_by_key(|answer| answer.index);
        let mut first = None;
        for (position, answer) in std::mem::take(&mut self.answers).into_iter().enumerate() {
            let index = answer.index;
            let native = answer.finish.unwrap_or_else(|| "unknown".into());
            let reason = match meaning(&native)? {
                "stop" if self.calls.any(index) => "tool_calls",
                reason => reason,
            };
            if position > 0 {
                let mut extra = Map::new();
                extra.insert("choice".into(), serde_json::json!({"finish_reason": native}));
                self.extras.attach(index, extra, out.len(), out);
            } else {
                let other = (reason != &*native).then(|| native.clone());
                first = Some((Box::<str>::from(reason), other));
            }
        }
        first.ok_or_else(emit::truncated)
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
