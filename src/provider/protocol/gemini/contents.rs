//! Messages as Google's `contents` and `systemInstruction`.
//!
//! System messages become the instruction wherever they stand. Messages of one kind in a row become
//! one turn: the results of parallel calls must stand in one. Prompt caching is implicit here, so
//! `cache_control` says nothing; neither has the `detail` of an image a stable field of Google's.

use serde_json::value::RawValue;

use super::media;
use super::model;
use crate::job::Failure;
use crate::provider::ModelCall;
use crate::provider::chat::{Body, Call, Message, Part, Role, Thought};

/// Whose thoughts may be sent back.
const FORMAT: &str = "google-gemini-v1";
/// The documented signature of a call that was made elsewhere: Gemini 3 refuses one without any.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";
/// Beginnings of ids that are not Google's: ours for calls without one, and other providers'. Older
/// versions of the API refuse to be told an id that they did not give.
const FOREIGN_IDS: &[&str] = &["call_", "toolu_", "tooluse_", "fc_", "chatcmpl-"];

/// What the messages become.
pub(super) struct Written {
    /// The parts of the system instruction, as JSON; empty if there is none.
    pub(super) system: String,
    /// The contents, as JSON.
    pub(super) contents: String,
}

struct Turn {
    role: Role,
    parts: Vec<String>,
}

/// Writes the messages.
///
/// # Errors
/// `unsupported` or `invalid`, naming the part.
pub(super) fn write(messages: &[Message<'_>], model_call: ModelCall<'_>) -> Result<Written, Failure> {
    let mut system = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let parts = match message.role {
            Role::System => {
                system.extend(instruction(message)?);
                continue;
            }
            Role::User => plain(message, model_call)?,
            Role::Assistant => answer(message, model_call)?,
            Role::Tool => result(message, &messages[..at], model_call)?,
        };
        match turns.last_mut() {
            Some(turn) if turn.role == message.role => turn.parts.extend(parts),
            _ if parts.is_empty() => {}
            _ => turns.push(Turn { role: message.role, parts }),
        }
    }
    if turns.is_empty() {
        return Err(media::refused("input.messages", "Google answers only to a message that is not the system's"));
    }
    let turns: Vec<String> = turns.iter().map(Turn::json).collect();
    Ok(Written { system: system.join(","), contents: format!("[{}]", turns.join(",")) })
}

impl Turn {
    fn json(&self) -> String {
        let role = if self.role == Role::Assistant { "model" } else { "user" };
        format!("{{\"role\":\"{role}\",\"parts\":[{}]}}", self.parts.join(","))
    }
}

fn place(message: &Message<'_>, at: usize) -> String {
    format!("{}.content[{at}]", message.param)
}

fn instruction(message: &Message<'_>) -> Result<Vec<String>, Failure> {
    let parts = message.parts.iter().enumerate().map(|(at, part)| match part {
        Part::Text { .. } => media::write(part, &place(message, at), ""),
        _ => Err(media::refused(&place(message, at), "Google takes only text as a system message")),
    });
    parts.collect()
}

fn plain(message: &Message<'_>, model_call: ModelCall<'_>) -> Result<Vec<String>, Failure> {
    let parts = message.parts.iter().enumerate();
    parts.map(|(at, part)| media::write(part, &place(message, at), &model_call.endpoint.base_url)).collect()
}

/// What the model said: thoughts that are signed, text, calls.
fn answer(message: &Message<'_>, model_call: ModelCall<'_>) -> Result<Vec<String>, Failure> {
    let own: Vec<&Thought<'_>> =
        message.thoughts.iter().filter(|thought| thought.format.as_deref() == Some(FORMAT)).collect();
    let mut parts = Vec::new();
    for thought in &own {
        if let (Some(text), Some(signature)) = (&thought.text, &thought.signature) {
            let mut part = Body::default();
            part.put("text", text).put("thought", &true).put("thoughtSignature", signature);
            parts.push(part.into_json());
        }
    }
    // A signature by itself belongs to the call of its id, else to the text, which is told as one.
    let names_call =
        |thought: &Thought<'_>| thought.id.as_deref().is_some_and(|id| message.calls.iter().any(|call| call.id == id));
    let mut loose = own.iter().rev().filter(|thought| !names_call(thought)).find_map(|thought| thought.data.as_deref());
    let last_text = message.parts.iter().rposition(|part| matches!(part, Part::Text { .. }));
    for (at, part) in message.parts.iter().enumerate() {
        match part {
            Part::Text { text, .. } if text.is_empty() && (Some(at) != last_text || loose.is_none()) => {}
            Part::Text { text, .. } => {
                let mut body = Body::with_capacity(text.len() + 32);
                body.put("text", text);
                body.put_some("thoughtSignature", if Some(at) == last_text { loose.take() } else { None });
                parts.push(body.into_json());
            }
            part => parts.push(media::write(part, &place(message, at), &model_call.endpoint.base_url)?),
        }
    }
    for (at, call) in message.calls.iter().enumerate() {
        let of_thought = || own.iter().find(|thought| thought.id.as_deref() == Some(&*call.id))?.data.as_deref();
        let signature = call.signature.as_deref().or_else(of_thought);
        let signature = signature.or_else(|| if at == 0 { loose.take() } else { None });
        let dummy = || (at == 0 && model::is_third_generation(&model_call.target.model)).then_some(NO_SIGNATURE);
        let mut part = Body::default();
        part.put_json("functionCall", &write_call(call, &message.param)?);
        part.put_some("thoughtSignature", signature.or_else(dummy));
        parts.push(part.into_json());
    }
    if let Some(signature) = loose {
        let mut part = Body::default();
        part.put("text", "").put("thoughtSignature", signature);
        parts.push(part.into_json());
    }
    Ok(parts)
}

fn write_call(call: &Call<'_>, param: &str) -> Result<String, Failure> {
    let mut body = Body::default();
    body.put_some("id", googles(&call.id));
    body.put("name", &call.name).put_json("args", call.object(param)?.get());
    Ok(body.into_json())
}

/// An id that Google gave.
fn googles(id: &str) -> Option<&str> {
    (!id.is_empty() && !FOREIGN_IDS.iter().any(|start| id.starts_with(start))).then_some(id)
}

/// What a tool said. Google wants its name, which the call knows, and an object.
fn result(message: &Message<'_>, before: &[Message<'_>], model_call: ModelCall<'_>) -> Result<Vec<String>, Failure> {
    let id = message.call_id.as_deref().unwrap_or("");
    let named = |call: &&Call<'_>| !id.is_empty() && call.id == id;
    let call = before.iter().rev().flat_map(|message| &message.calls).find(named);
    let name = call.map(|call| &*call.name).or(message.name.as_deref()).ok_or_else(|| {
        let param = format!("{}.tool_call_id", message.param);
        Failure::invalid(&param, "names no call of an earlier message, and Google must be told the tool's name")
    })?;
    let mut text = String::new();
    let mut files = Vec::new();
    for (at, part) in message.parts.iter().enumerate() {
        match part {
            Part::Text { text: piece, .. } => text.push_str(piece),
            part => files.push(media::write(part, &place(message, at), &model_call.endpoint.base_url)?),
        }
    }
    let mut body = Body::with_capacity(text.len() + 64);
    body.put_some("id", googles(id)).put("name", name);
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(object) if object.get().starts_with('{') => body.put_json("response", object.get()),
        _ => body.put("response", &serde_json::json!({ "result": text })),
    };
    let mut parts = vec![format!("{{\"functionResponse\":{}}}", body.into_json())];
    parts.extend(files);
    Ok(parts)
}
