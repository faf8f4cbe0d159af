//! A request's body, as a job: a chat like any other.
//!
//! Owns what becomes of each field. What a chat has a word for gets that word; `thinking`,
//! `output_config` and `metadata` go to Anthropic as they came, in a field of their own, beside the word
//! that other providers understand; an unknown field stays where it was, for Anthropic
//! to take and for others to refuse by name.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::input::{Object, list, read, typed};
use super::{OWN_FIELD, turns};
use crate::job::{Code, Failure, Fields, ModelName};
use crate::wire::submit::JobRequest;

/// Tokens of thinking below which the effort is low, and below which it is no more than medium.
const EFFORTS: [(u64, &str); 2] = [(4096, "low"), (16_384, "medium")];
/// Bytes of a user's id that others than Anthropic take.
const USER_BYTES_MAX: usize = 64;

/// Reads the body of `/v1/messages`. `betas` are the betas that its header names, for Anthropic.
///
/// # Errors
/// `invalid`, naming the field.
pub fn message(body: &[u8], betas: &[&str]) -> Result<JobRequest, Failure> {
    let mut fields = Taken::read(body)?;
    let max_tokens = fields.take("max_tokens")?.ok_or_else(|| Failure::invalid("max_tokens", "is missing"))?;
    read::<u64>(max_tokens, "max_tokens", "must be a whole number")?;
    let stream = fields.take("stream")?;
    let stream: Option<bool> = stream.map(|raw| read(raw, "stream", "must be true or false")).transpose()?;
    let input = Object::with_room(body.len() + 256).put("max_tokens", max_tokens);
    job_request(fields, input, betas, stream.unwrap_or(false))
}

/// Reads the body of `/v1/messages/count_tokens`: the same without an answer to come.
///
/// # Errors
/// `invalid`, naming the field.
pub fn count(body: &[u8]) -> Result<JobRequest, Failure> {
    let fields = Taken::read(body)?;
    job_request(fields, Object::with_room(body.len() + 256), &[], false)
}

/// The fields that were not taken yet. Null is the same as absent.
struct Taken<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Taken<'a> {
    fn read(body: &'a [u8]) -> Result<Taken<'a>, Failure> {
        let wrong = |error: String| Failure::new(Code::Invalid, format!("the body is not JSON: {error}"));
        let text = std::str::from_utf8(body).map_err(|error| wrong(error.to_string()))?;
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Failure::new(Code::Invalid, "the body must be a JSON object"));
        }
        let Fields(mut fields) = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        fields.retain(|(_, value)| value.get() != "null");
        Ok(Taken(fields))
    }

    fn take(&mut self, name: &str) -> Result<Option<&'a RawValue>, Failure> {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(Failure::invalid(name, "is given twice"));
        }
        Ok(Some(value))
    }
}

fn job_request(mut fields: Taken<'_>, mut input: Object, betas: &[&str], stream: bool) -> Result<JobRequest, Failure> {
    let model = fields.take("model")?.ok_or_else(|| Failure::invalid("model", "is missing"))?;
    let model: ModelName = read::<String>(model, "model", "must be a string")?.parse()?;
    let mut messages = Vec::new();
    if let Some(system) = fields.take("system")? {
        turns::rules(system, &mut messages)?;
    }
    let turns_json = fields.take("messages")?.ok_or_else(|| Failure::invalid("messages", "is missing"))?;
    turns::read(turns_json, &mut messages)?;
    input.add("messages", &list(&messages));
    if let Some(tools) = fields.take("tools")? {
        let tools: Vec<&RawValue> = typed(tools, "tools")?;
        let tools = tools.into_iter().enumerate().map(|(at, raw)| tool(raw, &format!("tools[{at}]")));
        input.add("tools", &list(&tools.collect::<Result<Vec<_>, _>>()?));
    }
    if let Some(choice) = fields.take("tool_choice")? {
        tool_choice(choice, &mut input)?;
    }
    if let Some(stops) = fields.take("stop_sequences")? {
        read::<Vec<String>>(stops, "stop_sequences", "must be a list of strings")?;
        input.add("stop", stops.get());
    }
    if let Some(tier) = fields.take("service_tier")? {
        let tier: String = read(tier, "service_tier", "must be a string")?;
        input.say("service_tier", if tier == "standard_only" { "default" } else { &tier });
    }
    let mut own = Object::new();
    thinking(&mut fields, &mut input, &mut own)?;
    if let Some(metadata) = fields.take("metadata")? {
        own.add("metadata", metadata.get());
        input = input.put_some("user", user(metadata)?);
    }
    if !betas.is_empty() {
        own = own.put("betas", betas);
    }
    for (name, value) in fields.0 {
        if name == OWN_FIELD {
            return Err(Failure::invalid(OWN_FIELD, "is no field of this dialect"));
        }
        input.add(&name, value.get());
    }
    let input = input.put_json(OWN_FIELD, &own.json()).json();
    let input = RawValue::from_string(input).map_err(|error| Failure::new(Code::Invalid, error.to_string()))?;
    Ok(JobRequest::new(model, input, Some(stream)))
}

