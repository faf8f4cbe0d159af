//! Messages of a chat as items of an input.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::rule::Rules;
use crate::job::Failure;
use crate::provider::chat::{Body, Message, Part, Role, Source, Thought, unsupported};

/// The items of a chat, as a JSON list.
pub(super) struct Items<'a> {
    json: String,
    rules: &'a Rules,
    /// The provider's name, for refusals.
    provider: &'a str,
    /// Whether the provider keeps what it answered.
    stored: bool,
}

impl<'a> Items<'a> {
    pub(super) fn new(rules: &'a Rules, provider: &'a str, stored: bool, bytes: usize) -> Items<'a> {
        let mut json = String::with_capacity(bytes);
        json.push('[');
        Items { json, rules, provider, stored }
    }

    pub(super) fn into_json(mut self) -> String {
        self.json.push(']');
        self.json
    }

    pub(super) fn push(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        match message.role {
            Role::System => self.input_message("system", message),
            Role::User => self.input_message("user", message),
            Role::Assistant => self.assistant(message),
            Role::Tool => self.result(message),
        }
    }

    fn item(&mut self, item: Body) {
        if self.json.len() > 1 {
            self.json.push(',');
        }
        self.json.push_str(&item.into_json());
    }

    fn input_message(&mut self, role: &str, message: &Message<'_>) -> Result<(), Failure> {
        let mut item = Body::default();
        item.put("role", role).put_json("content", &self.content(message)?);
        self.item(item);
        Ok(())
    }

    /// One text as it is, anything else as a list of parts.
    fn content(&self, message: &Message<'_>) -> Result<String, Failure> {
        if let [Part::Text { text, .. }] = &message.parts[..] {
            return Ok(serde_json::to_string(text).expect("a string is JSON"));
        }
        let parts = message.parts.iter().enumerate();
        let parts = parts.map(|(at, part)| self.part(part, &format!("{}.content[{at}]", message.param)));
        Ok(format!("[{}]", parts.collect::<Result<Vec<_>, _>>()?.join(",")))
    }

    fn part(&self, part: &Part<'_>, param: &str) -> Result<String, Failure> {
        let mut out = Body::default();
        match part {
            Part::Text { text, .. } => out.put("type", "input_text").put("text", text),
            Part::Image { source, detail, .. } => {
                out.put("type", "input_image");
                match source {
                    Source::Id(id) => out.put("file_id", id),
                    source => out.put("image_url", &address(source)),
                };
                out.put_some("detail", detail.as_deref())
            }
            Part::Audio { data, format } => {
                out.put("type", "input_audio").put("input_audio", &json!({"data": data, "format": format}))
            }
            Part::File { source, filename, .. } => {
                out.put("type", "input_file");
                match source {
                    Source::Id(id) => out.put("file_id", id),
                    Source::Url(url) => out.put("file_url", url),
                    Source::Data { mime, .. } => {
                        // The endpoint wants a name with its data.
                        let unnamed = if mime == "application/pdf" { "document.pdf" } else { "document" };
                        out.put("filename", filename.as_deref().unwrap_or(unnamed)).put("file_data", &address(source))
                    }
                }
            }
            Part::Native { kind, raw } if kind.starts_with("input_") => return Ok(raw.get().to_owned()),
            Part::Refusal(_) | Part::Native { .. } => return Err(unsupported(param, self.provider)),
        };
        Ok(out.into_json())
    }

    fn assistant(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        // Reasoning that nothing follows is refused.
        if !(message.parts.is_empty() && message.calls.is_empty()) {
            self.thoughts(&message.thoughts);
        }
        let mut parts = Vec::with_capacity(message.parts.len());
        for (at, part) in message.parts.iter().enumerate() {
            parts.push(match part {
                Part::Text { text, .. } => json!({"type": "output_text", "text": text}),
                Part::Refusal(text) => json!({"type": "refusal", "refusal": text}),
                _ => return Err(unsupported(&format!("{}.content[{at}]", message.param), self.provider)),
            });
        }
        let mut item = Body::default();
        match (&message.parts[..], parts.len()) {
            (_, 0) => {}
            ([Part::Text { text, .. }], _) if !self.rules.wants_parts => {
                item.put("role", "assistant").put("content", text);
                self.item(item);
            }
            _ => {
                item.put("type", "message").put("role", "assistant").put("content", &parts);
                self.item(item);
            }
        }
        for (at, call) in message.calls.iter().enumerate() {
            if call.id.is_empty() {
                return Err(Failure::invalid(&format!("{}.tool_calls[{at}].id", message.param), "is missing"));
            }
            let mut item = Body::default();
            item.put("type", "function_call").put("call_id", &call.id).put("name", &call.name);
            item.put("arguments", &call.arguments);
            self.item(item);
        }
        Ok(())
    }

    fn result(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        let id = message.call_id.as_deref().filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Failure::invalid(&format!("{}.tool_call_id", message.param), "is missing"))?;
        let output = if message.parts.is_empty() { "\"\"".to_owned() } else { self.content(message)? };
        let mut item = Body::default();
        item.put("type", "function_call_output").put("call_id", id).put_json("output", &output);
        self.item(item);
        Ok(())
    }

    /// The provider's own reasoning as the items that it was; entries of one id are one item.
    fn thoughts(&mut self, thoughts: &[Thought<'_>]) {
        let own = |thought: &&Thought<'_>| thought.format.as_deref() == Some(self.rules.reasoning_format);
        let own: Vec<_> = thoughts.iter().filter(own).collect();
        for group in own.chunk_by(|one, next| one.id == next.id) {
            let list = |kind: &str, of: for<'t> fn(&'t Thought<'_>) -> Option<&'t str>| -> Vec<Value> {
                let texts = group.iter().filter_map(|thought| of(thought)).filter(|text| !text.is_empty());
                texts.map(|text| json!({"type": kind, "text": text})).collect()
            };
            let summary = list("summary_text", |thought| thought.summary.as_deref());
            let content = list("reasoning_text", |thought| thought.text.as_deref());
            let data: String = group.iter().filter_map(|thought| thought.data.as_deref()).collect();
            let id = group[0].id.as_deref();
            // Who keeps nothing and gets nothing of it back cannot know what is meant.
            if data.is_empty() && content.is_empty() && !(self.stored && id.is_some()) {
                continue;
            }
            let mut item = Body::default();
            item.put("type", "reasoning").put_some("id", id).put("summary", &summary);
            item.put_some("content", (!content.is_empty()).then_some(content));
            item.put_some("encrypted_content", (!data.is_empty()).then_some(data));
            self.item(item);
        }
    }
}

fn address(source: &Source<'_>) -> String {
    match source {
        Source::Url(url) => url.to_string(),
        Source::Data { mime, base64 } => format!("data:{mime};base64,{base64}"),
        Source::Id(id) => id.to_string(),
    }
}

/// A tool of another kind than a function. A custom tool's fields stand beside its type here.
pub(super) fn native_tool(raw: &RawValue) -> String {
    let parsed: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    let Some(custom) = parsed["custom"].as_object().filter(|_| parsed["type"] == "custom") else {
        return raw.get().to_owned();
    };
    let mut out = Body::default();
    out.put("type", "custom");
    for (name, value) in custom {
        match value["grammar"].as_object().filter(|_| name == "format") {
            Some(grammar) => {
                let mut format = json!({"type": "grammar"});
                format.as_object_mut().expect("an object").extend(grammar.clone());
                out.put(name, &format)
            }
            None => out.put(name, value),
        };
    }
    out.into_json()
}
