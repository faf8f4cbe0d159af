//! The messages of a chat as Converse's turns.
//!
//! Owns the order that Converse wants: rules apart, turns of user and assistant in alternation, the
//! results of tools first in the user's turn. An empty text is left out: Converse refuses blank ones.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::block;
use super::model::Maker;
use crate::job::Failure;
use crate::provider::chat::{Body, Call, Message, Part, Role, Thought, quoted, unsupported};

/// Bytes of a tool call's id that Converse takes.
const CALL_ID_BYTES_MAX: usize = 64;

/// A chat's messages as JSON.
pub(super) struct Conversation {
    /// The list of system blocks, empty if there are none.
    pub(super) system: String,
    /// The list of turns.
    pub(super) messages: String,
    /// Whether a turn calls a tool.
    pub(super) has_calls: bool,
}

/// A turn under construction.
struct Turn {
    role: &'static str,
    blocks: Vec<String>,
}

pub(super) fn conversation(messages: &[Message<'_>], maker: Maker, provider: &str) -> Result<Conversation, Failure> {
    let mut system = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    let mut names = block::Names::default();
    for message in messages {
        let role = match message.role {
            Role::System => {
                rules(message, provider, &mut system)?;
                continue;
            }
            Role::Assistant => "assistant",
            Role::User | Role::Tool => "user",
        };
        let mut blocks = match message.role {
            Role::Assistant => assistant(message, maker, provider, &mut names)?,
            Role::Tool => vec![tool_result(message, provider, &mut names)?],
            _ => parts(message, provider, &mut names)?,
        };
        blocks.extend(message.cache_control.map(cache_point));
        match turns.last_mut() {
            Some(last) if last.role == role => last.blocks.append(&mut blocks),
            _ if blocks.is_empty() => {}
            _ => turns.push(Turn { role, blocks }),
        }
    }
    let turns: Vec<_> = turns
        .into_iter()
        .map(|turn| format!(r#"{{"role":"{}","content":[{}]}}"#, turn.role, turn.blocks.join(",")))
        .collect();
    Ok(Conversation {
        system: if system.is_empty() { String::new() } else { format!("[{}]", system.join(",")) },
        messages: format!("[{}]", turns.join(",")),
        has_calls: messages.iter().any(|message| !message.calls.is_empty()),
    })
}

fn rules(message: &Message<'_>, provider: &str, out: &mut Vec<String>) -> Result<(), Failure> {
    for (at, part) in message.parts.iter().enumerate() {
        match part {
            Part::Text { text, cache_control } => {
                out.extend(text_block(text));
                out.extend(cache_control.map(cache_point));
            }
            Part::Native { kind, raw } if kind.is_empty() => out.push(raw.get().to_owned()),
            _ => return Err(unsupported(&format!("{}.content[{at}]", message.param), provider)),
        }
    }
    out.extend(message.cache_control.map(cache_point));
    Ok(())
}

fn parts(message: &Message<'_>, provider: &str, names: &mut block::Names) -> Result<Vec<String>, Failure> {
    let mut blocks = Vec::with_capacity(message.parts.len());
    for (at, part) in message.parts.iter().enumerate() {
        let param = || format!("{}.content[{at}]", message.param);
        let cache_control = match part {
            Part::Text { text, cache_control } => {
                blocks.extend(text_block(text));
                *cache_control
            }
            Part::Refusal(text) => {
                blocks.extend(text_block(text));
                None
            }
            Part::Image { source, cache_control, .. } => {
                blocks.push(block::image(source).ok_or_else(|| unsupported(&param(), provider))?);
                *cache_control
            }
            Part::File { source, filename, cache_control } => {
                let file = block::file(source, filename.as_deref(), names);
                blocks.push(file.ok_or_else(|| unsupported(&param(), provider))?);
                *cache_control
            }
            Part::Audio { data, format } => {
                blocks.push(format!(
                    r#"{{"audio":{{"format":{},"source":{{"bytes":{}}}}}}}"#,
                    quoted(format),
                    quoted(data)
                ));
                None
            }
            // A block of Converse's own among the parts of a chat: `guardContent`, `video`, …
            Part::Native { kind, raw } if kind.is_empty() => {
                blocks.push(raw.get().to_owned());
                None
            }
            Part::Native { .. } => return Err(unsupported(&param(), provider)),
        };
        blocks.extend(cache_control.map(cache_point));
    }
    Ok(blocks)
}

fn assistant(
    message: &Message<'_>,
    maker: Maker,
    provider: &str,
    names: &mut block::Names,
) -> Result<Vec<String>, Failure> {
    let mut blocks = Vec::new();
    if maker == Maker::Claude {
        blocks.extend(message.thoughts.iter().filter_map(thought));
    }
    blocks.extend(parts(message, provider, names)?);
    for (at, call) in message.calls.iter().enumerate() {
        blocks.push(tool_use(call, &message.param, at)?);
    }
    Ok(blocks)
}

/// Writes Claude's own thoughts, which only Claude can have signed.
fn thought(thought: &Thought<'_>) -> Option<String> {
    if thought.format.as_deref() != Some("anthropic-claude-v1") {
        return None;
    }
    if let Some(data) = &thought.data {
        return Some(format!(r#"{{"reasoningContent":{{"redactedContent":{}}}}}"#, quoted(data)));
    }
    let signature = thought.signature.as_deref()?;
    let text = thought.text.as_deref().unwrap_or("");
    let inner = format!(r#"{{"text":{},"signature":{}}}"#, quoted(text), quoted(signature));
    Some(format!(r#"{{"reasoningContent":{{"reasoningText":{inner}}}}}"#))
}

fn tool_use(call: &Call<'_>, param: &str, at: usize) -> Result<String, Failure> {
    if call.id.is_empty() {
        return Err(Failure::invalid(&format!("{param}.tool_calls[{at}].id"), "is missing"));
    }
    let mut inner = Body::default();
    inner.put("toolUseId", &call_id(&call.id)).put("name", &call.name).put_json("input", call.object(param)?.get());
    Ok(format!(r#"{{"toolUse":{}}}"#, inner.into_json()))
}

/// Writes a tool's result. It says no `status`: an OpenAI chat does not know failed ones, and some models
/// refuse the field.
fn tool_result(message: &Message<'_>, provider: &str, names: &mut block::Names) -> Result<String, Failure> {
    let param = format!("{}.tool_call_id", message.param);
    let id = message.call_id.as_deref().ok_or_else(|| Failure::invalid(&param, "is missing"))?;
    let mut content = Vec::new();
    for (at, part) in message.parts.iter().enumerate() {
        content.extend(match part {
            Part::Text { text, .. } | Part::Refusal(text) => text_block(text),
            Part::Native { kind, raw } if kind.is_empty() => Some(raw.get().to_owned()),
            Part::Image { source, .. } => {
                Some(block::image(source).ok_or(at)).transpose().map_err(|at| refused(message, at, provider))?
            }
            Part::File { source, filename, .. } => {
                let file = block::file(source, filename.as_deref(), names);
                Some(file.ok_or_else(|| refused(message, at, provider))?)
            }
            Part::Audio { .. } | Part::Native { .. } => return Err(refused(message, at, provider)),
        });
    }
    let mut inner = Body::default();
    inner.put("toolUseId", &call_id(id)).put_json("content", &format!("[{}]", content.join(",")));
    Ok(format!(r#"{{"toolResult":{}}}"#, inner.into_json()))
}

fn refused(message: &Message<'_>, at: usize, provider: &str) -> Failure {
    unsupported(&format!("{}.content[{at}]", message.param), provider)
}

fn text_block(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| format!(r#"{{"text":{}}}"#, quoted(text)))
}

/// Where a prompt cache may end: Anthropic's `cache_control` in Converse's words.
pub(super) fn cache_point(control: &RawValue) -> String {
    #[derive(Deserialize)]
    struct RawCacheControl {
        ttl: Option<String>,
    }
    let ttl = serde_json::from_str::<RawCacheControl>(control.get()).ok().and_then(|parsed| parsed.ttl);
    match ttl {
        Some(ttl) => format!(r#"{{"cachePoint":{{"type":"default","ttl":{}}}}}"#, quoted(&ttl)),
        None => r#"{"cachePoint":{"type":"default"}}"#.to_owned(),
    }
}

/// An id that Converse takes. Another provider's may be longer or have other letters; the call and
/// its result are changed alike.
fn call_id(id: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.len() <= CALL_ID_BYTES_MAX && id.chars().all(is_plain) {
        return id.into();
    }
    id.chars().map(|c| if is_plain(c) { c } else { '_' }).take(CALL_ID_BYTES_MAX).collect()
}
