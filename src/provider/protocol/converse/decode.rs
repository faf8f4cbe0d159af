//! From the frames of a ConverseStream, or a whole Converse answer, to the events of a job.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::emit::{push_arguments, push_event, push_extra, push_fields, push_text, push_value};
use super::error;
use super::wire::{Block, BlockDelta, BlockStart, BlockStop, Call, Metadata, Reasoning, Stop, Whole};
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Bill, Code, Event, Failure, Part, ToolCall, Usage};
use crate::provider::protocol::emit;
use crate::provider::{Decoder, Finish, Packet, Step};

/// Calls that one answer may make; more is no tool loop.
const CALLS_MAX: usize = 1024;
/// Bytes of reasoning that are said again beside their signature.
const THOUGHT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a signature, or of the input of Bedrock's own tool: the largest seen is far below.
const GATHERED_BYTES_MAX: usize = 256 * 1024;

/// Decodes one reply, streamed or whole.
#[derive(Default)]
pub struct ConverseDecoder {
    /// The block that each call came in.
    calls: Vec<u32>,
    /// What must be said once, when its block is complete.
    gathered: Option<PartialBlock>,
    /// Pieces of reasoning that were told with their signature.
    thoughts: u32,
    stop: Option<Box<str>>,
    usage: Option<Usage>,
    bill: Bill,
}

/// A block of which something must be said as a whole.
struct PartialBlock {
    block: u32,
    what: What,
}

enum What {
    /// `None` for a text that is too long to be said again.
    Thought { text: Option<String>, signature: String },
    /// A call of a tool that Bedrock runs itself.
    OwnCall { call: Map<String, Value>, input: String },
}

