//! A chat answer as `chat.completion.chunk`s, record by record.
//!
//! Owns the stream of `/v1/chat/completions`: `data:` lines only, since more than those breaks
//! OpenAI's own libraries. An answer that restarts cannot be written once part of it was: then, as
//! after every failure, the stream ends with an error and without `[DONE]`. Tool calls belong to
//! the first answer: a record does not name the answer of a call.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Envelope, KEEP_ALIVE, call_id, level, set_parts_aside, usage};
use crate::dialect::render::{Render, RenderState, Served};
use crate::job::{Code, Completed, Delta, Event, Failure, JobId, Output, OutputBody, Part, ToolCall};
use crate::wire::collect;
use crate::wire::record::{BodyRef, RecordRef};

/// Renders the records of one job as `chat.completion.chunk`s.
#[derive(Debug)]
pub struct Chunks {
    job: JobId,
    include_usage: bool,
    created: u64,
    model: Box<str>,
    /// Beginning of each chunk.
    prefix: String,
    /// Attempts, target and cost so far.
    served: Served,
    /// Whether an answer has had its last chunk, by its index; absent = not begun.
    answers: BTreeMap<u32, bool>,
    /// Calls that were begun.
    calls: Vec<u32>,
}

impl Render for Chunks {
    const KEEP_ALIVE: &'static [u8] = KEEP_ALIVE;

    fn push(&mut self, record: RecordRef<'_>, out: &mut Vec<u8>) -> RenderState {
        match record.body {
            BodyRef::Delta { part, index, text } => self.text(part, index, &text, out),
            BodyRef::Event(event) => {
                self.served.take(&event);
                return self.event(event, record.at.0 / 1000, out);
            }
        }
        RenderState::More
    }

    fn has_begun(&self) -> bool {
        !self.answers.is_empty()
    }

    fn served(&self) -> &Served {
        &self.served
    }

    fn error(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        write_error(failure, out);
    }
}

impl Chunks {
    /// Begins a rendering at record 0.
    #[must_use]
    pub fn new(job: &JobId, include_usage: bool) -> Chunks {
        Chunks {
            job: job.clone(),
            include_usage,
            created: 0,
            model: "".into(),
            prefix: String::new(),
            served: Served::default(),
            answers: BTreeMap::new(),
            calls: Vec::new(),
        }
    }

    fn event(&mut self, event: Event, at_s: u64, out: &mut Vec<u8>) -> RenderState {
        if let Some(failure) = collect::failure_of(&event) {
            return breaks(failure, out);
        }
        match event {
            Event::Accepted(accepted) => {
                self.created = at_s;
                self.is_by(accepted.model.as_str().into());
            }
            Event::Attempt(attempt) => self.is_by(attempt.model),
            Event::Delta(piece) => self.delta(piece, out),
            Event::ToolCall(call) => self.tool_call(call, out),
            Event::Output(output) => self.fields(0, media(output), out),
            Event::Restarted(_) if self.has_begun() => return breaks(begins_anew(), out),
            Event::Completed(end) => {
                self.end(&end, out);
                return RenderState::Done;
            }
            _ => {}
        }
        RenderState::More
    }

    fn is_by(&mut self, model: Box<str>) {
        if *model == *self.model && !self.prefix.is_empty() {
            return;
        }
        self.model = model;
        let head = json!({
            "id": format!("chatcmpl-{}", self.job), "object": "chat.completion.chunk", "created": self.created,
            "model": self.model,
        });
        self.prefix = format!("data: {head}");
        self.prefix.pop();
    }

    /// A piece of text, and nothing beside it: most records are one, so it is written as it is.
    fn text(&mut self, part: Part, index: u32, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.begin(index, "\"\"", out);
        self.open(index, out);
        let (before, after) = match part {
            Part::Text => ("\"content\":", ""),
            Part::Reasoning => ("\"reasoning_content\":", ""),
            Part::Refusal => ("\"refusal\":", ""),
            Part::AudioTranscript => ("\"audio\":{\"transcript\":", "}"),
        };
        out.extend_from_slice(before.as_bytes());
        write(text, out);
        out.extend_from_slice(after.as_bytes());
        self.close(None, Map::new(), Map::new(), out);
    }

    /// Writes a piece of text, if any, and the extra fields beside it.
    fn delta(&mut self, piece: Delta, out: &mut Vec<u8>) {
        let (index, text) = (piece.index, piece.text);
        let Some(mut extra) = piece.extra else { return self.text(piece.part, index, &text, out) };
        let mut delta = level(&mut extra, "delta");
        set_parts_aside(&mut delta);
        if !text.is_empty() {
            match piece.part {
                Part::Text => delta.insert("content".into(), text.into()),
                Part::Reasoning => delta.insert("reasoning_content".into(), text.into()),
                Part::Refusal => delta.insert("refusal".into(), text.into()),
                Part::AudioTranscript => delta.insert("audio".into(), json!({"transcript": text})),
            };
        }
        self.begin(index, "\"\"", out);
        self.open(index, out);
        write_fields(&delta, out);
        let mut choice = level(&mut extra, "choice");
        let finish = choice.remove("finish_reason");
        if finish.is_some() {
            self.answers.insert(index, true);
        }
        let finish = finish.as_ref().and_then(Value::as_str);
        self.close(finish, choice, level(&mut extra, "chunk"), out);
    }

