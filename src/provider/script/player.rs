//! Plays a timeline as bytes of the OpenAI chat dialect, so that they take the way of any reply.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Script, ScriptError, ScriptStatus, ScriptStep, ScriptUsage};
use crate::job::{Code, Failure};
use crate::provider::{Headers, estimate_tokens};

/// The head of an answer.
pub struct Head {
    /// HTTP status of the answer.
    pub status: u16,
    /// Headers of the answer.
    pub headers: Headers,
}

/// One timeline under way. Due times count from each other, not from when they were seen: a reader
/// that was slow finds what came meanwhile, as on a socket.
pub struct Player {
    script: Script,
    /// The step that comes next, and how much of it was played.
    step: usize,
    within: u64,
    due: Instant,
    /// Bytes that are due, in pieces.
    ready: VecDeque<Bytes>,
    split_bytes: usize,
    /// Text that is left out before anything is said.
    prefix: String,
    usage: Option<ScriptUsage>,
    usage_said: bool,
    finished: bool,
    ended: EndOfBody,
}

#[derive(Clone, Copy, PartialEq)]
enum EndOfBody {
    No,
    Cleanly,
    Broken,
    /// `done` was played: nothing is added at the end.
    Announced,
}

/// Pieces that are made at once of a repeat without an interval.
const BATCH: u64 = 64;

impl Player {
    /// A player of the chosen timeline for a request with this body.
    #[must_use]
    pub fn new(script: &Script, request: &[u8]) -> Player {
        Player {
            script: script.clone(),
            step: 0,
            within: 0,
            due: Instant::now(),
            ready: VecDeque::new(),
            split_bytes: 0,
            prefix: script.prefix.to_string(),
            usage: Some(ScriptUsage { input_tokens: estimate_tokens(request.len() as u64), ..ScriptUsage::default() }),
            usage_said: false,
            finished: false,
            ended: EndOfBody::No,
        }
    }

    /// The head of the answer, when it is due.
    ///
    /// # Errors
    /// `provider_unavailable` for a refused connection.
    pub async fn head(&mut self) -> Result<Head, Failure> {
        loop {
            match self.script.steps().get(self.step) {
                Some(ScriptStep::DelayMs(ms)) => self.due += Duration::from_millis(*ms),
                Some(ScriptStep::Refuse) => {
                    tokio::time::sleep_until(self.due).await;
                    let message = "cannot connect to the provider: the script refuses";
                    return Err(Failure::new(Code::ProviderUnavailable, message).of_the_target().unsent());
                }
                Some(ScriptStep::Stall) => std::future::pending().await,
                Some(ScriptStep::Status(status)) => {
                    let head = self.status(&status.clone());
                    tokio::time::sleep_until(self.due).await;
                    return Ok(head);
                }
                _ => break,
            }
            self.step += 1;
        }
        tokio::time::sleep_until(self.due).await;
        let mut headers = Headers::new();
        headers.insert("content-type", crate::egress::HeaderValue::from_static("text/event-stream"));
        Ok(Head { status: 200, headers })
    }

    fn status(&mut self, status: &ScriptStatus) -> Head {
        let mut headers = Headers::new();
        let kind = status.content_type.as_deref().unwrap_or("application/json");
        headers.insert("content-type", kind.parse().expect("checked when the script was read"));
        if let Some(ms) = status.retry_after_ms {
            headers.insert("retry-after-ms", ms.into());
        }
        let body = match (&status.body, &status.error) {
            (Some(body), _) => body.clone(),
            (None, Some(error)) => error_json(error).to_string(),
            (None, None) => json!({"error": {"message": format!("scripted status {}", status.status)}}).to_string(),
        };
        self.push(body.into_bytes());
        self.step = self.script.steps().len();
        self.ended = EndOfBody::Cleanly;
        Head { status: status.status, headers }
    }

