//! Turns and their blocks, as the messages of a chat.
//!
//! Owns what becomes of each block. Results of tools are messages of their own; sealed thoughts go where
//! a chat keeps what must be sent back (`reasoning_details`); a block that a chat has no word for
//! stays as it came, for Anthropic to take and for others to refuse by name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::input::{Object, list, typed};
use super::signature;
use crate::job::Failure;

#[derive(Deserialize)]
struct Turn<'a> {
    role: String,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// A block, as far as its kind needs it.
#[derive(Deserialize)]
struct Block<'a> {
    r#type: String,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    context: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    citations: Option<Value>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(default)]
    tool_use_id: Option<String>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    data: Option<String>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

/// Where an image or a document is.
#[derive(Deserialize)]
struct Source<'a> {
    r#type: String,
    #[serde(borrow, default)]
    media_type: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
    #[serde(borrow, default)]
    url: Cow<'a, str>,
    #[serde(default)]
    file_id: Option<String>,
}

/// Adds the rules as a message.
pub(super) fn rules(system: &RawValue, out: &mut Vec<String>) -> Result<(), Failure> {
    let content = content(system, "system")?;
    if !matches!(&*content, "\"\"" | "[]") {
        out.push(Object::new().put("role", "system").put_json("content", &content).json());
    }
    Ok(())
}

/// Adds the turns as messages.
pub(super) fn read(turns: &RawValue, out: &mut Vec<String>) -> Result<(), Failure> {
    let turns: Vec<&RawValue> = typed(turns, "messages")?;
    if turns.is_empty() {
        return Err(Failure::invalid("messages", "must not be empty"));
    }
    for (at, raw) in turns.into_iter().enumerate() {
        let param = format!("messages[{at}]");
        let turn: Turn<'_> = typed(raw, &param)?;
        let place = format!("{param}.content");
        let raw_content = turn.content.ok_or_else(|| Failure::invalid(&place, "is missing"))?;
        let is_text = raw_content.get().starts_with('"');
        match &*turn.role {
            "user" if !is_text => user(raw_content, &place, out)?,
            "assistant" if !is_text => assistant(raw_content, &place, out)?,
            "user" | "assistant" | "system" => {
                let content = content(raw_content, &place)?;
                out.push(
                    Object::with_room(content.len() + 64).put("role", &turn.role).put_json("content", &content).json(),
                );
            }
            _ => return Err(Failure::invalid(&format!("{param}.role"), "must be user or assistant")),
        }
    }
    Ok(())
}

fn blocks<'a>(raw_content: &'a RawValue, param: &str) -> Result<Vec<(&'a RawValue, Block<'a>, String)>, Failure> {
    let raw: Vec<&RawValue> = match raw_content.get().as_bytes().first() {
        Some(b'[') => typed(raw_content, param)?,
        _ => return Err(Failure::invalid(param, "must be a string or a list of blocks")),
    };
    let read = |(at, raw): (usize, &'a RawValue)| {
        let place = format!("{param}[{at}]");
        Ok((raw, typed(raw, &place)?, place))
    };
    raw.into_iter().enumerate().map(read).collect()
}

/// The value of `content`: a text as it came, else its parts.
fn content<'a>(raw_content: &'a RawValue, param: &str) -> Result<Cow<'a, str>, Failure> {
    if raw_content.get().starts_with('"') {
        return Ok(raw_content.get().into());
    }
    let blocks = blocks(raw_content, param)?;
    let mut parts = Vec::with_capacity(blocks.len());
    for (raw, block, place) in &blocks {
        parts.push(part(raw, block, place)?);
    }
    Ok(one_or_list(&blocks.iter().map(|(_, block, _)| block).collect::<Vec<_>>(), &parts).into())
}

/// A text alone is a string: every server reads that.
fn one_or_list(blocks: &[&Block<'_>], parts: &[String]) -> String {
    match blocks {
        [only] if only.r#type == "text" && only.cache_control.is_none() => {
            only.text.map_or("\"\"", RawValue::get).to_owned()
        }
        _ => list(parts),
    }
}

