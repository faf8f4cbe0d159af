//! From a chat to the body of `/api/chat`.
//!
//! Sampling goes into `options`, where Ollama's own (`num_ctx`, `min_p`, …) are handed on and win.
//! `reasoning_effort` becomes `think`. A tool choice of `none` leaves the tools out; one that forces
//! a call does not exist. Texts of one message are joined by a line end: a message has one text.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::job::Failure;
use crate::provider::chat::{Body, Chat, Choice, Message, Params, Part, ResponseFormat, Role, Source, unsupported};
use crate::provider::protocol::{openai_chat, send};
use crate::provider::{Framing, ModelCall, Outbound};

/// Fields of Ollama's own, handed on as they came.
const NATIVE: &[&str] = &["keep_alive", "think", "logprobs", "top_logprobs", "truncate", "shift"];
/// Its options, which some clients put beside the messages.
const OPTIONS: &[&str] = &[
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "repeat_last_n",
    "num_ctx",
    "num_keep",
];
/// The only models whose thinking has levels; all others refuse a word where they want a boolean.
const LEVELLED: &str = "gpt-oss";

/// The request for a chat.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let provider = &*model_call.endpoint.name;
    let drop_unsupported = model_call.job.options.drop_unsupported;
    let chat = Chat::read(&model_call.job.input)?;
    let mut params = chat.params;
    let mut dropped: Vec<Box<str>> = Vec::new();
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 128);
    body.put("model", &*model_call.target.model).put("stream", &true);
    body.put_json("messages", &messages(&chat.messages, provider)?);
    for (at, tool) in chat.tools.iter().enumerate() {
        if tool.native.is_some() {
            return Err(unsupported(&format!("input.tools[{at}]"), provider));
        }
    }
    match &chat.tool_choice {
        Some(Choice::Required | Choice::Named(_)) if drop_unsupported => dropped.push("input.tool_choice".into()),
        Some(Choice::Required | Choice::Named(_)) => return Err(unsupported("input.tool_choice", provider)),
        None | Some(Choice::Auto | Choice::None) => {}
    }
    if !chat.tools.is_empty() && chat.tool_choice != Some(Choice::None) {
        let tools = chat.tools.iter().map(|tool| {
            let mut function = Body::default();
            function.put("name", &tool.name).put_some("description", tool.description.as_ref());
            let parameters = tool.parameters.map_or(r#"{"type":"object","properties":{}}"#, RawValue::get);
            function.put_json("parameters", parameters);
            format!(r#"{{"type":"function","function":{}}}"#, function.into_json())
        });
        body.put_json("tools", &format!("[{}]", tools.collect::<Vec<_>>().join(",")));
    }
    match &chat.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => drop(body.put("format", "json")),
        Some(ResponseFormat::JsonSchema { schema, .. }) => drop(body.put_json("format", schema.get())),
    }
    if !params.has("think")
        && let Some(effort) = params.take_effort()?
    {
        body.put_json("think", think(&effort, &model_call.target.model)?);
    }
    put_options(&mut params, &mut body)?;
    for (name, value) in params.take_all(NATIVE) {
        if value.get() != "false" || name != "logprobs" {
            body.put_json(&name, value.get());
        }
    }
    dropped.extend(params.finish(provider, drop_unsupported)?);
    Ok(Outbound { dropped, ..send::post(model_call, super::address(model_call, "chat"), body, Framing::Lines) })
}

fn think(effort: &str, model: &str) -> Result<&'static str, Failure> {
    Ok(match (effort, model.contains(LEVELLED)) {
        ("none", _) => "false",
        ("minimal" | "low", true) => r#""low""#,
        ("medium", true) => r#""medium""#,
        ("high" | "xhigh" | "max", true) => r#""high""#,
        ("minimal" | "low" | "medium" | "high" | "xhigh" | "max", false) => "true",
        _ => {
            return Err(Failure::invalid("input.reasoning_effort", "is none of none, minimal, low, medium, high"));
        }
    })
}

