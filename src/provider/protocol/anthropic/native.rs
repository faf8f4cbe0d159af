//! Inputs that are in this dialect already.
//!
//! An input is taken as it is when something in it has no place in OpenAI's chat (a top-level
//! `system`, tools with an `input_schema`, blocks such as `tool_use` or an `image` with a `source`)
//! and nothing in it is OpenAI's alone (`tool_calls`, a tool's `function`, `max_completion_tokens`,
//! rules as the first message). In doubt it is OpenAI's: that reading knows this dialect's own
//! parameters and blocks too.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::job::Fields;
use crate::provider::chat;

const OURS: &[&str] =
    &["system", "stop_sequences", "anthropic_version", "output_format", "mcp_servers", "context_management"];

const FOREIGN: &[&str] = &[
    "max_completion_tokens",
    "stop",
    "response_format",
    "reasoning_effort",
    "reasoning",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "seed",
    "parallel_tool_calls",
    "user",
    "stream_options",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "prediction",
    "verbosity",
    "web_search_options",
    chat::ANTHROPIC,
];

const OUR_PARTS: &[&str] = &[
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
    "server_tool_use",
    "document",
    "search_result",
    "container_upload",
];

const FOREIGN_PARTS: &[&str] = &["image_url", "input_audio", "input_image", "input_text", "file", "refusal"];

/// What a piece of an input says of whose it is.
#[derive(Default)]
struct Signs {
    ours: bool,
    foreign: bool,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
    #[serde(default)]
    tool_call_id: Option<IgnoredAny>,
    #[serde(default)]
    reasoning_details: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    source: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawTool<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    function: Option<IgnoredAny>,
    #[serde(default)]
    input_schema: Option<IgnoredAny>,
}

/// Whether an input with these fields is in this dialect.
pub(super) fn is_native(fields: &Fields<'_>) -> bool {
    let mut signs = Signs::default();
    for (name, value) in &fields.0 {
        if value.get() == "null" {
            continue;
        }
        signs.ours |= OURS.contains(&&**name);
        signs.foreign |= FOREIGN.contains(&&**name);
        match &**name {
            "tools" => signs.of_tools(value),
            "tool_choice" => signs.of_choice(value),
            _ => {}
        }
    }
    // Messages may hold megabytes of images: they are looked at last.
    if !signs.foreign
        && let Some((_, messages)) = fields.0.iter().rev().find(|(name, _)| name == "messages")
    {
        signs.of_messages(messages);
    }
    signs.ours && !signs.foreign
}

impl Signs {
    fn of_tools(&mut self, value: &RawValue) {
        let tools: Vec<RawTool<'_>> = serde_json::from_str(value.get()).unwrap_or_default();
        for tool in tools {
            let versioned = tool.kind.as_deref().is_some_and(is_versioned);
            self.ours |= tool.input_schema.is_some() || versioned;
            self.foreign |= tool.function.is_some();
        }
    }

    fn of_choice(&mut self, value: &RawValue) {
        match serde_json::from_str::<RawTool<'_>>(value.get()) {
            Ok(choice) => {
                self.foreign |= choice.function.is_some();
                self.ours |= matches!(choice.kind.as_deref(), Some("auto" | "any" | "tool" | "none"));
            }
            // A word.
            Err(_) => self.foreign = true,
        }
    }

    fn of_messages(&mut self, value: &RawValue) {
        let messages: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
        for (at, message) in messages.into_iter().enumerate() {
            let Ok(message) = serde_json::from_str::<RawMessage<'_>>(message.get()) else { continue };
            self.foreign |= matches!(&*message.role, "developer" | "tool" | "function")
                || (at == 0 && message.role == "system")
                || message.tool_calls.is_some()
                || message.tool_call_id.is_some()
                || message.reasoning_details.is_some();
            let content = message.content.map_or("", RawValue::get);
            if content.starts_with('[') {
                let parts: Vec<RawPart<'_>> = serde_json::from_str(content).unwrap_or_default();
                for part in parts {
                    self.ours |= OUR_PARTS.contains(&&*part.kind) || (part.kind == "image" && part.source.is_some());
                    self.foreign |= FOREIGN_PARTS.contains(&&*part.kind);
                }
            }
        }
    }
}

/// Whether this is the type of a tool of Anthropic's own: `web_search_20250305`.
pub(super) fn is_versioned(kind: &str) -> bool {
    let date = kind.rsplit('_').next().unwrap_or("");
    date.len() == 8 && date.len() < kind.len() && date.bytes().all(|byte| byte.is_ascii_digit())
}
