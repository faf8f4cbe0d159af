//! A request's body: fields of the entrance, fields that a chat has too, and fields that answers repeat.
//!
//! Owns the fields. What a chat has under another name gets that name; what it does not have stays
//! as it came, so that a provider of this dialect gets it. `store`, `background` and
//! `previous_response_id` are ours: nothing is kept at a provider.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::input::Input;
use super::object::is_repeated;
use crate::job::{Code, Failure, Fields, ModelName};
use crate::wire::submit::JobRequest;

/// A value of `include` that changes nothing: reasoning that can come back always does.
const SEALED: &str = "reasoning.encrypted_content";
const LOGPROBS: &str = "message.output_text.logprobs";

/// A request to `/v1/responses`.
#[derive(Debug)]
pub struct ResponseRequest<'a> {
    /// Whether the answer is read as events.
    pub stream: bool,
    /// Whether the client does not wait for the answer.
    pub background: bool,
    /// Whether a later response may continue this one, so that its input is kept.
    pub store: bool,
    /// Id of the response that this one continues.
    pub previous: Option<Cow<'a, str>>,
    model: ModelName,
    input: Input<'a>,
    instructions: Option<&'a RawValue>,
    /// The other fields of the job's input, as a chat has them.
    fields: Draft<'a>,
    echo: String,
}

/// Fields under construction, their values as JSON.
type Draft<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

