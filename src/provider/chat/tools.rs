//! Tools, and the shape that an answer must have.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::typed;
use crate::job::Failure;

/// A tool that the model may call.
#[derive(Clone, Debug)]
pub struct Tool<'a> {
    /// Name of the tool.
    pub name: Cow<'a, str>,
    /// What it is for.
    pub description: Option<Cow<'a, str>>,
    /// The JSON Schema of its arguments. Absent = it takes none.
    pub parameters: Option<&'a RawValue>,
    /// Whether arguments must follow the schema exactly.
    pub strict: Option<bool>,
    /// Where a provider's prompt cache may end.
    pub cache_control: Option<&'a RawValue>,
    /// What else is said of it to Anthropic alone: an object.
    pub own: Option<&'a RawValue>,
    /// A tool that is not a function (a provider's own), as it came; the rest is empty then.
    pub native: Option<&'a RawValue>,
}

/// Whether the model must call a tool.
#[derive(Clone, PartialEq, Debug)]
pub enum Choice<'a> {
    /// The model may not call a tool.
    None,
    /// The model decides by itself.
    Auto,
    /// The model must call some tool.
    Required,
    /// The model must call this tool.
    Named(Cow<'a, str>),
}

/// The shape that an answer must have.
#[derive(Clone, Debug)]
pub enum ResponseFormat<'a> {
    /// The answer is any text.
    Text,
    /// The answer is some JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// Name of the schema.
        name: Option<Cow<'a, str>>,
        /// What it is for.
        description: Option<Cow<'a, str>>,
        /// JSON Schema that the answer must keep.
        schema: &'a RawValue,
        /// Whether it must be followed exactly.
        strict: Option<bool>,
    },
}

#[derive(Deserialize)]
struct RawTool<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    function: Option<RawFunction<'a>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
    #[serde(borrow)]
    anthropic: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawFunction<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Option<Cow<'a, str>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

pub(super) fn read(value: &RawValue) -> Result<Vec<Tool<'_>>, Failure> {
    let tools: Vec<&RawValue> = typed(value, "input.tools")?;
    tools.into_iter().enumerate().map(|(at, raw)| read_one(raw, &format!("input.tools[{at}]"))).collect()
}

fn read_one<'a>(raw: &'a RawValue, param: &str) -> Result<Tool<'a>, Failure> {
    let parsed: RawTool<'a> = typed(raw, param)?;
    let kind = parsed.kind.as_deref();
    match parsed.function {
        Some(function) if matches!(kind, None | Some("function")) => Ok(Tool {
            name: function.name,
            description: function.description,
            parameters: function.parameters,
            strict: function.strict,
            cache_control: parsed.cache_control.or(function.cache_control),
            own: parsed.anthropic,
            native: None,
        }),
        None if kind == Some("function") => Err(Failure::invalid(&format!("{param}.function"), "is missing")),
        _ => Ok(Tool {
            name: Cow::Borrowed(""),
            description: None,
            parameters: None,
            strict: None,
            cache_control: None,
            own: None,
            native: Some(raw),
        }),
    }
}

pub(super) fn read_choice(value: &RawValue) -> Result<Choice<'_>, Failure> {
    #[derive(Deserialize)]
    struct Name<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum RawChoice<'a> {
        Word(String),
        Named {
            #[serde(borrow)]
            function: Name<'a>,
        },
    }
    let wrong = || {
        let message =
            "must be \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": …}}";
        Failure::invalid("input.tool_choice", message)
    };
    match serde_json::from_str(value.get()) {
        Ok(RawChoice::Named { function }) => Ok(Choice::Named(function.name)),
        Ok(RawChoice::Word(word)) => match word.as_str() {
            "none" => Ok(Choice::None),
            "auto" => Ok(Choice::Auto),
            "required" | "any" => Ok(Choice::Required),
            _ => Err(wrong()),
        },
        Err(_) => Err(wrong()),
    }
}

pub(super) fn read_format(value: &RawValue) -> Result<ResponseFormat<'_>, Failure> {
    #[derive(Deserialize)]
    struct RawFormat<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        json_schema: Option<RawSchema<'a>>,
    }
    #[derive(Deserialize)]
    struct RawSchema<'a> {
        #[serde(borrow)]
        name: Option<Cow<'a, str>>,
        #[serde(borrow)]
        description: Option<Cow<'a, str>>,
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
        strict: Option<bool>,
    }
    let parsed: RawFormat<'_> = typed(value, "input.response_format")?;
    match (&*parsed.kind, parsed.json_schema) {
        ("text", _) => Ok(ResponseFormat::Text),
        ("json_object", _) => Ok(ResponseFormat::JsonObject),
        ("json_schema", Some(RawSchema { name, description, schema: Some(schema), strict })) => {
            Ok(ResponseFormat::JsonSchema { name, description, schema, strict })
        }
        ("json_schema", _) => Err(Failure::invalid("input.response_format.json_schema.schema", "is missing")),
        _ => Err(Failure::invalid("input.response_format.type", "must be text, json_object or json_schema")),
    }
}
