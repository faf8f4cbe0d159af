//! The items of an input as messages of a chat.
//!
//! Owns which items make one message: what a model writes in one turn (its reasoning, a text, its calls)
//! is one message of the assistant. Items of built-in tools are left out: no other provider can read
//! them, and the model's reasoning has their results. Order and values stay; an error names the item.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::encrypted_content;
use super::request::{quoted, raw};
use crate::job::Failure;

/// Items that only the provider that made them can read.
const OF_BUILT_IN_TOOLS: &[&str] =
    &["web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "output"];

/// The value of the field `input`.
#[derive(Debug)]
pub(super) enum Input<'a> {
    /// One text of the user's, as JSON.
    Text(&'a RawValue),
    /// A list of items, in order.
    Items(Vec<RawItem<'a>>),
}

/// An item of the list, as it came.
#[derive(Debug, Deserialize)]
pub(super) struct RawItem<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    call_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encrypted_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    extra_content: Option<&'a RawValue>,
}

impl RawItem<'_> {
    fn kind(&self) -> &str {
        match self.kind.as_deref() {
            None if self.role.is_some() => "message",
            None if self.id.is_some() => "item_reference",
            kind => kind.unwrap_or_default(),
        }
    }
}

impl<'a> Input<'a> {
    pub(super) fn read(raw_input: Option<&'a RawValue>) -> Result<Input<'a>, Failure> {
        let Some(raw_input) = raw_input else { return Err(Failure::invalid("input", "is missing")) };
        match raw_input.get().as_bytes().first() {
            Some(b'"') => Ok(Input::Text(raw_input)),
            Some(b'[') => {
                let items: Vec<&RawValue> =
                    serde_json::from_str(raw_input.get()).map_err(|error| Failure::invalid("input", error))?;
                let items = items.into_iter().enumerate().map(|(at, raw)| {
                    let read = serde_json::from_str(raw.get());
                    read.map_err(|error| Failure::invalid(&format!("input[{at}]"), error))
                });
                Ok(Input::Items(items.collect::<Result<_, _>>()?))
            }
            _ => Err(Failure::invalid("input", "must be a string or an array of items")),
        }
    }

    /// The ids of the items that it names instead of saying them.
    pub(super) fn references(&self) -> impl Iterator<Item = &str> {
        let items = match self {
            Input::Text(_) => &[][..],
            Input::Items(items) => items,
        };
        items.iter().filter(|item| item.kind() == "item_reference").filter_map(|item| item.id.as_deref())
    }

    pub(super) fn into_messages(self, known: &BTreeMap<String, Value>) -> Result<Vec<Box<RawValue>>, Failure> {
        let items = match self {
            Input::Text(text) => return Ok(vec![raw(format!(r#"{{"role":"user","content":{}}}"#, text.get()))?]),
            Input::Items(items) => items,
        };
        let mut messages = Messages::default();
        for (at, item) in items.iter().enumerate() {
            let param = format!("input[{at}]");
            if item.kind() != "item_reference" {
                messages.push(item, &param)?;
                continue;
            }
            let named = item.id.as_deref().and_then(|id| known.get(id));
            let named =
                named.ok_or_else(|| Failure::invalid(&format!("{param}.id"), "no item of this id is kept here"))?;
            let text = named.to_string();
            let item = serde_json::from_str(&text).map_err(|error| Failure::invalid(&param, error))?;
            messages.push(&item, &param)?;
        }
        messages.finish()
    }
}

/// Messages that are being put together.
#[derive(Default)]
struct Messages {
    done: Vec<Box<RawValue>>,
    /// What the model wrote in one turn.
    turn: Turn,
}

/// A message of the assistant.
#[derive(Default, Serialize)]
struct Turn {
    /// The message as JSON.
    content: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    role: &'static str,
}

impl Messages {
    fn push(&mut self, item: &RawItem<'_>, param: &str) -> Result<(), Failure> {
        let need = |field: &str| Failure::invalid(&format!("{param}.{field}"), "is missing");
        match item.kind() {
            "message" => self.message(item, param),
            "reasoning" => self.reasoning(item, param),
            "function_call" => {
                let id = item.call_id.as_deref().ok_or_else(|| need("call_id"))?;
                let name = item.name.as_deref().ok_or_else(|| need("name"))?;
                let arguments: Value = value(item.arguments.ok_or_else(|| need("arguments"))?);
                let function = json!({"name": name, "arguments": arguments});
                let mut call = json!({"id": id, "type": "function", "function": function});
                if let Some(content) = item.extra_content {
                    call["extra_content"] = value(content);
                }
                self.turn.tool_calls.push(call);
                Ok(())
            }
            "function_call_output" => {
                let id = item.call_id.as_deref().ok_or_else(|| need("call_id"))?;
                let output = content(item.output.ok_or_else(|| need("output"))?, &format!("{param}.output"))?;
                self.end_turn()?;
                self.done.push(raw(format!(r#"{{"role":"tool","tool_call_id":{},"content":{output}}}"#, quoted(id)))?);
                Ok(())
            }
            kind if OF_BUILT_IN_TOOLS.contains(&kind) => Ok(()),
            "" => Err(need("type")),
            kind => {
                let cut = &kind[..kind.floor_char_boundary(64)];
                let message = format!("`{cut}` cannot be said to every provider");
                Err(Failure::unsupported(&format!("{param}.type"), message))
            }
        }
    }

    fn message(&mut self, item: &RawItem<'_>, param: &str) -> Result<(), Failure> {
        let raw_input = item.content.ok_or_else(|| Failure::invalid(&format!("{param}.content"), "is missing"))?;
        let content = content(raw_input, &format!("{param}.content"))?;
        let role = match item.role.as_deref() {
            Some("assistant") => {
                if self.turn.content.is_some() || !self.turn.tool_calls.is_empty() {
                    self.end_turn()?;
                }
                self.turn.content = Some(raw(content)?);
                return Ok(());
            }
            Some(role @ ("user" | "system" | "developer")) => role,
            _ => {
                let message = "must be user, assistant, system or developer";
                return Err(Failure::invalid(&format!("{param}.role"), message));
            }
        };
        self.end_turn()?;
        self.done.push(raw(format!(r#"{{"role":"{role}","content":{content}}}"#))?);
        Ok(())
    }

    fn reasoning(&mut self, item: &RawItem<'_>, param: &str) -> Result<(), Failure> {
        if self.turn.content.is_some() && self.turn.tool_calls.is_empty() {
            self.end_turn()?;
        }
        let mut texts = Vec::new();
        for (field, list) in [("summary", item.summary), ("content", item.content)] {
            let Some(list) = list.filter(|list| list.get() != "null") else { continue };
            let parts: Vec<Part<'_>> = serde_json::from_str(list.get())
                .map_err(|_| Failure::invalid(&format!("{param}.{field}"), "must be a list of parts"))?;
            texts.extend(parts.into_iter().filter_map(|part| part.text).map(Cow::into_owned));
        }
        if let Some(seal) = item.encrypted_content.as_deref().filter(|seal| !seal.is_empty()) {
            self.turn.reasoning_details.extend(encrypted_content::open(item.id.as_deref(), &texts, seal));
        }
        // With a seal of ours the text may stand here only.
        for text in texts {
            if !self.turn.reasoning_content.is_empty() {
                self.turn.reasoning_content.push_str("\n\n");
            }
            self.turn.reasoning_content.push_str(&text);
        }
        Ok(())
    }

    fn end_turn(&mut self) -> Result<(), Failure> {
        let turn = std::mem::take(&mut self.turn);
        // Reasoning that nothing follows says nothing.
        if turn.content.is_none() && turn.tool_calls.is_empty() {
            return Ok(());
        }
        let turn = Turn { role: "assistant", ..turn };
        self.done.push(raw(serde_json::to_string(&turn).expect("plain data is JSON"))?);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Box<RawValue>>, Failure> {
        self.end_turn()?;
        Ok(self.done)
    }
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    image_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    detail: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    file_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    file_data: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    file_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    filename: Option<Cow<'a, str>>,
}

/// A content as a chat has it, as JSON: one text as it is.
fn content(raw_input: &RawValue, param: &str) -> Result<String, Failure> {
    if raw_input.get().starts_with('"') {
        return Ok(raw_input.get().to_owned());
    }
    let parts: Vec<&RawValue> = serde_json::from_str(raw_input.get())
        .map_err(|_| Failure::invalid(param, "must be a string or a list of parts"))?;
    let mut out = Vec::with_capacity(parts.len());
    let is_one = parts.len() == 1;
    for (at, raw) in parts.into_iter().enumerate() {
        let param = format!("{param}[{at}]");
        let part: Part<'_> = serde_json::from_str(raw.get()).map_err(|error| Failure::invalid(&param, error))?;
        match (&*part.kind, &part.text) {
            ("input_text" | "output_text" | "text", Some(text)) if is_one => return Ok(quoted(text)),
            _ => out.push(chat_part(part, raw, &param)?),
        }
    }
    Ok(format!("[{}]", out.join(",")))
}

/// A part as a chat has it; one that a chat does not have, as it came.
fn chat_part(part: Part<'_>, raw: &RawValue, param: &str) -> Result<String, Failure> {
    /// Long data is copied once.
    #[derive(Serialize)]
    struct Image<'a> {
        url: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct File<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
    }
    let need = |field: &str| Failure::invalid(&format!("{param}.{field}"), "is missing");
    match &*part.kind {
        "input_text" | "output_text" | "text" => {
            let text = part.text.ok_or_else(|| need("text"))?;
            Ok(format!(r#"{{"type":"text","text":{}}}"#, quoted(&text)))
        }
        "input_image" => match &part.image_url {
            Some(url) => {
                let image = Image { url, detail: part.detail.as_deref() };
                let image = serde_json::to_string(&image).expect("strings are JSON");
                Ok(format!(r#"{{"type":"image_url","image_url":{image}}}"#))
            }
            None if part.file_id.is_some() => Ok(raw.get().to_owned()),
            None => Err(need("image_url")),
        },
        "input_file" => {
            let (file_data, file_url) = (part.file_data.as_deref(), part.file_url.as_deref());
            let (file_id, filename) = (part.file_id.as_deref(), part.filename.as_deref());
            if file_data.is_none() && file_url.is_none() && file_id.is_none() {
                return Err(Failure::invalid(param, "needs file_data, file_url or file_id"));
            }
            let file = File { file_data, file_url, file_id, filename };
            Ok(format!(r#"{{"type":"file","file":{}}}"#, serde_json::to_string(&file).expect("strings are JSON")))
        }
        "" => Err(need("type")),
        _ => Ok(raw.get().to_owned()),
    }
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}
