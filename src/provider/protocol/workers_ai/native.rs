//! The native API: `/run/@cf/author/model`.
//!
//! A tool choice of `none` leaves the tools out; one that forces a call does not exist here. JSON
//! schemas stand bare in `response_format`. Texts are strings wherever there is no image among them:
//! older models take nothing else.

use serde_json::value::RawValue;

use crate::job::Failure;
use crate::provider::chat::{Body, Chat, Choice, Message, Part, ResponseFormat, Role, Source, Tool, unsupported};
use crate::provider::protocol::send;
use crate::provider::{Framing, ModelCall, Outbound};

/// Numbers that it calls as OpenAI does, or by names of its own.
const NUMBERS: &[&str] =
    &["temperature", "top_p", "top_k", "seed", "repetition_penalty", "frequency_penalty", "presence_penalty"];
/// Fields of its own, handed on as they came.
const NATIVE: &[&str] = &["raw", "lora", "functions", "chat_template_kwargs", "guided_json"];

pub(super) fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let provider = &*model_call.endpoint.name;
    let drop_unsupported = model_call.job.options.drop_unsupported;
    let url = super::run_address(model_call)?;
    let chat = Chat::read(&model_call.job.input)?;
    let mut params = chat.params;
    let mut dropped: Vec<Box<str>> = Vec::new();
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 128);
    body.put_json("messages", &messages(&chat.messages, provider)?).put("stream", &true);
    body.put("max_tokens", &super::max_tokens(&mut params, &model_call.target.model)?);
    match &chat.tool_choice {
        Some(Choice::Required | Choice::Named(_)) if drop_unsupported => dropped.push("input.tool_choice".into()),
        Some(Choice::Required | Choice::Named(_)) => return Err(unsupported("input.tool_choice", provider)),
        None | Some(Choice::Auto | Choice::None) => {}
    }
    if !chat.tools.is_empty() && chat.tool_choice != Some(Choice::None) {
        body.put_json("tools", &tools(&chat.tools, provider)?);
    }
    match &chat.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => drop(body.put_json("response_format", r#"{"type":"json_object"}"#)),
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            let mut format = Body::default();
            format.put("type", "json_schema").put_json("json_schema", schema.get());
            body.put_json("response_format", &format.into_json());
        }
    }
    if let Some(effort) = params.take_effort()? {
        let mut reasoning = Body::default();
        reasoning.put("effort", &effort);
        body.put_json("reasoning", &reasoning.into_json());
    }
    for name in NUMBERS {
        if let Some(number) = params.take_number(name)? {
            body.put_json(name, number.get());
        }
    }
    for (name, value) in params.take_all(NATIVE) {
        body.put_json(&name, value.get());
    }
    let mut outbound = send::post(model_call, url, body, Framing::Sse);
    super::keep_together(&mut params, &mut outbound)?;
    dropped.extend(params.finish(provider, drop_unsupported)?);
    Ok(Outbound { dropped, ..outbound })
}

fn tools(tools: &[Tool<'_>], provider: &str) -> Result<String, Failure> {
    let mut list = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        if tool.native.is_some() {
            return Err(unsupported(&format!("input.tools[{at}]"), provider));
        }
        let mut function = Body::default();
        function.put("name", &tool.name).put("description", tool.description.as_deref().unwrap_or(""));
        let parameters = tool.parameters.map_or(r#"{"type":"object","properties":{}}"#, RawValue::get);
        function.put_json("parameters", parameters);
        list.push(format!(r#"{{"type":"function","function":{}}}"#, function.into_json()));
    }
    Ok(format!("[{}]", list.join(",")))
}

fn messages(messages: &[Message<'_>], provider: &str) -> Result<String, Failure> {
    let mut list = Vec::with_capacity(messages.len());
    for message in messages {
        let mut body = Body::default();
        body.put("role", role(message.role));
        content(message, provider, &mut body)?;
        if !message.calls.is_empty() {
            let calls = message.calls.iter().map(|call| {
                let mut function = Body::default();
                function.put("name", &call.name).put("arguments", &call.arguments);
                let mut body = Body::default();
                body.put("id", &call.id).put("type", "function").put_json("function", &function.into_json());
                body.into_json()
            });
            body.put_json("tool_calls", &format!("[{}]", calls.collect::<Vec<_>>().join(",")));
        }
        if message.role == Role::Tool {
            body.put_some("tool_call_id", message.call_id.as_ref()).put_some("name", message.name.as_ref());
        }
        list.push(body.into_json());
    }
    Ok(format!("[{}]", list.join(",")))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn content(message: &Message<'_>, provider: &str, body: &mut Body) -> Result<(), Failure> {
    let mut texts: Vec<&str> = Vec::new();
    let mut parts = Vec::with_capacity(message.parts.len());
    for (at, part) in message.parts.iter().enumerate() {
        let mut one = Body::default();
        match part {
            Part::Text { text, .. } | Part::Refusal(text) => {
                texts.push(text);
                one.put("type", "text").put("text", text);
            }
            Part::Image { source: source @ (Source::Url(_) | Source::Data { .. }), .. } => {
                let url = match source {
                    Source::Data { mime, base64 } => format!("data:{mime};base64,{base64}"),
                    Source::Url(url) | Source::Id(url) => url.to_string(),
                };
                let mut image = Body::default();
                image.put("url", &url);
                one.put("type", "image_url").put_json("image_url", &image.into_json());
            }
            _ => return Err(unsupported(&format!("{}.content[{at}]", message.param), provider)),
        }
        parts.push(one.into_json());
    }
    if texts.len() == parts.len() {
        // Also where there is none: null beside calls is refused.
        body.put("content", &texts.join("\n"));
    } else {
        body.put_json("content", &format!("[{}]", parts.join(",")));
    }
    Ok(())
}