    /// The next piece of the body, or `None` at its clean end. Cancel-safe: what is due is kept
    /// until it is given.
    ///
    /// # Errors
    /// `provider_truncated` where the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.ready.is_empty() && self.ended != EndOfBody::Cleanly && self.ended != EndOfBody::Broken {
            match self.script.steps().get(self.step).cloned() {
                Some(ScriptStep::Stall) => {
                    tokio::time::sleep_until(self.due).await;
                    std::future::pending::<()>().await;
                }
                Some(step) => self.play(step),
                None => self.end_well(),
            }
        }
        tokio::time::sleep_until(self.due).await;
        match self.ready.pop_front() {
            Some(bytes) => Ok(Some(bytes)),
            None if self.ended == EndOfBody::Broken => {
                let message = "the provider's answer broke off: the script cuts it";
                Err(Failure::new(Code::ProviderTruncated, message).of_the_target())
            }
            None => Ok(None),
        }
    }

    /// Plays the step that comes next, or a part of it.
    fn play(&mut self, step: ScriptStep) {
        self.step += 1;
        match step {
            ScriptStep::Text(pieces) => self.texts("content", pieces.as_slice()),
            ScriptStep::Reasoning(pieces) => self.texts("reasoning_content", pieces.as_slice()),
            ScriptStep::Refusal(pieces) => self.texts("refusal", pieces.as_slice()),
            ScriptStep::Repeat(repeat) => self.repeat(&repeat),
            ScriptStep::ToolCall(call) => {
                for (number, arguments) in call.arguments.as_slice().iter().enumerate() {
                    let mut piece = json!({"index": call.index, "function": {"arguments": arguments}});
                    if number == 0 {
                        piece["id"] = json!(call.id);
                        piece["type"] = json!("function");
                        piece["function"]["name"] = json!(call.name);
                    }
                    self.count_token();
                    self.packet("", &choice(&json!({"tool_calls": [piece]}), None));
                }
            }
            ScriptStep::Output(value) => self.packet("output", &json!({"value": value})),
            ScriptStep::Usage(usage) => {
                self.usage = usage;
                self.usage_said = true;
            }
            ScriptStep::Finish(reason) => self.finish(&reason),
            ScriptStep::DelayMs(ms) => self.due += Duration::from_millis(ms),
            ScriptStep::Error(error) => self.packet("", &error_json(&error)),
            ScriptStep::Packet(value) => self.packet("", &value),
            ScriptStep::Raw(text) => self.push(text.into_bytes()),
            ScriptStep::Garbage(bytes) => self.push((0..bytes).map(|at| 0x80 | (at * 37 % 128) as u8).collect()),
            ScriptStep::Huge(bytes) => self.texts("content", &["x".repeat(bytes)]),
            ScriptStep::SplitBytes(bytes) => self.split_bytes = bytes,
            ScriptStep::Done => self.done(),
            ScriptStep::Cut => self.ended = EndOfBody::Broken,
            ScriptStep::End => self.ended = EndOfBody::Cleanly,
            // These say how an answer begins; `head` has dealt with them.
            ScriptStep::Status(_) | ScriptStep::Refuse | ScriptStep::Stall => {}
        }
    }

    fn texts(&mut self, field: &str, pieces: &[String]) {
        for piece in pieces {
            let unsaid = if field == "content" { self.unsaid(piece) } else { Some(&**piece) };
            let Some(piece) = unsaid else { continue };
            self.count_token();
            let text = serde_json::to_string(piece).expect("a string is JSON");
            self.push(text_packet(field, &text));
        }
    }

    /// What of `piece` was not said before the answer was continued, if anything.
    fn unsaid<'a>(&mut self, piece: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return Some(piece);
        }
        if let Some(rest) = self.prefix.strip_prefix(piece) {
            self.prefix = rest.to_owned();
            return None;
        }
        let prefix = std::mem::take(&mut self.prefix);
        Some(piece.strip_prefix(&*prefix).unwrap_or(piece))
    }

    /// One piece if they come one by one, else a batch, so that a long repeat needs little memory.
    fn repeat(&mut self, repeat: &super::Repeat) {
        let most = if repeat.interval_ms == 0 { BATCH } else { 1 };
        let until = repeat.count.min(self.within.saturating_add(most));
        if self.within < until {
            self.due += Duration::from_millis(repeat.interval_ms);
        }
        for number in self.within..until {
            let text = repeat.text.replace("{n}", &number.to_string());
            self.texts("content", &[text]);
        }
        self.within = until;
        if until < repeat.count {
            self.step -= 1;
        } else {
            self.within = 0;
        }
    }

    fn finish(&mut self, reason: &str) {
        self.finished = true;
        self.packet("", &choice(&json!({}), Some(reason)));
    }

    fn done(&mut self) {
        self.tell_usage();
        self.push(b"data: [DONE]\n\n".to_vec());
        self.ended = EndOfBody::Announced;
    }

    /// What a well-behaved provider still has to say.
    fn end_well(&mut self) {
        if self.ended != EndOfBody::Announced {
            if !self.finished {
                self.finish("stop");
            }
            self.done();
        }
        self.ended = EndOfBody::Cleanly;
    }

    fn tell_usage(&mut self) {
        let Some(usage) = self.usage.take() else { return };
        self.packet(
            "",
            &json!({"choices": [], "usage": {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
                "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
                "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            }}),
        );
    }

    /// Unless the script says its usage, a chunk is a token.
    fn count_token(&mut self) {
        if let (Some(usage), false) = (&mut self.usage, self.usage_said) {
            usage.output_tokens += 1;
        }
    }

    fn packet(&mut self, event: &str, value: &Value) {
        let name = if event.is_empty() { String::new() } else { format!("event: {event}\n") };
        self.push(format!("{name}data: {value}\n\n").into_bytes());
    }

    fn push(&mut self, bytes: Vec<u8>) {
        let mut bytes = Bytes::from(bytes);
        while self.split_bytes > 0 && bytes.len() > self.split_bytes {
            self.ready.push_back(bytes.split_to(self.split_bytes));
        }
        self.ready.push_back(bytes);
    }
}

fn text_packet(field: &str, json_text: &str) -> Vec<u8> {
    let head = r#"data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{""#;
    let tail = "},\"finish_reason\":null}]}\n\n";
    [head, field, "\":", json_text, tail].concat().into_bytes()
}

fn choice(delta: &Value, finish_reason: Option<&str>) -> Value {
    json!({
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    })
}

fn error_json(error: &ScriptError) -> Value {
    json!({"error": {"message": error.message, "code": error.code, "type": error.kind, "param": null}})
}
