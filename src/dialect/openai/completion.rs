//! A whole chat answer as one `chat.completion`.
//!
//! Owns the collected answer of `/v1/chat/completions`, one choice for each of several answers.
//! Honours `restarted`: what came before is discarded. Never invents an end.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::chunks::media;
use super::{call_id, level, set_parts_aside, usage};
use crate::dialect::render::{Collect, Served};
use crate::job::{Completed, Event, Failure, JobId, Part};
use crate::wire::collect::{self, WholeCall};
use crate::wire::extra::Extras;
use crate::wire::record::{BodyRef, RecordRef};

/// Collects a completion, record by record.
#[derive(Debug, Default)]
pub struct Completion {
    created: u64,
    model: Box<str>,
    served: Served,
    answers: BTreeMap<u32, Answer>,
    /// Calls of the first answer: a record does not name the answer of a call.
    calls: BTreeMap<u32, WholeCall>,
    end: Option<Event>,
}

/// One of several answers.
#[derive(Debug, Default)]
struct Answer {
    /// Texts of the answer, by [`Part`].
    texts: [Option<String>; 4],
    /// `images`, `outputs`: as a stream has them.
    media: Map<String, Value>,
    extras: Extras,
}

impl Collect for Completion {
    fn push(&mut self, record: RecordRef<'_>) {
        match record.body {
            BodyRef::Delta { part, index, text } => self.text(part, index, &text),
            BodyRef::Event(event) => {
                self.served.take(&event);
                self.event(event, record.at.0 / 1000);
            }
        }
    }

    fn served(&self) -> &Served {
        &self.served
    }
}

impl Completion {
    fn text(&mut self, part: Part, index: u32, text: &str) {
        if !text.is_empty() {
            let texts = &mut self.answers.entry(index).or_default().texts;
            texts[part as usize].get_or_insert_default().push_str(text);
        }
    }

    fn event(&mut self, event: Event, at_s: u64) {
        match event {
            Event::Accepted(accepted) => {
                self.created = at_s;
                self.model = accepted.model.as_str().into();
            }
            Event::Attempt(attempt) => self.model = attempt.model,
            Event::Delta(delta) => {
                self.text(delta.part, delta.index, &delta.text);
                if let Some(extra) = delta.extra {
                    // The first of its own: extras that are kept belong to their own choice.
                    self.answers.entry(delta.index).or_default().extras.push(0, *extra);
                }
            }
            Event::ToolCall(piece) => {
                let call = self.calls.entry(piece.index).or_default();
                call.call_id = call.call_id.take().or(piece.call_id);
                call.name = call.name.take().or(piece.name);
                call.arguments.push_str(&piece.arguments);
            }
            Event::Output(output) => {
                let known = &mut self.answers.entry(0).or_default().media;
                for (name, entry) in media(output) {
                    match (known.entry(name).or_insert_with(|| json!([])), entry) {
                        (Value::Array(known), Value::Array(entry)) => known.extend(entry),
                        (place, entry) => *place = entry,
                    }
                }
            }
            Event::Restarted(_) => {
                self.answers.clear();
                self.calls.clear();
            }
            event if event.terminal().is_some() => self.end = Some(event),
            _ => {}
        }
    }

    /// Returns the whole completion.
    ///
    /// # Errors
    /// What the job failed with; `internal` before its terminal.
    pub fn finish(mut self, job: &JobId) -> Result<Value, Failure> {
        let end = match self.end.take() {
            Some(Event::Completed(end)) => end,
            Some(end) => return Err(collect::failure_of(&end).unwrap_or_else(without_end)),
            None => return Err(without_end()),
        };
        self.answers.entry(0).or_default();
        let (mut calls, mut fields, mut choices) = (self.calls, Map::new(), Vec::new());
        for (index, mut answer) in self.answers {
            let message = answer.message(std::mem::take(&mut calls), job);
            choices.push(answer.choice(index, message, &end, &mut fields));
        }
        for (name, value) in [
            ("id", json!(format!("chatcmpl-{job}"))),
            ("object", json!("chat.completion")),
            ("created", self.created.into()),
            ("model", (*self.model).into()),
            ("choices", choices.into()),
        ] {
            fields.insert(name.into(), value);
        }
        fields.remove("usage");
        if let Some(usage) = usage(&end.usage) {
            fields.insert("usage".into(), usage);
        }
        Ok(fields.into())
    }
}

impl Answer {
    /// The message of the answer; extra fields beside it stay.
    fn message(&mut self, mut calls: BTreeMap<u32, WholeCall>, job: &JobId) -> Map<String, Value> {
        for (at, content) in std::mem::take(&mut self.extras.of_calls) {
            if let Some(call) = calls.get_mut(&at) {
                call.extra_content = Some(content).filter(|content| !content.is_null());
            }
        }
        let details = std::mem::take(&mut self.extras.reasoning_details);
        let mut message = std::mem::take(&mut self.media);
        let [text, reasoning, refusal, transcript] = std::mem::take(&mut self.texts);
        // Without calls an answer that says nothing is an empty one, not none.
        let empty = (calls.is_empty() && refusal.is_none()).then(String::new);
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), text.or(empty).into());
        message.insert("refusal".into(), refusal.into());
        for (name, value) in [
            ("reasoning_content", reasoning.map(Value::from)),
            ("reasoning_details", (!details.is_empty()).then(|| details.into())),
            ("audio", transcript.map(|text| json!({"transcript": text}))),
            ("tool_calls", (!calls.is_empty()).then(|| calls.into_iter().map(|call| whole(call, job)).collect())),
        ] {
            if let Some(value) = value {
                message.insert(name.into(), value);
            }
        }
        message
    }

    /// The choice with its message; extra fields of the whole answer go into `fields`.
    fn choice(
        self,
        index: u32,
        message: Map<String, Value>,
        end: &Completed,
        fields: &mut Map<String, Value>,
    ) -> Value {
        let mut extra = self.extras.rest().unwrap_or_default();
        fields.extend(level(&mut extra, "chunk"));
        let mut beside = level(&mut extra, "delta");
        set_parts_aside(&mut beside);
        beside.extend(message);
        let mut choice = level(&mut extra, "choice");
        // The job's own reason is the first answer's.
        let reason = choice.remove("finish_reason").filter(|_| index > 0);
        choice.insert("finish_reason".into(), reason.unwrap_or_else(|| (*end.finish_reason).into()));
        if let Some(native) = end.native_finish_reason.as_deref().filter(|_| index == 0) {
            choice.insert("native_finish_reason".into(), native.into());
        }
        choice.entry("logprobs").or_insert(Value::Null);
        choice.insert("index".into(), index.into());
        choice.insert("message".into(), beside.into());
        choice.into()
    }
}

fn whole((index, call): (u32, WholeCall), job: &JobId) -> Value {
    let id = call.call_id.map_or_else(|| call_id(job.as_str(), index), Into::into);
    let mut whole = json!({
        "id": id, "type": "function", "function": {"name": call.name.unwrap_or_default(), "arguments": call.arguments},
    });
    if let Some(content) = call.extra_content {
        whole["extra_content"] = content;
    }
    whole
}

fn without_end() -> Failure {
    Failure::internal("the job ended without a terminal")
}