    fn tool_call(&mut self, piece: ToolCall, out: &mut Vec<u8>) {
        let is_first = !self.calls.contains(&piece.index);
        if is_first {
            self.calls.push(piece.index);
        }
        self.begin(0, "null", out);
        let mut function = Map::new();
        if let Some(name) = piece.name {
            function.insert("name".into(), (*name).into());
        }
        function.insert("arguments".into(), piece.arguments.into());
        let mut call = json!({"index": piece.index});
        // A client joins what it gets twice: an id is sent once.
        if is_first {
            call["id"] = piece.call_id.map_or_else(|| call_id(self.job.as_str(), piece.index), Into::into).into();
            call["type"] = "function".into();
        }
        call["function"] = function.into();
        self.fields(0, Map::from_iter([("tool_calls".to_owned(), json!([call]))]), out);
    }

    fn fields(&mut self, index: u32, delta: Map<String, Value>, out: &mut Vec<u8>) {
        self.begin(index, "\"\"", out);
        self.open(index, out);
        write_fields(&delta, out);
        self.close(None, Map::new(), Map::new(), out);
    }

    /// The first chunk of an answer has the role.
    fn begin(&mut self, index: u32, content: &str, out: &mut Vec<u8>) {
        if self.answers.contains_key(&index) {
            return;
        }
        self.answers.insert(index, false);
        self.open(index, out);
        out.extend_from_slice(format!(r#""role":"assistant","content":{content}"#).as_bytes());
        self.close(None, Map::new(), Map::new(), out);
    }

    fn open(&self, index: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(br#","choices":[{"index":"#);
        write(&index, out);
        out.extend_from_slice(br#","delta":{"#);
    }

    fn close(&self, finish: Option<&str>, choice: Map<String, Value>, chunk: Map<String, Value>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"},"finish_reason":"#);
        write(&finish, out);
        let own = |name: &str, names: &[&str]| names.contains(&name);
        for (name, value) in choice {
            if !own(&name, &["index", "delta", "finish_reason"]) {
                write_field(&name, &value, out);
            }
        }
        out.extend_from_slice(b"}]");
        for (name, value) in chunk {
            if !own(&name, &["id", "object", "created", "model", "choices", "usage", "error"]) {
                write_field(&name, &value, out);
            }
        }
        out.extend_from_slice(if self.include_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" });
    }

    fn end(&mut self, end: &Completed, out: &mut Vec<u8>) {
        self.begin(0, "\"\"", out);
        for (index, is_finished) in std::mem::take(&mut self.answers) {
            self.answers.insert(index, true);
            if !is_finished {
                let mut choice = Map::new();
                if let Some(native) = &end.native_finish_reason {
                    choice.insert("native_finish_reason".into(), (**native).into());
                }
                self.open(index, out);
                self.close(Some(&end.finish_reason), choice, Map::new(), out);
            }
        }
        write_end(&self.prefix, usage(&end.usage).filter(|_| self.include_usage), out);
    }
}

/// The polite end of a stream whose chunks begin with `prefix`, and before it the usage, if it is wanted.
pub(super) fn write_end(prefix: &str, usage: Option<Value>, out: &mut Vec<u8>) {
    if let Some(usage) = usage {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(br#","choices":[],"usage":"#);
        write(&usage, out);
        out.extend_from_slice(b"}\n\n");
    }
    out.extend_from_slice(b"data: [DONE]\n\n");
}

pub(super) fn write_error(failure: &Failure, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    write(&Envelope::new(failure), out);
    out.extend_from_slice(b"\n\n");
}

pub(super) fn breaks(failure: Failure, out: &mut Vec<u8>) -> RenderState {
    write_error(&failure, out);
    RenderState::Broken(failure)
}

pub(super) fn begins_anew() -> Failure {
    let message = "the answer begins anew, which this stream cannot tell: ask again, or read the job's own events";
    Failure::new(Code::ProviderTruncated, message)
}

/// An output beside the text; pictures as the field has them.
pub(super) fn media(output: Output) -> Map<String, Value> {
    let is_picture = output.mime.starts_with("image/");
    let url = match &output.body {
        OutputBody::Url(url) => Some(url.to_string()),
        OutputBody::Data(data) => {
            let data = serde_json::to_value(data).unwrap_or_default();
            Some(format!("data:{};base64,{}", output.mime, data.as_str().unwrap_or_default()))
        }
        OutputBody::Value(_) => None,
    };
    let (name, entry) = match url.filter(|_| is_picture) {
        Some(url) => ("images", json!({"type": "image_url", "index": output.index, "image_url": {"url": url}})),
        None => ("outputs", serde_json::to_value(&output).unwrap_or_default()),
    };
    Map::from_iter([(name.to_owned(), json!([entry]))])
}

pub(super) fn write(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("plain data is JSON, and a Vec takes every byte");
}

/// The fields of an object that was just opened.
fn write_fields(fields: &Map<String, Value>, out: &mut Vec<u8>) {
    for (number, (name, value)) in fields.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        write(name, out);
        out.push(b':');
        write(value, out);
    }
}

/// Writes a further field.
fn write_field(name: &str, value: &Value, out: &mut Vec<u8>) {
    out.push(b',');
    write(name, out);
    out.push(b':');
    write(value, out);
}