impl<'a> ResponseRequest<'a> {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// `invalid` or `unsupported`, naming the field.
    pub fn read(body: &'a [u8]) -> Result<ResponseRequest<'a>, Failure> {
        let wrong =
            |error: &dyn std::fmt::Display| Failure::new(Code::Invalid, format!("the body is not JSON: {error}"));
        let text = std::str::from_utf8(body).map_err(|error| wrong(&error))?;
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Failure::new(Code::Invalid, "the body must be a JSON object"));
        }
        let Fields(fields) = serde_json::from_str(text).map_err(|error| wrong(&error))?;
        let mut body_fields = BTreeMap::new();
        for (name, value) in fields {
            if body_fields.contains_key(&name) {
                return Err(Failure::invalid(&name, "is given twice"));
            }
            body_fields.insert(name, value);
        }
        body_fields.retain(|_, value| value.get() != "null");
        if body_fields.contains_key("messages") {
            return Err(Failure::invalid("messages", "is not a field of this route: it takes input"));
        }
        let echo = echo(&body_fields);
        let model: Option<String> = take(&mut body_fields, "model", "must be a string")?;
        let model: ModelName = model.ok_or_else(|| Failure::invalid("model", "is missing"))?.parse()?;
        let flag = "must be true or false";
        let (stream, background) =
            (take(&mut body_fields, "stream", flag)?, take(&mut body_fields, "background", flag)?);
        let store = take(&mut body_fields, "store", flag)?.unwrap_or(true);
        let previous = take(&mut body_fields, "previous_response_id", "must be a response's id")?;
        // Nothing is added to our events to hide how long they are.
        body_fields.remove("stream_options");
        let instructions = body_fields.remove("instructions");
        if instructions.is_some_and(|body_fields| !body_fields.get().starts_with('"')) {
            return Err(Failure::invalid("instructions", "must be a string"));
        }
        let input = Input::read(body_fields.remove("input"))?;
        Ok(ResponseRequest {
            stream: stream.unwrap_or(false),
            background: background.unwrap_or(false),
            store,
            previous,
            model,
            input,
            instructions,
            fields: as_chat(body_fields)?,
            echo,
        })
    }

    /// The items of earlier answers that the input names, by their ids.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.input.references()
    }

    /// Makes the job: the messages of earlier turns come after the instructions of this request.
    /// `known` are the items that the input names.
    ///
    /// # Errors
    /// `invalid` or `unsupported`, naming the field.
    pub fn into_job_request(
        self,
        before: &[Box<RawValue>],
        known: &BTreeMap<String, Value>,
    ) -> Result<JobRequest, Failure> {
        let mut messages = String::from("[");
        let mut push = |message: &str| {
            if messages.len() > 1 {
                messages.push(',');
            }
            messages.push_str(message);
        };
        if let Some(instructions) = self.instructions {
            push(&format!(r#"{{"role":"system","content":{}}}"#, instructions.get()));
        }
        before.iter().for_each(|message| push(message.get()));
        let new = self.input.into_messages(known)?;
        if before.is_empty() && new.is_empty() {
            return Err(Failure::invalid("input", "must not be empty"));
        }
        new.iter().for_each(|message| push(message.get()));
        messages.push(']');
        let mut fields = self.fields;
        fields.insert("messages".into(), messages.into());
        let mut request = JobRequest::new(self.model, raw(object(&fields))?, Some(self.stream));
        request.echo = Some(raw(self.echo)?);
        Ok(request)
    }
}

fn take<'a, T: Deserialize<'a>>(
    body_fields: &mut BTreeMap<Cow<'a, str>, &'a RawValue>,
    name: &str,
    wanted: &str,
) -> Result<Option<T>, Failure> {
    let Some(value) = body_fields.remove(name) else { return Ok(None) };
    serde_json::from_str(value.get()).map(Some).map_err(|_| Failure::invalid(name, wanted))
}

/// The fields that answers repeat, as they came.
fn echo(body_fields: &BTreeMap<Cow<'_, str>, &RawValue>) -> String {
    let repeated = body_fields.iter().filter(|(name, _)| is_repeated(name));
    object(&repeated.map(|(name, value)| (name.clone(), Cow::Borrowed(value.get()))).collect())
}

fn object(fields: &Draft<'_>) -> String {
    let mut out = String::from("{");
    for (name, value) in fields {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&quoted(name));
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

/// The fields of a chat; what it does not have stays.
fn as_chat<'a>(mut body_fields: BTreeMap<Cow<'a, str>, &'a RawValue>) -> Result<Draft<'a>, Failure> {
    let mut draft = Draft::new();
    if let Some(limit) = body_fields.remove("max_output_tokens") {
        draft.insert("max_completion_tokens".into(), limit.get().into());
    }
    if let Some(tools) = body_fields.remove("tools") {
        draft.insert("tools".into(), chat_tools(tools)?.into());
    }
    if let Some(choice) = body_fields.remove("tool_choice") {
        draft.insert("tool_choice".into(), chat_choice(choice).into());
    }
    if let Some(text) = body_fields.remove("text") {
        chat_text(text, &mut draft)?;
    }
    if let Some(reasoning) = body_fields.remove("reasoning") {
        chat_reasoning(reasoning, &mut draft)?;
    }
    if let Some(include) = body_fields.remove("include") {
        chat_include(include, &mut draft)?;
    }
    if body_fields.get("top_logprobs").is_some_and(|count| count.get() != "0") {
        draft.insert("logprobs".into(), "true".into());
    }
    // Nothing is cut unless it is asked for, here as everywhere.
    if body_fields.get("truncation").is_some_and(|word| word.get() == "\"disabled\"") {
        body_fields.remove("truncation");
    }
    for (name, value) in body_fields {
        draft.entry(name).or_insert(value.get().into());
    }
    Ok(draft)
}

/// Functions as a chat has them; a provider's own tools as they came.
fn chat_tools(tools: &RawValue) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow, rename = "type", default)]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        name: Option<Cow<'a, str>>,
    }
    let raw_tools: Vec<&RawValue> =
        serde_json::from_str(tools.get()).map_err(|_| Failure::invalid("tools", "must be an array"))?;
    let mut out = Vec::with_capacity(raw_tools.len());
    for (at, raw) in raw_tools.into_iter().enumerate() {
        let wrong = |_| Failure::invalid(&format!("tools[{at}]"), "must be an object with a type");
        let tool: Tool<'_> = serde_json::from_str(raw.get()).map_err(wrong)?;
        match &*tool.kind {
            "function" if tool.name.as_deref().is_none_or(str::is_empty) => {
                return Err(Failure::invalid(&format!("tools[{at}].name"), "is missing"));
            }
            "function" => {
                let Fields(fields) = serde_json::from_str(raw.get()).map_err(wrong)?;
                let known = ["name", "description", "parameters", "strict"];
                let fields =
                    fields.into_iter().filter(|(name, value)| known.contains(&&**name) && value.get() != "null");
                let function = object(&fields.map(|(name, value)| (name, Cow::Borrowed(value.get()))).collect());
                out.push(format!(r#"{{"type":"function","function":{function}}}"#));
            }
            "custom" => {
                let message = "custom tools cannot be called back here: give it as a function";
                return Err(Failure::unsupported(&format!("tools[{at}].type"), message));
            }
            "" => return Err(Failure::invalid(&format!("tools[{at}].type"), "is missing")),
            _ => out.push(raw.get().to_owned()),
        }
    }
    Ok(format!("[{}]", out.join(",")))
}

fn chat_choice(choice: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    match serde_json::from_str::<Named<'_>>(choice.get()) {
        Ok(named) if named.kind == "function" => {
            format!(r#"{{"type":"function","function":{{"name":{}}}}}"#, quoted(&named.name))
        }
        _ => choice.get().to_owned(),
    }
}

/// The shape of the answer, and how long-winded it is.
fn chat_text<'a>(text: &'a RawValue, draft: &mut Draft<'a>) -> Result<(), Failure> {
    let wrong = |_| Failure::invalid("text", "must be an object");
    let Fields(fields) = serde_json::from_str(text.get()).map_err(wrong)?;
    let mut rest = Draft::new();
    for (name, value) in fields.into_iter().filter(|(_, value)| value.get() != "null") {
        match &*name {
            "format" => {
                if let Some(format) = chat_format(value)? {
                    draft.insert("response_format".into(), format.into());
                }
            }
            "verbosity" => drop(draft.insert("verbosity".into(), value.get().into())),
            _ => drop(rest.insert(name, value.get().into())),
        }
    }
    if !rest.is_empty() {
        draft.insert("text".into(), object(&rest).into());
    }
    Ok(())
}