fn user(raw_content: &RawValue, param: &str, out: &mut Vec<String>) -> Result<(), Failure> {
    let blocks = blocks(raw_content, param)?;
    let (mut parts, mut kept) = (Vec::new(), Vec::new());
    for (raw, block, place) in &blocks {
        if block.r#type == "tool_result" {
            out.push(tool_result(block, place)?);
        } else {
            parts.push(part(raw, block, place)?);
            kept.push(block);
        }
    }
    if !parts.is_empty() {
        out.push(Object::new().put("role", "user").put_json("content", &one_or_list(&kept, &parts)).json());
    }
    Ok(())
}

fn tool_result(block: &Block<'_>, param: &str) -> Result<String, Failure> {
    let id =
        block.tool_use_id.as_deref().ok_or_else(|| Failure::invalid(&format!("{param}.tool_use_id"), "is missing"))?;
    let raw_content = match block.content.filter(|raw_content| raw_content.get() != "null") {
        Some(raw_content) => content(raw_content, &format!("{param}.content"))?,
        None => "\"\"".into(),
    };
    let message = Object::with_room(raw_content.len() + 96).put("role", "tool").put("tool_call_id", id);
    let message =
        message.put_json("content", &raw_content).put_some("is_error", block.is_error.filter(|is_error| *is_error));
    Ok(message.put_some("cache_control", block.cache_control).json())
}

fn part(raw: &RawValue, block: &Block<'_>, param: &str) -> Result<String, Failure> {
    let source = || -> Result<Source<'_>, Failure> {
        let place = format!("{param}.source");
        typed(block.source.ok_or_else(|| Failure::invalid(&place, "is missing"))?, &place)
    };
    let written = match &*block.r#type {
        "text" => {
            let text = block.text.filter(|text| text.get().starts_with('"'));
            let text = text.ok_or_else(|| Failure::invalid(&format!("{param}.text"), "must be a string"))?;
            Some(Object::with_room(text.get().len() + 48).put("type", "text").put("text", text))
        }
        "image" => address(&source()?).map(|url| {
            let url = Object::with_room(url.len() + 16).put("url", &url).json();
            Object::with_room(url.len() + 64).put("type", "image_url").put_json("image_url", &url)
        }),
        "document" => document(block, &source()?),
        _ => None,
    };
    match written {
        Some(part) => Ok(part.put_some("cache_control", block.cache_control).json()),
        None => Ok(raw.get().to_owned()),
    }
}

/// The address of a source that has one: `data:` for what is here.
fn address(source: &Source<'_>) -> Option<String> {
    match &*source.r#type {
        "base64" => Some(format!("data:{};base64,{}", source.media_type, source.data)),
        "text" => Some(format!("data:text/plain;base64,{}", STANDARD.encode(source.data.as_bytes()))),
        "url" => Some(source.url.to_string()),
        _ => None,
    }
}

/// A document as a file; `None` where a file would lose part of it.
fn document(block: &Block<'_>, source: &Source<'_>) -> Option<Object> {
    let cites = block.citations.as_ref().is_some_and(|citations| citations["enabled"] == true);
    if cites || block.context.is_some() {
        return None;
    }
    let (name, place) = match (&*source.r#type, &source.file_id) {
        ("file", Some(id)) => ("file_id", id.clone()),
        ("url", _) => ("file_url", address(source)?),
        _ => ("file_data", address(source)?),
    };
    let file = Object::with_room(place.len() + 64).put(name, &place).put_some("filename", block.title.as_ref()).json();
    Some(Object::with_room(file.len() + 64).put("type", "file").put_json("file", &file))
}

/// What a turn of the model's becomes, while it is read.
#[derive(Default)]
struct ModelTurn {
    details: Vec<Value>,
    /// Thinking without a signature.
    thoughts: String,
    parts: Vec<String>,
    /// Whether the only part is a plain text.
    text: Option<String>,
    calls: Vec<Object>,
    /// What must go back with a call, by its place.
    of_calls: BTreeMap<u64, Value>,
    cache_control: Option<String>,
}