fn put_options(params: &mut Params<'_>, body: &mut Body) -> Result<(), Failure> {
    let own = params.take("options");
    let own = own.map(openai_chat::fields).transpose().map_err(|_| {
        let message = "must be an object";
        Failure::invalid("input.options", message)
    })?;
    let own = own.map(|fields| fields.0).unwrap_or_default();
    let is_own = |name: &str| own.iter().any(|(known, _)| known == name);
    let mut options = Body::default();
    let limit = params.take_max_tokens()?;
    if !is_own("num_predict") {
        options.put_some("num_predict", limit);
    }
    for name in OPTIONS {
        if let Some(number) = params.take_number(name)?
            && !is_own(name)
        {
            options.put_json(name, number.get());
        }
    }
    let stop = params.take_stop()?;
    if !stop.is_empty() && !is_own("stop") {
        options.put("stop", &stop);
    }
    for (name, value) in &own {
        options.put_json(name, value.get());
    }
    if !options.is_empty() {
        body.put_json("options", &options.into_json());
    }
    Ok(())
}

fn messages(messages: &[Message<'_>], provider: &str) -> Result<String, Failure> {
    let mut list = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        list.push(one(message, &messages[..at], provider)?);
    }
    Ok(format!("[{}]", list.join(",")))
}

fn one(message: &Message<'_>, before: &[Message<'_>], provider: &str) -> Result<String, Failure> {
    let mut body = Body::default();
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let (text, images) = content(message, provider)?;
    body.put("role", role).put("content", &text);
    if !images.is_empty() {
        body.put("images", &images);
    }
    if message.role == Role::Assistant {
        // Other formats cannot be read here.
        let own = message.thoughts.iter().filter(|thought| thought.format.is_none());
        let thinking: String = own.filter_map(|thought| thought.text.as_deref()).collect();
        if !thinking.is_empty() {
            body.put("thinking", &thinking);
        }
    }
    if !message.calls.is_empty() {
        let mut calls = Vec::with_capacity(message.calls.len());
        for call in &message.calls {
            let mut function = Body::default();
            function.put("name", &call.name).put_json("arguments", call.object(&message.param)?.get());
            let mut body = Body::default();
            body.put_some("id", Some(&call.id).filter(|id| !id.is_empty()));
            body.put("type", "function").put_json("function", &function.into_json());
            calls.push(body.into_json());
        }
        body.put_json("tool_calls", &format!("[{}]", calls.join(",")));
    }
    if message.role == Role::Tool {
        body.put_some("tool_name", tool_name(message, before));
        body.put_some("tool_call_id", message.call_id.as_ref());
    }
    Ok(body.into_json())
}

/// Ollama tells results apart by the tool's name; OpenAI's messages say only which call it was.
fn tool_name<'m>(message: &'m Message<'_>, before: &'m [Message<'_>]) -> Option<&'m str> {
    let id = message.call_id.as_deref();
    let called = before.iter().rev().flat_map(|message| &message.calls).find(|call| Some(&*call.id) == id);
    message.name.as_deref().or(called.map(|call| &*call.name))
}

/// The texts, and the images in base64.
fn content<'m>(message: &'m Message<'_>, provider: &str) -> Result<(Cow<'m, str>, Vec<&'m str>), Failure> {
    let mut text = Cow::Borrowed("");
    let mut images = Vec::new();
    for (at, part) in message.parts.iter().enumerate() {
        match part {
            Part::Text { text: raw, .. } | Part::Refusal(raw) if at == 0 || text.is_empty() => {
                text = Cow::Borrowed(raw);
            }
            Part::Text { text: raw, .. } | Part::Refusal(raw) => {
                text.to_mut().push('\n');
                text.to_mut().push_str(raw);
            }
            Part::Image { source: Source::Data { base64, .. }, .. } => images.push(&**base64),
            _ => return Err(unsupported(&format!("{}.content[{at}]", message.param), provider)),
        }
    }
    Ok((text, images))
}
