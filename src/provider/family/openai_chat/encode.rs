//! From a job to the body of a chat completion, in the dialect of its endpoint.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::job::{Failure, Task};
use crate::provider::{Ask, Framing, Outbound, Route};

/// The top-level fields of a JSON object, in order, their values untouched.
pub struct Fields<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

/// The fields of a job's input. Values are skipped over, never parsed.
///
/// # Errors
/// `invalid` when it is not a JSON object.
pub fn fields(input: &RawValue) -> Result<Fields<'_>, Failure> {
    serde_json::from_str(input.get()).map_err(|error| Failure::invalid("input", error))
}

/// The request for a job: its input as it came, with `model`, `stream` and the wish for usage.
///
/// # Errors
/// `unsupported` for another task than chat, `invalid` for an input without messages.
pub fn encode(ask: Ask<'_>) -> Result<Outbound, Failure> {
    let Ask { job, target, endpoint } = ask;
    if job.task != Task::Chat {
        let message = format!("{} serves chat, not {}", endpoint.name, job.task.as_str());
        return Err(Failure::unsupported("task", message));
    }
    let fields = fields(&job.input)?;
    if !fields.0.iter().any(|(name, _)| name == "messages") {
        return Err(Failure::invalid("input.messages", "a chat needs messages"));
    }
    let mut headers = endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    Ok(Outbound {
        route: Route::Http {
            url: format!("{}/chat/completions", endpoint.base_url).into(),
            headers,
            credential: endpoint.credential.clone(),
        },
        body: body(&fields, &target.model, job.input.get().len())?,
        framing: Framing::Sse,
        dropped: Vec::new(),
    })
}

fn body(fields: &Fields<'_>, model: &str, input_bytes: usize) -> Result<Bytes, Failure> {
    let mut out = String::with_capacity(input_bytes + model.len() + 96);
    out.push_str("{\"model\":");
    out.push_str(&json_string(model));
    out.push_str(",\"stream\":true,\"stream_options\":");
    let options = fields.0.iter().rev().find(|(name, value)| name == "stream_options" && value.get() != "null");
    match options {
        Some((_, options)) => stream_options(options, &mut out)?,
        None => out.push_str("{\"include_usage\":true}"),
    }
    for (name, value) in &fields.0 {
        if !matches!(&**name, "model" | "stream" | "stream_options") {
            push_field(&mut out, name, value);
        }
    }
    out.push('}');
    Ok(out.into())
}

/// What the caller asked of the stream, and usage whatever the caller asked: without it no cost.
fn stream_options(said: &RawValue, out: &mut String) -> Result<(), Failure> {
    let said: Fields<'_> =
        serde_json::from_str(said.get()).map_err(|_| Failure::invalid("input.stream_options", "must be an object"))?;
    out.push_str("{\"include_usage\":true");
    for (name, value) in said.0.iter().filter(|(name, _)| name != "include_usage") {
        push_field(out, name, value);
    }
    out.push('}');
    Ok(())
}

fn push_field(out: &mut String, name: &str, value: &RawValue) {
    out.push(',');
    out.push_str(&json_string(name));
    out.push(':');
    out.push_str(value.get());
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(super::chunk::Key(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