impl Decoder for ConverseDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        match packet {
            Packet::Frame { message: "event", event, data } => self.on_event(event, data, out),
            Packet::Frame { event, data, .. } => Err(error::in_stream(event, data)),
            Packet::Whole(body) | Packet::Line(body) | Packet::Sse { data: body, .. } => self.on_whole(body, out),
        }
    }

    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure> {
        let native = self.stop.clone().ok_or_else(emit::truncated)?;
        self.complete(out);
        let reason = match meaning(&native)? {
            "stop" if !self.calls.is_empty() => "tool_calls",
            reason => reason,
        };
        let reason = Box::<str>::from(reason);
        let native = (reason != native).then_some(native);
        Ok(Finish { reason, native, usage: self.usage.clone() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn bill(&self) -> Bill {
        self.bill.clone()
    }
}

impl ConverseDecoder {
    fn on_event(&mut self, event: &str, data: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        match event {
            "contentBlockDelta" => self.on_delta(read(data)?, out)?,
            "contentBlockStart" => self.on_start(read(data)?, out)?,
            "contentBlockStop" => {
                let BlockStop { index } = read(data)?;
                if self.gathered.as_ref().is_some_and(|gathered| gathered.block == index) {
                    self.complete(out);
                }
            }
            "messageStart" => {}
            "messageStop" => {
                let stop: Stop<'_> = read(data)?;
                self.complete(out);
                self.stop = Some(stop.reason.0.into());
                push_fields(&[("additionalModelResponseFields", stop.additional)], out);
            }
            "metadata" => {
                self.on_metadata(&read(data)?, out);
                // It comes after `messageStop`; what comes before it would be no end.
                if self.stop.is_some() {
                    return Ok(Step::Done);
                }
            }
            _ => crate::telemetry::skipped_packet(),
        }
        Ok(Step::More)
    }

    fn on_delta(&mut self, parsed: BlockDelta<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        let delta = parsed.delta;
        if let Some(text) = delta.text {
            push_text(Part::Text, text.0, out);
        }
        if let Some(call) = delta.tool_use {
            self.on_input(parsed.index, &call.input.0, out)?;
        }
        if let Some(reasoning) = delta.reasoning {
            self.on_reasoning(parsed.index, reasoning, out)?;
        }
        for (name, value) in delta.rest {
            push_extra("delta", &name, value, out);
        }
        Ok(())
    }

    /// Text and reasoning have no start. What starts is a call, or the result of Bedrock's own tool.
    fn on_start(&mut self, parsed: BlockStart<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        if let Some(call) = parsed.start.tool_use {
            if call.is_own() {
                let mut fields = Map::new();
                fields.insert("toolUseId".into(), call.id.0.into());
                fields.insert("name".into(), call.name.0.into());
                fields.insert("type".into(), call.kind.map(|kind| kind.0.into()).unwrap_or_default());
                self.gather(parsed.index, What::OwnCall { call: fields, input: String::new() }, out);
            } else {
                self.begin_call(parsed.index, call, "", out)?;
            }
        }
        for (name, value) in parsed.start.rest {
            push_extra("delta", &name, value, out);
        }
        Ok(())
    }

    fn begin_call(&mut self, block: u32, call: Call<'_>, input: &str, out: &mut Vec<Event>) -> Result<(), Failure> {
        if self.calls.len() == CALLS_MAX {
            return Err(emit::broken("the provider makes more tool calls than a client can answer"));
        }
        let index = u32::try_from(self.calls.len()).expect("at most CALLS_MAX");
        self.calls.push(block);
        let (call_id, name) = (Some(call.id.0.into()), Some(call.name.0.into()));
        let (first, more) = input.split_at(input.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        out.push(Event::ToolCall(ToolCall { index, call_id, name, arguments: first.to_owned() }));
        push_arguments(index, more, out);
        Ok(())
    }

    fn on_input(&mut self, block: u32, fragment: &str, out: &mut Vec<Event>) -> Result<(), Failure> {
        if let Some(PartialBlock { block: own, what: What::OwnCall { input, .. } }) = &mut self.gathered
            && *own == block
        {
            return append(input, fragment);
        }
        let at = self.calls.iter().rposition(|known| *known == block);
        let at = at.ok_or_else(|| emit::broken("the provider sent a piece of a tool call that had not begun"))?;
        push_arguments(u32::try_from(at).expect("at most CALLS_MAX"), fragment, out);
        Ok(())
    }

    fn on_reasoning(&mut self, block: u32, parsed: Reasoning<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        if let Some(data) = parsed.redacted {
            let detail = json!({"type": "reasoning.encrypted", "data": data.0});
            self.push_thought(detail, out);
        }
        if parsed.text.is_none() && parsed.signature.is_none() {
            return Ok(());
        }
        if !matches!(&self.gathered, Some(PartialBlock { block: known, what: What::Thought { .. } }) if *known == block)
        {
            self.gather(block, What::Thought { text: Some(String::new()), signature: String::new() }, out);
        }
        if let Some(PartialBlock { what: What::Thought { text: so_far, signature }, .. }) = &mut self.gathered {
            if let Some(piece) = &parsed.text {
                match so_far {
                    Some(text) if text.len() + piece.0.len() <= THOUGHT_BYTES_MAX => text.push_str(&piece.0),
                    _ => *so_far = None,
                }
            }
            append(signature, parsed.signature.as_ref().map_or("", |signature| &signature.0))?;
        }
        push_text(Part::Reasoning, parsed.text.unwrap_or_default().0, out);
        Ok(())
    }

    fn gather(&mut self, block: u32, what: What, out: &mut Vec<Event>) {
        self.complete(out);
        self.gathered = Some(PartialBlock { block, what });
    }

    /// Says what had to wait for the end of its block.
    fn complete(&mut self, out: &mut Vec<Event>) {
        match self.gathered.take().map(|gathered| gathered.what) {
            // Without a signature there is nothing that must be sent back.
            Some(What::Thought { text, signature }) if !signature.is_empty() => {
                let mut detail = json!({"type": "reasoning.text", "signature": signature});
                if let Some(text) = text {
                    detail["text"] = text.into();
                }
                self.push_thought(detail, out);
            }
            Some(What::OwnCall { mut call, input }) => {
                let input = serde_json::from_str(&input).unwrap_or(Value::String(input));
                call.insert("input".into(), input);
                push_value("delta", "toolUse", Value::Object(call), out);
            }
            _ => {}
        }
    }

    fn push_thought(&mut self, mut detail: Value, out: &mut Vec<Event>) {
        detail["format"] = "anthropic-claude-v1".into();
        detail["index"] = self.thoughts.into();
        self.thoughts += 1;
        push_event("delta", "reasoning_details", json!([detail]), out);
    }

    fn on_metadata(&mut self, parsed: &Metadata<'_>, out: &mut Vec<Event>) {
        if let Some(usage) = &parsed.usage {
            self.usage = usage.usage().or_else(|| self.usage.take());
            self.bill.cache_write_1h_tokens = usage.kept_an_hour();
        }
        if let Some(tier) = &parsed.service_tier {
            self.bill.service_tier = Some((&*tier.kind.0).into());
        }
        let unusual = parsed.performance.filter(|config| !config.get().contains("\"standard\""));
        push_fields(&[("trace", parsed.trace), ("performanceConfig", unusual)], out);
    }

    fn on_whole(&mut self, body: &[u8], out: &mut Vec<Event>) -> Result<Step, Failure> {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Err(emit::broken("the provider gave an empty answer"));
        }
        let whole: Whole<'_> = read(body)?;
        let Some(output) = whole.output else { return Err(error::in_body(body)) };
        for (at, raw) in output.message.content.into_iter().enumerate() {
            let index = u32::try_from(at).unwrap_or(u32::MAX);
            let block: Block<'_> = serde_json::from_str(raw.get()).map_err(|_| emit::malformed())?;
            self.on_block(index, block, out)?;
        }
        self.stop = whole.stop.map(|reason| reason.0.into());
        self.on_metadata(&read(body)?, out);
        push_fields(&[("additionalModelResponseFields", whole.additional)], out);
        Ok(Step::Done)
    }

    fn on_block(&mut self, index: u32, block: Block<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        if let Some(text) = block.text {
            push_text(Part::Text, text.0, out);
        }
        if let Some(parsed) = block.reasoning {
            let (text, signature) = parsed.inner.map_or((None, None), |inner| (inner.text, inner.signature));
            self.on_reasoning(index, Reasoning { text, signature, redacted: parsed.redacted }, out)?;
            self.complete(out);
        }
        if let Some(call) = block.tool_use {
            let input = call.input.map_or("{}", RawValue::get);
            if call.is_own() {
                let input: Value = serde_json::from_str(input).unwrap_or_default();
                let kind = call.kind.map(|kind| kind.0);
                let call = json!({"toolUseId": call.id.0, "name": call.name.0, "type": kind, "input": input});
                push_value("delta", "toolUse", call, out);
            } else {
                self.begin_call(index, call, input, out)?;
            }
        }
        if let Some(cited) = block.citations {
            for piece in cited.content {
                push_text(Part::Text, piece.text.unwrap_or_default().0, out);
            }
            for citation in cited.citations {
                push_extra("delta", "citation", citation, out);
            }
        }
        for (name, value) in block.rest {
            push_extra("delta", &name, value, out);
        }
        Ok(())
    }
}

/// One vocabulary for why an answer ended.
fn meaning(native: &str) -> Result<&str, Failure> {
    Ok(match native {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "guardrail_intervened" | "content_filtered" => "content_filter",
        // The model lost itself; asked again it may not.
        "malformed_model_output" | "malformed_tool_use" => {
            let message = format!("the model made an answer that cannot be read: {native}");
            let mut failure = Failure::new(Code::ProviderUnavailable, message).of_the_target();
            failure.provider_code = Some(native.into());
            return Err(failure);
        }
        other => other,
    })
}

fn append(text: &mut String, piece: &str) -> Result<(), Failure> {
    if text.len() + piece.len() > GATHERED_BYTES_MAX {
        return Err(emit::broken("the provider sent a signature or an input that is too long"));
    }
    text.push_str(piece);
    Ok(())
}

fn read<'a, T: serde::Deserialize<'a>>(data: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(data).map_err(|_| emit::malformed())
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
