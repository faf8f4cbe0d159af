//! From Cohere's answer, streamed or whole, to the events of a job.

use serde_json::json;
use serde_json::value::RawValue;

use super::wire::{self, Call, Content, DeltaMessage, Message};
use crate::job::{Bill, Code, Delta, Event, Failure, Part, ToolCall, Usage};
use crate::provider::protocol::{emit, error};
use crate::provider::{Decoder, Finish, Packet, Step};

/// Whose thoughts these are, where a client sends them back.
pub(super) const THOUGHT_FORMAT: &str = "cohere-v2";
/// Calls that one answer may make; more is no tool loop.
const CALLS_MAX: usize = 1024;

/// Decodes the answer to one chat.
#[derive(Default)]
pub struct ChatDecoder {
    calls: Vec<OpenCall>,
    finish: Option<Box<str>>,
    usage: Option<Usage>,
    bill: Bill,
    /// What the model thought, for the next turn.
    thinking: String,
}

struct OpenCall {
    /// Its number at the provider.
    index: u64,
    has_arguments: bool,
}

impl Decoder for ChatDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        match packet {
            Packet::Sse { event, data } => self.on_event(event, data.trim_ascii(), out),
            Packet::Line(body) | Packet::Whole(body) | Packet::Frame { data: body, .. } => {
                self.on_whole(body.trim_ascii(), out)
            }
        }
    }

    fn on_end(&mut self, _out: &mut Vec<Event>) -> Result<Finish, Failure> {
        let native = self.finish.take().ok_or_else(emit::truncated)?;
        let reason: Box<str> = match &*native {
            "COMPLETE" | "STOP_SEQUENCE" if !self.calls.is_empty() => "tool_calls".into(),
            "COMPLETE" | "STOP_SEQUENCE" => "stop".into(),
            "MAX_TOKENS" | "ERROR_LIMIT" => "length".into(),
            "TOOL_CALL" => "tool_calls".into(),
            "ERROR_TOXIC" => "content_filter".into(),
            other => other.to_ascii_lowercase().into(),
        };
        Ok(Finish { reason, native: Some(native), usage: self.usage.clone() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn bill(&self) -> Bill {
        self.bill.clone()
    }
}

impl ChatDecoder {
    fn on_event(&mut self, event: &str, data: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        if data == b"[DONE]" {
            return Ok(Step::Done);
        }
        if data.is_empty() {
            return Ok(Step::More);
        }
        let packet: wire::Packet<'_> = match serde_json::from_slice(data) {
            Ok(packet) => packet,
            Err(_) if !is_known(event) && serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok() => {
                crate::telemetry::skipped_packet();
                return Ok(Step::More);
            }
            Err(_) => return Err(emit::malformed()),
        };
        let kind = if packet.kind.is_empty() { event } else { &*packet.kind };
        let delta = packet.delta.unwrap_or_default();
        let message = delta.message.unwrap_or_default();
        match kind {
            "content-start" | "content-delta" => {
                if let Some(content) = object::<Content>(message.content)? {
                    self.on_content(content, out);
                }
                if let Some(logprobs) = packet.logprobs {
                    emit::aside("choice", "logprobs", logprobs, out);
                }
            }
            "tool-plan-delta" => emit::text(Part::Reasoning, message.tool_plan.unwrap_or_default(), out),
            "tool-call-start" | "tool-call-delta" | "tool-call-end" => {
                self.on_call(kind, packet.index.unwrap_or(0), &message, out)?;
            }
            "citation-start" => on_citation(message.citations, out),
            "message-end" => self.on_message_end(delta.finish_reason, delta.error, delta.usage, out)?,
            "message-start" | "content-end" | "citation-end" => {}
            _ if is_error(kind, packet.message) => return Err(error::in_reply(data)),
            _ => crate::telemetry::skipped_packet(),
        }
        Ok(Step::More)
    }

    fn on_whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        if body.is_empty() {
            return Err(emit::broken("the provider gave an empty answer"));
        }
        if body.starts_with(b"<") {
            return Err(error::in_reply(body));
        }
        let answer: wire::Packet<'_> = serde_json::from_slice(body).map_err(|_| emit::malformed())?;
        let Some(message) = object::<Message<'_>>(answer.message)? else { return Err(error::in_reply(body)) };
        if answer.finish_reason.is_none() {
            return Err(error::in_reply(body));
        }
        emit::text(Part::Reasoning, message.tool_plan.unwrap_or_default(), out);
        for content in message.content.into_iter().flatten() {
            self.on_content(content, out);
        }
        for (index, call) in (0..).zip(message.tool_calls.into_iter().flatten()) {
            self.begin_call(index, call, out)?;
        }
        for citation in message.citations.into_iter().flatten() {
            on_citation(Some(citation), out);
        }
        if let Some(logprobs) = answer.logprobs {
            emit::aside("choice", "logprobs", logprobs, out);
        }
        self.on_message_end(answer.finish_reason, None, answer.usage, out)?;
        Ok(Step::Done)
    }

    fn on_content(&mut self, content: Content, out: &mut Vec<Event>) {
        if let Some(thinking) = content.thinking {
            if self.thinking.len() <= emit::THOUGHT_BYTES_MAX {
                self.thinking.push_str(&thinking);
            }
            emit::text(Part::Reasoning, thinking, out);
        }
        emit::text(Part::Text, content.text.unwrap_or_default(), out);
    }

    fn on_call(
        &mut self,
        kind: &str,
        index: u64,
        message: &DeltaMessage<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let call = object::<Call>(message.tool_calls)?.unwrap_or_default();
        if kind == "tool-call-start" {
            return self.begin_call(index, call, out);
        }
        let at = self.calls.iter().rposition(|call| call.index == index).ok_or_else(emit::malformed)?;
        let mut arguments = call.function.and_then(|function| function.arguments).unwrap_or_default();
        if kind == "tool-call-end" && arguments.is_empty() && !self.calls[at].has_arguments {
            // A tool without parameters: a whole answer says `{}`, a stream says nothing.
            arguments.push_str("{}");
        }
        if !arguments.is_empty() {
            self.calls[at].has_arguments = true;
            emit::call(ToolCall { index: number(at), arguments, ..ToolCall::default() }, out);
        }
        Ok(())
    }

    fn begin_call(&mut self, index: u64, call: Call, out: &mut Vec<Event>) -> Result<(), Failure> {
        if self.calls.len() == CALLS_MAX {
            return Err(emit::broken("the provider makes more tool calls than a client can answer"));
        }
        let function = call.function.unwrap_or_default();
        let arguments = function.arguments.unwrap_or_default();
        let at = self.calls.len();
        self.calls.push(OpenCall { index, has_arguments: !arguments.is_empty() });
        emit::call(ToolCall { index: number(at), call_id: call.id, name: function.name, arguments }, out);
        Ok(())
    }

    fn on_message_end(
        &mut self,
        finish: Option<String>,
        error: Option<&RawValue>,
        usage: Option<&RawValue>,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        if let Some((usage, bill)) = usage.and_then(wire::usage) {
            (self.usage, self.bill) = (Some(usage), bill);
        }
        let finish = finish.unwrap_or_default();
        let code = match &*finish {
            "ERROR" => Some(Code::ProviderUnavailable),
            "TIMEOUT" => Some(Code::ProviderTimeout),
            _ => error.map(|_| Code::ProviderUnavailable),
        };
        if let Some(code) = code {
            let raw = error.and_then(|error| serde_json::from_str::<String>(error.get()).ok());
            let message = raw.unwrap_or_else(|| format!("the provider gave up: {finish}"));
            let mut failure = Failure::new(code, message).of_the_target();
            failure.provider_code = (!finish.is_empty()).then(|| finish.into());
            return Err(failure);
        }
        if !self.calls.is_empty() && !self.thinking.is_empty() {
            out.push(self.thought());
        }
        self.finish = (!finish.is_empty()).then(|| finish.into());
        Ok(())
    }

    /// What the model thought before it called, for the turn that brings the results.
    fn thought(&mut self) -> Event {
        let text = std::mem::take(&mut self.thinking);
        let mut detail = json!({"type": "reasoning.text", "format": THOUGHT_FORMAT, "index": 0});
        if text.len() <= emit::THOUGHT_BYTES_MAX {
            detail["text"] = text.into();
        }
        let extra = json!({"delta": {"reasoning_details": [detail]}});
        Event::Delta(Delta { part: Part::Reasoning, extra: Some(Box::new(extra)), ..Delta::default() })
    }
}

fn is_known(event: &str) -> bool {
    ["message-", "content-", "tool-", "citation-"].iter().any(|known| event.starts_with(known)) || event.is_empty()
}

/// Cohere's error is an object with a text for a `message`.
fn is_error(kind: &str, message: Option<&RawValue>) -> bool {
    kind.contains("error") || message.is_some_and(|message| message.get().starts_with('"'))
}

fn on_citation(citation: Option<&RawValue>, out: &mut Vec<Event>) {
    let list = citation.filter(|citation| citation.get().starts_with('{'));
    if let Some(list) = list.and_then(|one| RawValue::from_string(format!("[{}]", one.get())).ok()) {
        emit::aside("delta", "citations", &list, out);
    }
}

/// An object, or nothing where there is an empty list or none.
fn object<'a, T: serde::Deserialize<'a>>(value: Option<&'a RawValue>) -> Result<Option<T>, Failure> {
    let value = value.filter(|value| value.get().starts_with('{'));
    value.map(|value| serde_json::from_str(value.get()).map_err(|_| emit::malformed())).transpose()
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("at most CALLS_MAX")
}
