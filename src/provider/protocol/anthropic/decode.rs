//! From the bytes of an answer, streamed or whole, to the events of a job.

use serde_json::json;
use serde_json::value::RawValue;

use super::extra::Extras;
use super::model::Model;
use super::open::{self, Open, Thought};
use super::usage::RawUsage;
use super::wire::{self, Text};
use super::{Site, failure, finish};
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Bill, Delta, Event, Failure, Part, ToolCall, Usage};
use crate::provider::protocol::emit;
use crate::provider::{self, Decoder, Finish, ModelCall, Packet, Step};

/// Blocks that are told at the same time; today's servers tell one after the other.
const OPEN_MAX: usize = 64;
/// Calls that one answer may make; more is no tool loop.
const CALLS_MAX: u32 = 1024;

/// Decodes one reply, streamed or whole.
pub struct MessagesDecoder {
    /// The mark of this model's thoughts.
    format: &'static str,
    open: Vec<(u32, Open)>,
    calls: u32,
    thoughts: u32,
    usage: RawUsage,
    extras: Extras,
    /// Bytes of the answer so far.
    told_bytes: u64,
    stop_reason: Option<Box<str>>,
    done: bool,
}

impl MessagesDecoder {
    /// A decoder for one reply to that request.
    #[must_use]
    pub fn new(model_call: ModelCall<'_>, site: Site) -> MessagesDecoder {
        MessagesDecoder {
            format: Model::of(site, &model_call.target.model).reasoning_format(),
            open: Vec::new(),
            calls: 0,
            thoughts: 0,
            usage: RawUsage::default(),
            extras: Extras::default(),
            told_bytes: 0,
            stop_reason: None,
            done: false,
        }
    }
}

impl Decoder for MessagesDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        if self.done {
            return Ok(Step::Done);
        }
        match packet {
            Packet::Sse { data, event } => self.on_event(event, data.trim_ascii(), out),
            Packet::Line(data) | Packet::Frame { data, .. } => self.on_event("", data.trim_ascii(), out),
            Packet::Whole(body) => self.on_whole(body.trim_ascii(), out),
        }
    }

    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure> {
        let native = match self.stop_reason.take() {
            Some(native) => native,
            None if self.done => "unknown".into(),
            None => return Err(emit::truncated()),
        };
        self.extras.flush(out);
        let (reason, native) = finish::meaning(native, self.calls > 0);
        Ok(Finish { reason, native, usage: self.usage.usage(provider::estimate_tokens(self.told_bytes)) })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.usage(provider::estimate_tokens(self.told_bytes))
    }

    fn bill(&self) -> Bill {
        self.usage.bill()
    }
}

