//! Fields that clients of other protocols add to a chat; they are left out for servers that refuse them.
//!
//! Most servers of this dialect answer a field of a message that they do not know with an error, and
//! such clients send marks for a prompt cache and encrypted reasoning with every request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::rules::{MessageRules, Reasoning};
use crate::job::{Failure, Fields};
use crate::provider::chat::{self, Body};

/// Fields of messages, their parts, tool calls and tools that belong to another protocol.
const FOREIGN_FIELDS: &[&str] =
    &["cache_control", "reasoning_details", "reasoning_content", "is_error", "extra_content", chat::ANTHROPIC];

/// Returns the messages without fields of other protocols.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) fn messages(rules: &MessageRules, json: &str) -> Result<String, Failure> {
    let keeps = |name: &str| {
        rules.keeps.contains(&name) || (name == "reasoning_content" && rules.reasoning != Reasoning::AsItComes)
    };
    each(json, "input.messages", |name, value| match name {
        _ if FOREIGN_FIELDS.contains(&name) && !keeps(name) => Ok(None),
        "content" | "tool_calls" if value.starts_with('[') => {
            let inner = each(value, "input.messages", |name, value| {
                Ok((!FOREIGN_FIELDS.contains(&name) || keeps(name)).then(|| value.to_owned()))
            });
            inner.map(Some)
        }
        _ => Ok(Some(value.to_owned())),
    })
}

/// Returns the tools without fields of other protocols.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) fn tools(rules: &MessageRules, json: &str) -> Result<String, Failure> {
    each(json, "input.tools", |name, value| {
        Ok((!FOREIGN_FIELDS.contains(&name) || rules.keeps.contains(&name)).then(|| value.to_owned()))
    })
}

/// A tool that came as Responses and is no function has the shape of that protocol.
///
/// # Errors
/// `unsupported`, naming it.
pub(super) fn only_functions(tools: &str, provider: &str) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Cow<'a, str>,
    }
    let tools: Vec<Tool<'_>> = serde_json::from_str(tools).unwrap_or_default();
    match tools.iter().position(|tool| tool.kind != "function") {
        Some(at) => Err(chat::unsupported(&format!("input.tools[{at}].type"), provider)),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_strict_server_refuses_is_left_out_and_the_rest_stays_in_order() {
        let raw = r#"[{"role":"user","content":[{"type":"text","text":"a","cache_control":{}}],"cache_control":{}},
            {"role":"assistant","content":null,"reasoning_content":"hm","reasoning_details":[{}],
             "tool_calls":[{"id":"c","extra_content":{},"function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"c","content":"no","is_error":true}]"#;
        let user = r#"{"role":"user","content":[{"type":"text","text":"a"}]}"#;
        let calls = r#""tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]"#;
        let tool = r#"{"role":"tool","tool_call_id":"c","content":"no"}"#;
        let reasons = MessageRules { reasoning: Reasoning::In("reasoning_content"), ..MessageRules::PLAIN };
        let keeps = MessageRules { keeps: &["cache_control", "reasoning_details"], ..MessageRules::PLAIN };
        let marked = r#"{"role":"user","content":[{"type":"text","text":"a","cache_control":{}}],"cache_control":{}}"#;
        for (rules, user, thoughts) in [
            (MessageRules::PLAIN, user, ""),
            (reasons, user, r#""reasoning_content":"hm","#),
            (keeps, marked, r#""reasoning_details":[{}],"#),
        ] {
            let expected = format!(r#"[{user},{{"role":"assistant","content":null,{thoughts}{calls}}},{tool}]"#);
            assert_eq!(messages(&rules, raw).expect("a list"), expected);
        }
        let raw = r#"[{"type":"function","function":{"z":1,"a":2},"cache_control":{},"anthropic":{}}]"#;
        assert_eq!(
            tools(&MessageRules::PLAIN, raw).expect("a list"),
            r#"[{"type":"function","function":{"z":1,"a":2}}]"#
        );
        assert_eq!(
            messages(&MessageRules::PLAIN, "[7]").expect_err("no object").param.as_deref(),
            Some("input.messages")
        );
    }
}
