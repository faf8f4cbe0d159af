//! From whatever Workers AI answers to the events of a job.
//!
//! What the first packet looks like decides how the reply is read. A native stream rarely says why
//! it ended: `[DONE]` is then `stop`, or `length` where the tokens that were asked for are used up.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::value::RawValue;

use super::wire::{Call, Envelope, Native};
use super::{chat, failure};
use crate::job::{Bill, Event, Failure, Part, ToolCall, Usage};
use crate::provider::chat::Params;
use crate::provider::protocol::responses;
use crate::provider::protocol::responses::ResponsesDecoder;
use crate::provider::protocol::{emit, error, openai_chat};
use crate::provider::{Decoder, Finish, ModelCall, Packet, Step};

/// Calls that one answer may make; more is no tool loop.
const CALLS_MAX: usize = 1024;

/// Decodes the answer to one chat.
pub struct WorkersDecoder {
    shape: Shape,
    /// Reads what is of OpenAI's dialect, which most replies are.
    chat: openai_chat::ChatDecoder,
    /// The last usage that was not all zeros.
    usage: Option<Usage>,
    calls: Vec<OpenCall>,
    ids: emit::CallIds,
    finish: Option<Box<str>>,
    /// `[DONE]` came, or the whole of an answer.
    done: bool,
    says_something: bool,
    max_tokens: Option<u64>,
}

/// How the reply is read.
enum Shape {
    Unknown,
    Native,
    /// OpenAI's chunks or whole answer.
    Chat,
    /// Decoder of chunks of Responses.
    Responses(Box<ResponsesDecoder>),
}

struct OpenCall {
    index: Option<u64>,
    id: Option<Box<str>>,
}

impl WorkersDecoder {
    /// Builds a decoder for the answer to this job.
    #[must_use]
    pub fn new(model_call: ModelCall<'_>) -> WorkersDecoder {
        let max_tokens = Params::read(&model_call.job.input).ok();
        let max_tokens =
            max_tokens.and_then(|mut params| super::max_tokens(&mut params, &model_call.target.model).ok());
        WorkersDecoder {
            shape: Shape::Unknown,
            chat: openai_chat::ChatDecoder::by(&chat::RULES).for_job(model_call.job),
            usage: None,
            calls: Vec::new(),
            ids: emit::CallIds::of(model_call.job.id.as_str()),
            finish: None,
            done: false,
            says_something: false,
            max_tokens,
        }
    }
}