impl MessagesDecoder {
    fn on_event(&mut self, name: &str, data: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        if data.is_empty() {
            return Ok(Step::More);
        }
        if data == b"[DONE]" {
            // No provider documents it, but gateways in front of this protocol send it.
            self.done = self.stop_reason.is_some();
            return Ok(if self.done { Step::Done } else { Step::More });
        }
        let event: wire::Event<'_> = match serde_json::from_slice(data) {
            Ok(event) => event,
            Err(_) if name == "error" && !data.starts_with(b"{") => return Err(failure::in_reply(data)),
            Err(_) => return Err(emit::malformed()),
        };
        match (&*event.kind.0, event.delta, event.index.unwrap_or(0)) {
            ("content_block_delta", Some(delta), index) => self.on_delta(index, &delta, out)?,
            ("content_block_start", _, index) => {
                let block = event.content_block.ok_or_else(emit::malformed)?;
                self.start(index, block, out)?;
            }
            ("content_block_stop", _, index) => self.stop(index, out),
            ("message_start", ..) => self.on_start(event.message),
            ("message_delta", delta, _) => {
                if let Some(usage) = event.usage {
                    self.usage.update(usage, true);
                }
                let delta = delta.unwrap_or_default();
                self.stops(&delta.stop_reason, delta.stop_sequence, delta.stop_details, delta.container);
                self.extras.hold("chunk", "context_management", event.context_management);
            }
            ("message_stop", ..) => {
                self.stop_all(out);
                self.done = true;
                return Ok(Step::Done);
            }
            ("ping", ..) => {}
            ("error", ..) => return Err(failure::in_reply(data)),
            ("message", ..) => return self.on_whole(data, out),
            _ if event.error.is_some() || name == "error" => return Err(failure::in_reply(data)),
            // Documented: more kinds may come.
            _ => crate::telemetry::skipped_packet(),
        }
        Ok(Step::More)
    }

    fn on_whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        if body.is_empty() {
            return Err(emit::broken("the provider gave an empty answer"));
        }
        if body.starts_with(b"<") {
            return Err(failure::in_reply(body));
        }
        let answer: wire::Answer<'_> = serde_json::from_slice(body).map_err(|_| emit::malformed())?;
        let Some(content) = answer.content.filter(|_| &*answer.kind.0 != "error") else {
            return Err(failure::in_reply(body));
        };
        self.model(&answer.model);
        for (index, block) in (0..).zip(content) {
            self.start(index, block, out)?;
            self.stop(index, out);
        }
        if let Some(usage) = answer.usage {
            self.usage.update(usage, true);
        }
        self.stops(&answer.stop_reason, answer.stop_sequence, answer.stop_details, answer.container);
        self.extras.hold("chunk", "context_management", answer.context_management);
        self.done = true;
        Ok(Step::Done)
    }

    fn on_start(&mut self, message: Option<&RawValue>) {
        let Some(answer) = message.and_then(|raw| serde_json::from_str::<wire::Answer<'_>>(raw.get()).ok()) else {
            return;
        };
        self.model(&answer.model);
        if let Some(usage) = answer.usage {
            self.usage.update(usage, false);
        }
    }

    /// Which model it really is: names without a date are served by one with.
    fn model(&mut self, model: &Text<'_>) {
        if let Some(model) = model.non_empty() {
            let model = serde_json::value::to_raw_value(model).ok();
            self.extras.hold("chunk", "model", model.as_deref());
        }
    }

    fn stops(
        &mut self,
        reason: &Text<'_>,
        sequence: Option<&RawValue>,
        details: Option<&RawValue>,
        container: Option<&RawValue>,
    ) {
        if let Some(reason) = reason.non_empty() {
            self.stop_reason = Some(reason.into());
        }
        self.extras.hold("choice", "stop_sequence", sequence);
        self.extras.hold("choice", "stop_details", details);
        self.extras.hold("chunk", "container", container);
    }

    fn start(&mut self, index: u32, raw: &RawValue, out: &mut Vec<Event>) -> Result<(), Failure> {
        let block: wire::Block<'_> = serde_json::from_str(raw.get()).map_err(|_| emit::malformed())?;
        if self.open.len() == OPEN_MAX {
            return Err(emit::broken("the provider begins more than it ends"));
        }
        let open = match &*block.kind.0 {
            "text" => {
                let citations = block.citations.and_then(|all| serde_json::from_str::<Vec<&RawValue>>(all.get()).ok());
                for citation in citations.into_iter().flatten() {
                    self.extras.cite(citation);
                }
                self.push_text(Part::Text, &block.text.0, out);
                Open::Text
            }
            "thinking" => {
                let mut thought = Thought::default();
                thought.think(&block.thinking.0);
                thought.seal(&block.signature.0);
                self.push_text(Part::Reasoning, &block.thinking.0, out);
                Open::Thinking(thought)
            }
            "redacted_thinking" => {
                open::redacted(&block.data.0, self.thoughts, self.format, out);
                self.thoughts += 1;
                return Ok(());
            }
            "tool_use" => self.start_call(&block, out)?,
            _ => Open::own(raw.get()),
        };
        self.open.push((index, open));
        Ok(())
    }

    fn start_call(&mut self, block: &wire::Block<'_>, out: &mut Vec<Event>) -> Result<Open, Failure> {
        if self.calls == CALLS_MAX {
            return Err(emit::broken("the provider makes more tool calls than a client can answer"));
        }
        let number = self.calls;
        self.calls += 1;
        self.extras.flush(out);
        let parsed = |text: &Text<'_>| text.non_empty().map(Into::into);
        let arguments = String::new();
        out.push(Event::ToolCall(ToolCall {
            index: number,
            call_id: parsed(&block.id),
            name: parsed(&block.name),
            arguments,
        }));
        // Who calls, where it is not the model itself.
        if let Some(caller) = block.caller.filter(|caller| !caller.get().contains("\"direct\"")) {
            let caller: serde_json::Value = serde_json::from_str(caller.get()).unwrap_or_default();
            let extra = json!({"delta": {"tool_calls": [{"index": number, "caller": caller}]}});
            out.push(Event::Delta(Delta { extra: Some(Box::new(extra)), ..Delta::default() }));
        }
        Ok(Open::Tool { number, any: false, input: open::whole_input(block) })
    }

    fn on_delta(&mut self, index: u32, delta: &wire::Delta<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        match &*delta.kind.0 {
            "text_delta" => self.push_text(Part::Text, &delta.text.0, out),
            "thinking_delta" => {
                if let Some(Open::Thinking(thought)) = self.block(index) {
                    thought.think(&delta.thinking.0);
                }
                self.push_text(Part::Reasoning, &delta.thinking.0, out);
            }
            "input_json_delta" => {
                let piece = &*delta.partial_json.0;
                match self.block(index) {
                    Some(Open::Tool { number, any, .. }) if !piece.is_empty() => {
                        *any = true;
                        let number = *number;
                        self.push_arguments(number, piece, out);
                    }
                    Some(Open::Own { input, .. }) => Open::own_input(input, piece),
                    _ => {}
                }
            }
            "signature_delta" => {
                if let Some(Open::Thinking(thought)) = self.block(index) {
                    thought.seal(&delta.signature.0);
                }
            }
            "citations_delta" => {
                if let Some(citation) = delta.citation {
                    self.extras.cite(citation);
                }
            }
            // A block whose content comes whole, after its start.
            _ if delta.content.is_some() => {
                if let (Some(Open::Own { raw, .. }), Some(content)) = (self.block(index), delta.content) {
                    let mut block: serde_json::Value = serde_json::from_str(raw).unwrap_or_default();
                    block["content"] = serde_json::from_str(content.get()).unwrap_or_default();
                    *raw = block.to_string().into();
                }
            }
            _ => crate::telemetry::skipped_packet(),
        }
        Ok(())
    }

    fn block(&mut self, index: u32) -> Option<&mut Open> {
        self.open.iter_mut().rev().find(|(known, _)| *known == index).map(|(_, open)| open)
    }

    fn stop(&mut self, index: u32, out: &mut Vec<Event>) {
        let Some(at) = self.open.iter().rposition(|(known, _)| *known == index) else { return };
        match self.open.remove(at).1 {
            // Sources that came behind their text.
            Open::Text => self.extras.flush(out),
            Open::Thinking(thought) => self.thoughts += u32::from(thought.details(self.thoughts, self.format, out)),
            Open::Tool { number, any: false, input } => {
                self.push_arguments(number, input.as_deref().unwrap_or("{}"), out);
            }
            Open::Tool { .. } => {}
            Open::Own { raw, input } => {
                let extra = json!({"delta": {"content": [open::own_block(&raw, &input)]}});
                out.push(Event::Delta(Delta { extra: Some(Box::new(extra)), ..Delta::default() }));
            }
        }
    }

    fn stop_all(&mut self, out: &mut Vec<Event>) {
        while let Some((index, _)) = self.open.first() {
            self.stop(*index, out);
        }
    }

    fn push_text(&mut self, part: Part, mut text: &str, out: &mut Vec<Event>) {
        self.told_bytes += text.len() as u64;
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
            out.push(Event::Delta(Delta { part, index: 0, text: piece.to_owned(), extra: self.extras.ride() }));
            text = rest;
        }
    }

    fn push_arguments(&mut self, number: u32, mut arguments: &str, out: &mut Vec<Event>) {
        self.told_bytes += arguments.len() as u64;
        while !arguments.is_empty() {
            let (piece, rest) = arguments.split_at(arguments.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
            out.push(Event::ToolCall(ToolCall { index: number, arguments: piece.to_owned(), ..ToolCall::default() }));
            arguments = rest;
        }
    }
}