/// `None` for what every provider does anyway.
fn chat_format(format: &RawValue) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let wrong = |_| Failure::invalid("text.format", "must be an object with a type");
    let Kind { kind } = serde_json::from_str(format.get()).map_err(wrong)?;
    match &*kind {
        "text" => Ok(None),
        "json_schema" => {
            let Fields(fields) = serde_json::from_str(format.get()).map_err(wrong)?;
            let fields = fields.into_iter().filter(|(name, value)| name != "type" && value.get() != "null");
            let schema = object(&fields.map(|(name, value)| (name, Cow::Borrowed(value.get()))).collect());
            Ok(Some(format!(r#"{{"type":"json_schema","json_schema":{schema}}}"#)))
        }
        _ => Ok(Some(format.get().to_owned())),
    }
}

/// An effort alone has a chat's own name; with more it stays an object.
fn chat_reasoning<'a>(reasoning: &'a RawValue, draft: &mut Draft<'a>) -> Result<(), Failure> {
    let wrong = |_| Failure::invalid("reasoning", "must be an object");
    let Fields(fields) = serde_json::from_str(reasoning.get()).map_err(wrong)?;
    let fields: Draft<'a> = fields
        .into_iter()
        .filter(|(_, value)| value.get() != "null")
        .map(|(name, value)| (name, Cow::Borrowed(value.get())))
        .collect();
    match (fields.len(), fields.get("effort")) {
        (0, _) => {}
        (1, Some(effort)) => drop(draft.insert("reasoning_effort".into(), effort.clone())),
        _ => drop(draft.insert("reasoning".into(), object(&fields).into())),
    }
    Ok(())
}

fn chat_include(include: &RawValue, draft: &mut Draft<'_>) -> Result<(), Failure> {
    let wrong = |_| Failure::invalid("include", "must be a list of strings");
    let mut include: Vec<String> = serde_json::from_str(include.get()).map_err(wrong)?;
    if include.iter().any(|name| name == LOGPROBS) {
        draft.insert("logprobs".into(), "true".into());
    }
    include.retain(|name| name != SEALED && name != LOGPROBS);
    if !include.is_empty() {
        draft.insert("include".into(), serde_json::to_string(&include).expect("strings are JSON").into());
    }
    Ok(())
}

/// Writes a text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

/// Makes a raw value of JSON that this module wrote.
pub(super) fn raw(json: String) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(json).map_err(|error| Failure::new(Code::Invalid, error.to_string()))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
