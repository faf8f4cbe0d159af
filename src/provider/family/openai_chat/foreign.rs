//! What a client of Anthropic's dialect says beside a chat, left out for those who refuse it.
//!
//! Most servers of this dialect answer a field of a message that they do not know with an error, and
//! such clients send marks for a prompt cache and sealed thoughts with every request.

use serde_json::value::RawValue;

use super::rules::{MessageRules, Reasoning};
use crate::job::{Failure, Fields};
use crate::provider::chat::{self, Body};

/// Of a message, of a part of one, of a call, of a tool.
const SAID: &[&str] =
    &["cache_control", "reasoning_details", "reasoning_content", "is_error", "extra_content", chat::ANTHROPIC];

/// The messages without it.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) fn messages(rules: &MessageRules, json: &str) -> Result<String, Failure> {
    let keeps = |name: &str| {
        rules.keeps.contains(&name) || (name == "reasoning_content" && rules.reasoning != Reasoning::AsItComes)
    };
    each(json, "input.messages", |name, value| match name {
        _ if SAID.contains(&name) && !keeps(name) => Ok(None),
        "content" | "tool_calls" if value.starts_with('[') => {
            let inner = each(value, "input.messages", |name, value| {
                Ok((!SAID.contains(&name) || keeps(name)).then(|| value.to_owned()))
            });
            inner.map(Some)
        }
        _ => Ok(Some(value.to_owned())),
    })
}

/// The tools without it.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) fn tools(rules: &MessageRules, json: &str) -> Result<String, Failure> {
    each(json, "input.tools", |name, value| {
        Ok((!SAID.contains(&name) || rules.keeps.contains(&name)).then(|| value.to_owned()))
    })
}

/// A list of objects with each field as `write` has it.
fn each(
    json: &str,
    param: &str,
    write: impl Fn(&str, &str) -> Result<Option<String>, Failure>,
) -> Result<String, Failure> {
    let wrong = |_| Failure::invalid(param, "must be a list of objects");
    let items: Vec<&RawValue> = serde_json::from_str(json).map_err(wrong)?;
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let Fields(fields) = serde_json::from_str(item.get()).map_err(wrong)?;
        let mut body = Body::with_capacity(item.get().len());
        for (name, value) in &fields {
            if let Some(value) = write(name, value.get())? {
                body.put_json(name, &value);
            }
        }
        out.push(body.into_json());
    }
    Ok(format!("[{}]", out.join(",")))
}
