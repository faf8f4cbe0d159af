//! Messages in Cohere's form.
//!
//! A thought of an earlier turn goes back where Cohere had it: one that Cohere itself marked as
//! `thinking` into the content, any other beside calls into `tool_plan`. Thoughts of others' formats
//! and those of turns without calls stay out: they are not needed there.

use crate::job::Failure;
use crate::provider::chat::{Body, Call, Message, Part, Role, Source, Thought, unsupported};

use super::decode::THOUGHT_FORMAT;

/// The list, as JSON.
pub(super) fn encode(messages: &[Message<'_>], provider: &str) -> Result<String, Failure> {
    let mut list = String::from("[");
    for message in messages {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&one(message, provider)?);
    }
    list.push(']');
    Ok(list)
}

fn one(message: &Message<'_>, provider: &str) -> Result<String, Failure> {
    let mut body = Body::default();
    match message.role {
        Role::System => drop(body.put("role", "system")),
        Role::User => drop(body.put("role", "user")),
        Role::Assistant => drop(body.put("role", "assistant")),
        Role::Tool => {
            let id = message.call_id.as_deref().filter(|id| !id.is_empty());
            let missing = || Failure::invalid(&format!("{}.tool_call_id", message.param), "is missing");
            body.put("role", "tool").put("tool_call_id", id.ok_or_else(missing)?);
        }
    }
    let is_assistant = message.role == Role::Assistant;
    let own = |thought: &&Thought<'_>| thought.format.as_deref() == Some(THOUGHT_FORMAT);
    let thinking = message.thoughts.iter().filter(own).filter_map(|thought| thought.text.as_deref());
    let thinking: String = if is_assistant { thinking.collect() } else { String::new() };
    match &message.parts[..] {
        [] if is_assistant && thinking.is_empty() => {}
        [Part::Text { text, .. }] if thinking.is_empty() => {
            // Beside calls an empty text says nothing.
            if !(text.is_empty() && is_assistant && !message.calls.is_empty()) {
                body.put("content", text);
            }
        }
        [] if thinking.is_empty() => drop(body.put("content", "")),
        parts => drop(body.put_json("content", &content(message, parts, &thinking, provider)?)),
    }
    if is_assistant && !message.calls.is_empty() {
        let plan = message.thoughts.iter().filter(|thought| thought.format.is_none());
        let plan: String = plan.filter_map(|thought| thought.text.as_deref()).collect();
        if !plan.is_empty() {
            body.put("tool_plan", &plan);
        }
        body.put_json("tool_calls", &calls(&message.calls));
    }
    Ok(body.into_json())
}

fn content(message: &Message<'_>, parts: &[Part<'_>], thinking: &str, provider: &str) -> Result<String, Failure> {
    let mut list = Vec::with_capacity(parts.len() + 1);
    if !thinking.is_empty() {
        let mut part = Body::default();
        part.put("type", "thinking").put("thinking", thinking);
        list.push(part.into_json());
    }
    for (at, part) in parts.iter().enumerate() {
        let refused = || unsupported(&format!("{}.content[{at}]", message.param), provider);
        let mut body = Body::default();
        match (part, message.role) {
            (Part::Text { text, .. }, _) => drop(body.put("type", "text").put("text", text)),
            (Part::Refusal(text), _) => drop(body.put("type", "text").put("text", text)),
            (Part::Image { source, detail, .. }, Role::User) => {
                let url = address(source).ok_or_else(refused)?;
                let mut image = Body::default();
                image.put("url", &url).put_some("detail", detail.as_ref());
                body.put("type", "image_url").put_json("image_url", &image.into_json());
            }
            // Cohere's own parts.
            (Part::Native { kind, raw }, Role::Assistant) if kind == "thinking" => {
                list.push(raw.get().to_owned());
                continue;
            }
            (Part::Native { kind, raw }, Role::Tool) if kind == "document" => {
                list.push(raw.get().to_owned());
                continue;
            }
            _ => return Err(refused()),
        }
        list.push(body.into_json());
    }
    Ok(format!("[{}]", list.join(",")))
}

fn address(source: &Source<'_>) -> Option<String> {
    match source {
        Source::Url(url) => Some(url.to_string()),
        Source::Data { mime, base64 } => Some(format!("data:{mime};base64,{base64}")),
        Source::Id(_) => None,
    }
}

fn calls(calls: &[Call<'_>]) -> String {
    let calls = calls.iter().map(|call| {
        let mut function = Body::default();
        function.put("name", &call.name).put("arguments", &call.arguments);
        let mut body = Body::default();
        body.put("id", &call.id).put("type", "function").put_json("function", &function.into_json());
        body.into_json()
    });
    format!("[{}]", calls.collect::<Vec<_>>().join(","))
}