fn assistant(turn: &RawValue, param: &str, out: &mut Vec<String>) -> Result<(), Failure> {
    let mut model_turn = ModelTurn::default();
    for (raw, block, place) in blocks(turn, param)? {
        model_turn.cache_control = None;
        match &*block.r#type {
            "thinking" | "redacted_thinking" => {
                // Thoughts stand before what they led to. Two messages of one side are one turn.
                if !model_turn.parts.is_empty() && model_turn.calls.is_empty() {
                    std::mem::take(&mut model_turn).write(out);
                }
                model_turn.think(block);
            }
            "tool_use" => {
                let need = |name: &str| Failure::invalid(&format!("{place}.{name}"), "is missing");
                let (id, name) = (block.id.ok_or_else(|| need("id"))?, block.name.ok_or_else(|| need("name"))?);
                let input = block.input.map_or("{}", RawValue::get);
                let function = Object::with_room(input.len() + 64).put("name", &name).put("arguments", input);
                let call = Object::new().put("id", &id).put("type", "function");
                model_turn.calls.push(call.put_json("function", &function.json()));
                model_turn.cache_control = block.cache_control.map(|mark| mark.get().to_owned());
            }
            _ => {
                let is_plain = model_turn.parts.is_empty() && block.r#type == "text" && block.cache_control.is_none();
                model_turn.text = block.text.filter(|_| is_plain).map(|text| text.get().to_owned());
                model_turn.parts.push(part(raw, &block, &place)?);
            }
        }
    }
    model_turn.write(out);
    Ok(())
}

impl ModelTurn {
    fn think(&mut self, block: Block<'_>) {
        let thinking = block.thinking.unwrap_or_default();
        let seal = block.signature.or(block.data).unwrap_or_default();
        if let Some(mut detail) = signature::unwrap(&seal) {
            if let (Some(at), Some(content)) =
                (detail.get("call").and_then(Value::as_u64), detail.remove("extra_content"))
            {
                self.of_calls.insert(at, content);
                return;
            }
            if !thinking.is_empty() {
                detail.insert("text".into(), thinking.into());
            }
            self.details.push(detail.into());
        } else if seal.is_empty() || signature::is_wrapped(&seal) {
            self.thoughts.push_str(&thinking);
        } else {
            let (kind, name) = match &*block.r#type {
                "thinking" => ("reasoning.text", "signature"),
                _ => ("reasoning.encrypted", "data"),
            };
            let mut detail = Map::new();
            detail.insert("type".into(), kind.into());
            detail.insert("format".into(), signature::FORMAT.into());
            detail.insert("index".into(), self.details.len().into());
            detail.insert(name.into(), seal.into());
            if kind == "reasoning.text" {
                detail.insert("text".into(), thinking.into());
            }
            self.details.push(detail.into());
        }
    }

    fn write(mut self, out: &mut Vec<String>) {
        let mut message =
            Object::with_room(self.parts.iter().map(String::len).sum::<usize>() + 128).put("role", "assistant");
        match (&self.text, self.parts.len()) {
            (Some(text), 1) => message.add("content", text),
            (_, 0) => message.add("content", if self.calls.is_empty() { "\"\"" } else { "null" }),
            _ => message.add("content", &list(&self.parts)),
        }
        if !self.thoughts.is_empty() {
            message = message.put("reasoning_content", &self.thoughts);
        }
        if !self.details.is_empty() {
            message = message.put("reasoning_details", &self.details);
        }
        if !self.calls.is_empty() {
            let calls = (0..).zip(self.calls).map(|(at, call)| {
                let call = call.put_some("extra_content", self.of_calls.remove(&at));
                call.json()
            });
            message.add("tool_calls", &list(&calls.collect::<Vec<_>>()));
        }
        if let Some(mark) = &self.cache_control {
            message.add("cache_control", mark);
        }
        out.push(message.json());
    }
}
