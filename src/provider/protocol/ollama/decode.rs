//! From Ollama's lines, or its one object, to the events of a job.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::job::{Code, Event, Failure, Part, ToolCall, Usage, UsageSource};
use crate::provider::protocol::{emit, error};
use crate::provider::{Decoder, Finish, Packet, Step};

/// Calls that one answer may make; more is no tool loop.
const CALLS_MAX: u32 = 1024;

/// A line, or the one object of a whole answer; `response` and `thinking` stand at the top in answers
/// of `/api/generate`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    response: Option<String>,
    thinking: Option<String>,
    done: bool,
    done_reason: Option<Box<str>>,
    #[serde(deserialize_with = "emit::count")]
    prompt_eval_count: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    eval_count: Option<u64>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message<'a> {
    content: Option<String>,
    thinking: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default)]
    id: Option<Box<str>>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: Box<str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// Decodes the answer to one chat.
pub struct ChatDecoder {
    ids: emit::CallIds,
    calls: u32,
    finish: Option<Box<str>>,
    /// The model was loaded or unloaded, which is an end but no answer.
    idle: Option<Box<str>>,
    usage: Option<Usage>,
}

impl ChatDecoder {
    /// Builds a decoder for the job of this id, from which calls without ids get theirs.
    #[must_use]
    pub fn new(job: &str) -> ChatDecoder {
        ChatDecoder { ids: emit::CallIds::of(job), calls: 0, finish: None, idle: None, usage: None }
    }
}

impl Decoder for ChatDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        let (Packet::Line(data) | Packet::Whole(data) | Packet::Sse { data, .. } | Packet::Frame { data, .. }) = packet;
        if data.trim_ascii_start().starts_with(b"<") {
            return Err(error::in_reply(data));
        }
        // A proxy may call the lines a whole body.
        let mut lines = serde_json::Deserializer::from_slice(data).into_iter::<Line<'_>>();
        while self.finish.is_none()
            && let Some(line) = lines.next()
        {
            self.on_line(line.map_err(|_| emit::malformed())?, data, out)?;
        }
        Ok(if self.finish.is_some() { Step::Done } else { Step::More })
    }

    fn on_end(&mut self, _out: &mut Vec<Event>) -> Result<Finish, Failure> {
        let Some(native) = self.finish.take() else {
            let Some(idle) = self.idle.take() else { return Err(emit::truncated()) };
            let message = format!("the provider says `{idle}`: the model was moved, and nothing was generated");
            let mut failure = Failure::new(Code::ProviderTruncated, message).of_the_target();
            failure.provider_code = Some(idle);
            return Err(failure);
        };
        let reason = match &*native {
            "stop" if self.calls > 0 => "tool_calls",
            other => other,
        };
        let reason = Box::<str>::from(reason);
        let native = (reason != native).then_some(native);
        Ok(Finish { reason, native, usage: self.usage.clone() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.clone()
    }
}

impl ChatDecoder {
    fn on_line(&mut self, line: Line<'_>, data: &[u8], out: &mut Vec<Event>) -> Result<(), Failure> {
        if line.error.is_some() {
            return Err(error::in_reply(data));
        }
        let message = line.message.unwrap_or_default();
        for thinking in [message.thinking, line.thinking].into_iter().flatten() {
            emit::text(Part::Reasoning, thinking, out);
        }
        for text in [message.content, line.response].into_iter().flatten() {
            emit::text(Part::Text, text, out);
        }
        for call in message.tool_calls.into_iter().flatten() {
            self.on_call(call, out)?;
        }
        if let Some(list) = line.logprobs.filter(|list| list.get().starts_with('[') && list.get() != "[]") {
            // The same list that OpenAI has under `content`.
            let content = RawValue::from_string(format!(r#"{{"content":{}}}"#, list.get()));
            emit::aside("choice", "logprobs", &content.map_err(|_| emit::malformed())?, out);
        }
        if !line.done {
            return Ok(());
        }
        if line.prompt_eval_count.is_some() || line.eval_count.is_some() {
            self.usage = Some(Usage {
                input_tokens: line.prompt_eval_count,
                output_tokens: line.eval_count,
                source: UsageSource::Provider,
                ..Usage::default()
            });
        }
        match line.done_reason {
            Some(reason) if matches!(&*reason, "load" | "unload") => self.idle = Some(reason),
            // Older servers give no reason.
            reason => self.finish = Some(reason.filter(|reason| !reason.is_empty()).unwrap_or("stop".into())),
        }
        Ok(())
    }

    /// Calls come whole; their arguments are an object.
    fn on_call(&mut self, call: Call<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        if self.calls == CALLS_MAX {
            return Err(emit::broken("the provider makes more tool calls than a client can answer"));
        }
        let index = self.calls;
        self.calls += 1;
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.ids.id(index));
        let arguments = emit::arguments(call.function.arguments);
        let name = Some(call.function.name);
        emit::call(ToolCall { index, call_id: Some(id), name, arguments }, out);
        Ok(())
    }
}
