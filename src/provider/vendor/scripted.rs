//! The built-in provider that plays a script: for tests, demos and benches.
//!
//! The script is the input's field `script`, else the file that the configuration names, else the
//! prompt is said back word by word. The format is in `provider/script.rs`.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::{Event, Failure, Output, OutputBody, Task};
use crate::provider::protocol::openai_chat::ChatDecoder;
use crate::provider::protocol::{error, openai_chat};
use crate::provider::script::Script;
use crate::provider::{
    Auth, Card, Decoder, Finish, Framing, Headers, ModelCall, Outbound, Packet, Prefill, Provider, Route, Step,
};

pub(super) struct Scripted;

static CARD: Card = Card {
    id: "scripted",
    base_url: "script:",
    auth: Auth::None,
    plays_scripts: true,
    docs: "src/provider/script.rs",
    ..Card::PLAIN
};

impl Provider for Scripted {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        let ModelCall { job, endpoint, .. } = model_call;
        if !matches!(job.task, Task::Chat | Task::Embedding | Task::Prediction) {
            return Err(Failure::unsupported("task", "a script plays chat, embedding and prediction"));
        }
        let fields = openai_chat::fields(&job.input)?.0;
        let field = |name: &str| fields.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value);
        let mut script = match (field("script"), &endpoint.script) {
            (Some(script), _) => Script::parse(script.get(), "input.script")?,
            (None, Some(script)) => script.clone(),
            (None, None) => Script::echo(&prompt(field("messages"), field("input").or(field("prompt")))),
        };
        if model_call.prefilled {
            script.go_on_after(&last(field("messages")));
        }
        Ok(Outbound {
            route: Route::Script(script),
            body: job.input.get().to_owned().into(),
            framing: Framing::Sse,
            dropped: Vec::new(),
        })
    }

    /// The timeline of the next attempt is what comes next.
    fn known_prefill(&self, _ask: ModelCall<'_>) -> Prefill {
        Prefill::Exact
    }

    fn decoder(&self, _ask: ModelCall<'_>) -> Box<dyn Decoder> {
        Box::<ScriptDecoder>::default()
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        error::classify(status, headers, body)
    }
}

/// What the user said last.
fn prompt(messages: Option<&RawValue>, input: Option<&RawValue>) -> String {
    let value =
        |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()).unwrap_or_default();
    let messages = value(messages);
    let last = messages.as_array().into_iter().flatten().rev().find(|message| message["role"] == "user");
    match last.map(|message| &message["content"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => value(input).as_str().unwrap_or("").to_owned(),
    }
}

/// The text of the last message.
fn last(messages: Option<&RawValue>) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        #[serde(default)]
        content: Value,
    }
    let messages: Vec<Message> = messages.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    messages.last().and_then(|message| message.content.as_str()).unwrap_or("").to_owned()
}

/// The chat decoder, and outputs, which chat does not know.
#[derive(Default)]
struct ScriptDecoder {
    chat: ChatDecoder,
    outputs: u32,
}

impl Decoder for ScriptDecoder {
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        if let Packet::Sse { event: "output", data } = packet {
            let mut packet: Value = serde_json::from_slice(data).unwrap_or_default();
            out.push(Event::Output(Output {
                index: self.outputs,
                mime: "application/json".into(),
                sha256: None,
                body: OutputBody::Value(packet["value"].take()),
            }));
            self.outputs += 1;
            return Ok(Step::More);
        }
        self.chat.on_packet(packet, out)
    }

    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure> {
        self.chat.on_end(out)
    }

    fn usage_so_far(&self) -> Option<crate::job::Usage> {
        self.chat.usage_so_far()
    }
}