impl Decoder for WorkersDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        let step = match packet {
            Packet::Sse { event, data } => self.on_event(event, data.trim_ascii(), out),
            Packet::Line(body) | Packet::Whole(body) | Packet::Frame { data: body, .. } => {
                self.on_whole(body.trim_ascii(), out)
            }
        };
        match &self.shape {
            Shape::Chat => self.usage = better(self.usage.take(), self.chat.usage_so_far()),
            Shape::Responses(responses) => self.usage = better(self.usage.take(), responses.usage_so_far()),
            Shape::Unknown | Shape::Native => {}
        }
        step
    }

    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure> {
        let finish = match &mut self.shape {
            Shape::Chat => Some(self.chat.on_end(out)?),
            Shape::Responses(responses) => Some(responses.on_end(out)?),
            Shape::Unknown | Shape::Native => None,
        };
        if let Some(finish) = finish {
            return Ok(Finish { usage: self.usage.clone(), ..finish });
        }
        if !self.says_something || !(self.done || self.finish.is_some()) {
            return Err(emit::truncated());
        }
        let native = self.finish.take();
        let written = self.usage.as_ref().and_then(|usage| usage.output_tokens);
        let is_full = written.zip(self.max_tokens).is_some_and(|(written, most)| written >= most);
        let reason = match native.as_deref() {
            None if !self.calls.is_empty() => "tool_calls",
            None if is_full => "length",
            None => "stop",
            Some("stop") if !self.calls.is_empty() => "tool_calls",
            Some("max_tokens") => "length",
            Some("tool_call") => "tool_calls",
            Some(other) => other,
        };
        let reason = Box::<str>::from(reason);
        let native = native.filter(|native| *native != reason);
        Ok(Finish { reason, native, usage: self.usage.clone() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn bill(&self) -> Bill {
        match &self.shape {
            Shape::Chat => self.chat.bill(),
            Shape::Responses(responses) => responses.bill(),
            Shape::Unknown | Shape::Native => Bill::default(),
        }
    }
}

impl WorkersDecoder {
    fn on_event(&mut self, event: &str, data: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        let packet = Packet::Sse { event, data };
        match &mut self.shape {
            Shape::Unknown | Shape::Native => {}
            // Cloudflare's own way to say that something went wrong is not OpenAI's.
            _ if has_key(data, b"\"errors\"") && is_error(data) => return Err(failure::in_reply(data)),
            Shape::Chat => return self.chat.on_packet(packet, out),
            Shape::Responses(responses) => return responses.on_packet(packet, out),
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(Step::Done);
        }
        if data.is_empty() {
            return Ok(Step::More);
        }
        if matches!(self.shape, Shape::Unknown) {
            if has_key(data, b"\"choices\"") {
                self.shape = Shape::Chat;
                return self.on_event(event, data, out);
            }
            if event.starts_with("response.") || memmem::find(data, b"\"response.created\"").is_some() {
                self.shape = Shape::Responses(responses_decoder());
                return self.on_event(event, data, out);
            }
        }
        if event == "error" {
            return Err(failure::in_reply(data));
        }
        let chunk: Native<'_> = serde_json::from_slice(data).map_err(|_| emit::malformed())?;
        if chunk.is_error() {
            return Err(failure::in_reply(data));
        }
        if chunk.is_known() {
            self.shape = Shape::Native;
            self.on_native(chunk, out)?;
        } else {
            crate::telemetry::skipped_packet();
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
        let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|_| emit::malformed())?;
        if envelope.is_error() {
            return Err(failure::in_reply(body));
        }
        let inside = envelope.result.map(|result| result.get().as_bytes()).filter(|result| result.starts_with(b"{"));
        let (answer, answer_bytes) = match inside {
            Some(result) => (serde_json::from_slice(result).map_err(|_| emit::malformed())?, result),
            None => (envelope, body),
        };
        if answer.choices.is_some() {
            self.shape = Shape::Chat;
            return self.chat.on_packet(Packet::Whole(answer_bytes), out);
        }
        if answer.output.is_some() {
            let mut responses = responses_decoder();
            let step = responses.on_packet(Packet::Whole(answer_bytes), out);
            self.shape = Shape::Responses(responses);
            return step;
        }
        if answer.response.is_none() && answer.tool_calls.is_none() {
            return Err(failure::in_reply(body));
        }
        self.shape = Shape::Native;
        self.on_native(serde_json::from_slice(answer_bytes).map_err(|_| emit::malformed())?, out)?;
        self.done = true;
        Ok(Step::Done)
    }

    fn on_native(&mut self, chunk: Native<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        self.says_something = true;
        if let Some(text) = chunk.reasoning_content.map(written) {
            emit::text(Part::Reasoning, text, out);
        }
        if let Some(text) = chunk.response.map(written) {
            emit::text(Part::Text, text, out);
        }
        for call in chunk.tool_calls.into_iter().flatten() {
            self.on_call(call, out)?;
        }
        if let Some(usage) = chunk.usage {
            self.usage = better(self.usage.take(), openai_chat::usage_of(usage));
        }
        self.finish = chunk.finish_reason.filter(|reason| !reason.is_empty()).or(self.finish.take());
        Ok(())
    }

    /// Calls come whole and flat, or in pieces; a piece that says nothing closes one.
    fn on_call(&mut self, mut call: Call<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        let (name, arguments) = call.parts();
        let id = call.id.take().filter(|id| !id.is_empty());
        let known = match (call.index, &name) {
            (Some(index), None) => self.calls.iter().rposition(|call| call.index == Some(index)),
            (Some(index), Some(_)) => {
                self.calls.iter().rposition(|call| call.index == Some(index) && id.is_some() && call.id == id)
            }
            (None, None) => self.calls.len().checked_sub(1),
            (None, Some(_)) => None,
        };
        let Some(at) = known else {
            if name.is_none() {
                return if arguments.is_none() { Ok(()) } else { Err(emit::malformed()) };
            }
            // A numbered call without arguments gets them later.
            let is_begun = call.index.is_some() && arguments.is_none();
            let arguments = if is_begun { String::new() } else { emit::arguments(arguments) };
            let event = ToolCall { call_id: id, name, arguments, ..ToolCall::default() };
            return self.begin_call(call.index, event, out);
        };
        if let Some(arguments) = arguments {
            let arguments = emit::arguments(Some(arguments));
            emit::call(ToolCall { index: number(at), arguments, ..ToolCall::default() }, out);
        }
        Ok(())
    }

    fn begin_call(&mut self, index: Option<u64>, call: ToolCall, out: &mut Vec<Event>) -> Result<(), Failure> {
        if self.calls.len() == CALLS_MAX {
            return Err(emit::broken("the provider makes more tool calls than a client can answer"));
        }
        let at = number(self.calls.len());
        self.calls.push(OpenCall { index, id: call.call_id.clone() });
        let call_id = call.call_id.or_else(|| Some(self.ids.id(at)));
        emit::call(ToolCall { index: at, call_id, ..call }, out);
        Ok(())
    }
}

fn responses_decoder() -> Box<ResponsesDecoder> {
    Box::new(ResponsesDecoder::new(&responses::Rules::PLAIN, &chat::RULES.reply))
}

/// Whether the object has this key (in its quotes) anywhere. Inside a JSON string the quotes would
/// have backslashes before them, and a string that is just this word has no colon after it.
fn has_key(data: &[u8], key: &[u8]) -> bool {
    memmem::find_iter(data, key).any(|at| data[at + key.len()..].trim_ascii_start().starts_with(b":"))
}

fn is_error(data: &[u8]) -> bool {
    serde_json::from_slice::<Envelope<'_>>(data).is_ok_and(|envelope| envelope.is_error())
}

/// The newer usage, unless it is all zeros after one that is not: the compatible API closes streams
/// of some models with such a chunk.
fn better(known: Option<Usage>, newer: Option<Usage>) -> Option<Usage> {
    let says_something = |usage: &Usage| usage.input_tokens.unwrap_or(0) > 0 || usage.output_tokens.unwrap_or(0) > 0;
    match newer {
        Some(newer) if known.is_none() || says_something(&newer) => Some(newer),
        _ => known,
    }
}

/// A text as it is meant; null is none; anything else as JSON.
fn written(value: &RawValue) -> String {
    if value.get() == "null" {
        return String::new();
    }
    serde_json::from_str::<Cow<'_, str>>(value.get()).map_or_else(|_| value.get().to_owned(), Cow::into_owned)
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("at most CALLS_MAX")
}