/// Whether and how much to think, and the shape of the answer: as they came, and in the words of a chat.
fn thinking(fields: &mut Taken<'_>, input: &mut Object, own: &mut Object) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Thinking {
        r#type: String,
        budget_tokens: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Config<'a> {
        effort: Option<String>,
        #[serde(borrow)]
        format: Option<&'a RawValue>,
    }
    let (thinking, config) = (fields.take("thinking")?, fields.take("output_config")?);
    let older = fields.take("output_format")?;
    for (name, value) in [("thinking", thinking), ("output_config", config), ("output_format", older)] {
        if let Some(value) = value {
            own.add(name, value.get());
        }
    }
    let thinking: Option<Thinking> = thinking.map(|raw| typed(raw, "thinking")).transpose()?;
    let config: Option<Config<'_>> = config.map(|raw| typed(raw, "output_config")).transpose()?;
    let (effort, format) = config.map_or((None, None), |config| (config.effort, config.format));
    let effort = thinking.filter(|thinking| thinking.r#type != "disabled").map(|thinking| {
        let budget = thinking.budget_tokens.map(|tokens| {
            let known = EFFORTS.iter().find(|(below, _)| tokens < *below);
            known.map_or("high", |(_, effort)| effort)
        });
        effort.unwrap_or_else(|| budget.unwrap_or("medium").to_owned())
    });
    if let Some(effort) = effort {
        input.say("reasoning_effort", &effort);
    }
    if let Some(format) = format.or(older) {
        response_format(format, input)?;
    }
    Ok(())
}

fn response_format(format: &RawValue, input: &mut Object) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Format<'a> {
        r#type: String,
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
    }
    let format: Format<'_> = typed(format, "output_config.format")?;
    if let (Some(schema), "json_schema") = (format.schema, &*format.r#type) {
        let schema = Object::new().put("name", "answer").put("strict", &true).put("schema", schema);
        let format = Object::new().put("type", "json_schema").put_json("json_schema", &schema.json());
        input.add("response_format", &format.json());
    }
    Ok(())
}

/// The user, where providers other than Anthropic take one.
fn user(metadata: &RawValue) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct Metadata {
        user_id: Option<String>,
    }
    let metadata: Metadata = typed(metadata, "metadata")?;
    Ok(metadata.user_id.filter(|user| user.len() <= USER_BYTES_MAX))
}

/// Reads a tool. One with a schema is a function; its other fields only Anthropic reads. One of
/// Anthropic's own stays as it came.
fn tool(raw: &RawValue, param: &str) -> Result<String, Failure> {
    let Fields(fields) = typed(raw, param)?;
    let field = |name: &str| fields.iter().rev().find(|(known, value)| known == name && value.get() != "null");
    let is_custom = field("type").is_none_or(|(_, kind)| kind.get() == "\"custom\"");
    if !is_custom {
        return Ok(raw.get().to_owned());
    }
    for name in ["name", "input_schema"] {
        if field(name).is_none() {
            return Err(Failure::invalid(&format!("{param}.{name}"), "is missing"));
        }
    }
    let (mut function, mut tool, mut own) = (Object::new(), Object::new().put("type", "function"), Vec::new());
    for (name, value) in &fields {
        match &**name {
            _ if value.get() == "null" => {}
            "type" => {}
            "name" | "description" | "strict" => function.add(name, value.get()),
            "input_schema" => function.add("parameters", value.get()),
            "cache_control" => tool.add(name, value.get()),
            _ => own.push((name, value)),
        }
    }
    tool.add("function", &function.json());
    if !own.is_empty() {
        let own = own.into_iter().fold(Object::new(), |own, (name, value)| own.put_json(name, value.get()));
        tool.add(OWN_FIELD, &own.json());
    }
    Ok(tool.json())
}

fn tool_choice(raw: &RawValue, input: &mut Object) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Choice {
        r#type: String,
        name: Option<String>,
        disable_parallel_tool_use: Option<bool>,
    }
    let choice: Choice = typed(raw, "tool_choice")?;
    match (&*choice.r#type, choice.name) {
        ("auto" | "none", _) => input.say("tool_choice", &choice.r#type),
        ("any", _) => input.say("tool_choice", "required"),
        ("tool", Some(name)) => {
            let function = Object::new().put("name", &name).json();
            input.add("tool_choice", &Object::new().put("type", "function").put_json("function", &function).json());
        }
        ("tool", None) => return Err(Failure::invalid("tool_choice.name", "is missing")),
        _ => return Err(Failure::invalid("tool_choice.type", "must be auto, any, tool or none")),
    }
    if choice.disable_parallel_tool_use == Some(true) {
        input.add("parallel_tool_calls", "false");
    }
    Ok(())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
