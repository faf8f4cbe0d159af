//! A chat answer as OpenAI's older `text_completion`, whole and as a stream.
//!
//! Owns the answers of `/v1/completions`: the text of each answer and why it ended. Thoughts and calls
//! have no place in them. A stream ends as the one of `/v1/chat/completions` does.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::{Value, json};

use super::chunks::{begins_anew, breaks, write, write_end, write_error};
use super::{KEEP_ALIVE, usage};
use crate::dialect::render::{Render, RenderState, Served};
use crate::job::{Completed, Event, Failure, JobId, Part};
use crate::wire::collect;
use crate::wire::record::{BodyRef, RecordRef};

/// Renders the records of one job as chunks of a `text_completion`.
#[derive(Debug)]
pub struct Texts {
    job: JobId,
    include_usage: bool,
    created: u64,
    model: Box<str>,
    /// Beginning of each chunk.
    prefix: String,
    served: Served,
    /// Reasons for which the answers ended, as far as they are known.
    answers: BTreeMap<u32, Option<Box<str>>>,
}

impl Render for Texts {
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

impl Texts {
    /// Begins a rendering at record 0.
    #[must_use]
    pub fn new(job: &JobId, include_usage: bool) -> Texts {
        Texts {
            job: job.clone(),
            include_usage,
            created: 0,
            model: "".into(),
            prefix: String::new(),
            served: Served::default(),
            answers: BTreeMap::new(),
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
            Event::Delta(piece) => {
                self.text(piece.part, piece.index, &piece.text, out);
                let finish = piece.extra.and_then(|extra| extra["choice"]["finish_reason"].as_str().map(Into::into));
                if let (Some(finish), Some(known)) = (finish, self.answers.get_mut(&piece.index)) {
                    *known = Some(finish);
                }
            }
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
        self.model = model;
        let head = json!({
            "id": format!("cmpl-{}", self.job), "object": "text_completion", "created": self.created, "model": self.model,
        });
        self.prefix = format!("data: {head}");
        self.prefix.pop();
    }

    fn text(&mut self, part: Part, index: u32, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() && matches!(part, Part::Text | Part::Refusal) {
            self.answers.entry(index).or_default();
            self.chunk(index, text, None, out);
        }
    }

    fn chunk(&self, index: u32, text: &str, finish: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(b",\"choices\":[{\"text\":");
        write(text, out);
        write!(out, ",\"index\":{index},\"logprobs\":null,\"finish_reason\":").expect("a Vec takes every byte");
        write(&finish, out);
        out.extend_from_slice(if self.include_usage { b"}],\"usage\":null}\n\n" } else { b"}]}\n\n" });
    }

    fn end(&mut self, end: &Completed, out: &mut Vec<u8>) {
        self.answers.entry(0).or_default();
        for (index, finish) in &self.answers {
            let finish = finish.as_deref().filter(|_| *index > 0).unwrap_or(&end.finish_reason);
            self.chunk(*index, "", Some(finish), out);
        }
        write_end(&self.prefix, usage(&end.usage).filter(|_| self.include_usage), out);
    }
}

/// A whole chat completion as a text completion.
#[must_use]
pub fn of_chat(mut whole: Value, job: &JobId) -> Value {
    let choices = whole["choices"].as_array().into_iter().flatten().map(|choice| {
        let message = &choice["message"];
        let text = message["content"].as_str().or(message["refusal"].as_str()).unwrap_or_default();
        json!({"text": text, "index": choice["index"], "logprobs": null, "finish_reason": choice["finish_reason"]})
    });
    let mut text = json!({
        "id": format!("cmpl-{job}"), "object": "text_completion", "created": whole["created"], "model": whole["model"],
        "choices": choices.collect::<Value>(),
    });
    if let Some(usage) = whole.get_mut("usage") {
        text["usage"] = usage.take();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai::Completion;
    use crate::dialect::render::Collect as _;
    use crate::job::{AttemptMode, AttemptStarted, Code, Cost, Delta, Record, Restarted, Timestamp, Usage};

    fn say(part: Part, index: u32, text: &str) -> Event {
        Event::Delta(Delta { part, index, text: text.into(), extra: None })
    }

    fn done() -> Event {
        let usage = Usage { input_tokens: Some(3), output_tokens: Some(2), ..Usage::default() };
        Event::Completed(Completed {
            finish_reason: "length".into(),
            native_finish_reason: None,
            usage,
            cost: Cost::FREE,
            timing: Default::default(),
            attempts: 1,
        })
    }

    fn records(events: Vec<Event>) -> impl Iterator<Item = RecordRef<'static>> {
        let mode = AttemptMode::Start;
        let (provider, model) = ("p".into(), "m".into());
        let attempt = Event::Attempt(AttemptStarted { attempt: 1, provider, model, mode, dropped: Vec::new() });
        let events = std::iter::once(attempt).chain(events);
        (0..).zip(events).map(|(seq, event)| Record { seq, at: Timestamp(0), event }.into())
    }

    fn job() -> JobId {
        "j".parse().unwrap()
    }

    fn streamed(events: Vec<Event>, include_usage: bool) -> String {
        let (mut render, mut out) = (Texts::new(&job(), include_usage), Vec::new());
        for record in records(events) {
            render.push(record, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_is_told_whole_and_as_a_stream() {
        let events = || vec![say(Part::Reasoning, 0, "hm"), say(Part::Text, 0, "Hé"), say(Part::Text, 1, "Oh"), done()];
        let head = r#"data: {"created":0,"id":"cmpl-j","model":"m","object":"text_completion","choices":["#;
        let chunk = |text: &str, index: u32, finish: &str| {
            format!(
                "{head}{{\"text\":\"{text}\",\"index\":{index},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        let expected = chunk("Hé", 0, "null") + &chunk("Oh", 1, "null") + &chunk("", 0, "\"length\"");
        assert_eq!(streamed(events(), false), expected + &chunk("", 1, "\"length\"") + "data: [DONE]\n\n");
        let with_usage = streamed(events(), true);
        assert!(
            with_usage.contains("\"usage\":null}\n\n") && with_usage.contains("\"total_tokens\":5}}\n\ndata: [DONE]")
        );
        let mut whole = Completion::default();
        records(events()).for_each(|record| whole.push(record));
        let choice =
            |text: &str, index: u32| json!({"text": text, "index": index, "logprobs": null, "finish_reason": "length"});
        assert_eq!(
            of_chat(whole.finish(&job()).unwrap(), &job()),
            json!({"id": "cmpl-j", "object": "text_completion", "created": 0, "model": "m",
                   "choices": [choice("Hé", 0), choice("Oh", 1)],
                   "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
        );
    }

    #[test]
    fn what_begins_anew_is_an_error() {
        let text = streamed(vec![say(Part::Text, 0, "a"), Event::Restarted(Restarted { attempt: 2 })], false);
        assert!(text.contains(Code::ProviderTruncated.as_str()) && !text.contains("[DONE]"), "{text}");
    }
}
