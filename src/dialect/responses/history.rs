//! Earlier turns: as messages of the next job, and as items of a list.
//!
//! Owns the reading of an earlier job, whichever entrance took it. Its instructions are not part of
//! the conversation; its input, and what it answered, are.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::encrypted_content;
use super::request::raw;
use crate::job::{Failure, Fields, Job, JobId};

/// Items of a page if the request does not say how many.
const PAGE_DEFAULT: usize = 20;
/// Items of a page.
const PAGE_MAX: usize = 100;
/// What a next turn takes from an answer's message.
const KEPT: &[&str] = &["role", "content", "refusal", "tool_calls", "reasoning_details", "reasoning_content"];

/// The conversation up to a job's answer, which is given as a chat completion: messages of a chat.
/// `None` when the job has none, since its input is in a provider's own form.
#[must_use]
pub fn turns(job: &Job, mut completion: Value) -> Option<Vec<Box<RawValue>>> {
    let mut turns: Vec<Box<RawValue>> = messages(job)?.into_iter().map(RawValue::to_owned).collect();
    if let Some(Value::Object(message)) = completion.pointer_mut("/choices/0/message").map(Value::take) {
        let message = message.into_iter().filter(|(name, value)| KEPT.contains(&&**name) && !value.is_null());
        let message: Map<String, Value> = message.collect();
        let says = |name: &str| message.get(name).is_some_and(|value| *value != "" && *value != json!([]));
        if says("content") || says("refusal") || says("tool_calls") {
            turns.push(raw(Value::Object(message).to_string()).ok()?);
        }
    }
    Some(turns)
}

/// The messages of a job without its instructions.
fn messages(job: &Job) -> Option<Vec<&RawValue>> {
    let Fields(input) = serde_json::from_str(job.input.get()).ok()?;
    let (_, messages) = input.into_iter().rfind(|(name, _)| name == "messages")?;
    let mut messages: Vec<&RawValue> = serde_json::from_str(messages.get()).ok()?;
    let echo = job.echo.as_ref().and_then(|echo| serde_json::from_str::<Fields<'_>>(echo.get()).ok());
    let is_instructed = echo.is_some_and(|echo| echo.0.iter().any(|(name, _)| name == "instructions"));
    if is_instructed && !messages.is_empty() {
        messages.remove(0);
    }
    Some(messages)
}

/// A page of the input of a job, as items: `limit`, `after` and `order` as the query has them.
///
/// # Errors
/// `invalid`, naming the parameter; `not_found` for a job whose input is in a provider's own form.
pub fn input_items(job: &Job, limit: Option<&str>, after: Option<&str>, order: Option<&str>) -> Result<Value, Failure> {
    let limit = match limit {
        None => PAGE_DEFAULT,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=PAGE_MAX).contains(limit))
            .ok_or_else(|| Failure::invalid("limit", format!("must be 1 to {PAGE_MAX}")))?,
    };
    let mut items = items(job);
    match order {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(Failure::invalid("order", "must be asc or desc")),
    }
    let start = match after {
        None => 0,
        Some(after) => {
            let at = items.iter().position(|item| item["id"] == after);
            at.ok_or_else(|| Failure::invalid("after", "must be the id of an item of this list"))? + 1
        }
    };
    let has_more = items.len() - start > limit;
    let data: Vec<Value> = items.into_iter().skip(start).take(limit).collect();
    let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(json!({
        "object": "list", "first_id": id(data.first()), "last_id": id(data.last()), "has_more": has_more, "data": data,
    }))
}

fn items(job: &Job) -> Vec<Value> {
    let mut items = Vec::new();
    for message in messages(job).unwrap_or_default() {
        match serde_json::from_str(message.get()) {
            Ok(Value::Object(message)) => of_message(message, &mut items),
            _ => continue,
        }
    }
    for (at, item) in items.iter_mut().enumerate() {
        item["id"] = id(&job.id, at).into();
    }
    items
}

/// Not the id of an item of an answer: what was asked is not told by us.
fn id(job: &JobId, at: usize) -> String {
    format!("item_{job}_in{at}")
}

fn of_message(mut message: Map<String, Value>, items: &mut Vec<Value>) {
    let mut take = |name: &str| message.remove(name).unwrap_or_default();
    let (role, content) = (take("role"), take("content"));
    match role.as_str() {
        Some("tool") => {
            let output = if content.is_array() { json!(parts(content, "input_text")) } else { content };
            let id = take("tool_call_id");
            items.push(json!({"type": "function_call_output", "call_id": id, "output": output, "status": "completed"}));
        }
        Some("assistant") => {
            let (details, plain) = (take("reasoning_details"), take("reasoning_content"));
            let details = details.as_array().cloned().unwrap_or_default();
            if !details.is_empty() || plain.is_string() {
                let raw_part = plain.as_str().map(|text| json!({"type": "summary_text", "text": text}));
                let mut item = json!({"type": "reasoning", "summary": Vec::from_iter(raw_part)});
                if let Some(seal) = encrypted_content::seal(&details) {
                    item["encrypted_content"] = seal.into();
                }
                items.push(item);
            }
            let mut content = parts(content, "output_text");
            content.extend(take("refusal").as_str().map(|text| json!({"type": "refusal", "refusal": text})));
            if !content.is_empty() {
                items.push(json!({"type": "message", "role": "assistant", "status": "completed", "content": content}));
            }
            for mut call in take("tool_calls").as_array_mut().map(std::mem::take).unwrap_or_default() {
                let mut function = call["function"].take();
                items.push(json!({
                    "type": "function_call", "call_id": call["id"].take(), "name": function["name"].take(),
                    "arguments": function["arguments"].take(), "status": "completed",
                }));
            }
        }
        _ => items.push(json!({
            "type": "message", "role": role, "status": "completed", "content": parts(content, "input_text"),
        })),
    }
}

fn parts(content: Value, kind: &str) -> Vec<Value> {
    match content {
        Value::String(text) if text.is_empty() && kind == "output_text" => Vec::new(),
        Value::String(text) => vec![part(json!({"type": "text", "text": text}), kind)],
        Value::Array(parts) => parts.into_iter().map(|raw_part| part(raw_part, kind)).collect(),
        _ => Vec::new(),
    }
}

fn part(mut raw_part: Value, kind: &str) -> Value {
    match raw_part["type"].as_str() {
        Some("text") if kind == "output_text" => {
            json!({"type": kind, "text": raw_part["text"].take(), "annotations": []})
        }
        Some("text") => json!({"type": kind, "text": raw_part["text"].take()}),
        Some("image_url") => {
            let mut image = raw_part["image_url"].take();
            let detail = image.get_mut("detail").map_or_else(|| json!("auto"), Value::take);
            let url = if image.is_string() { image } else { image["url"].take() };
            json!({"type": "input_image", "image_url": url, "detail": detail})
        }
        Some("file") => {
            let mut file = raw_part["file"].take();
            file["type"] = "input_file".into();
            file
        }
        _ => raw_part,
    }
}
