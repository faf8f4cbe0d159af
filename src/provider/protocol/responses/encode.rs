//! From a job to the body of a response's request.

use std::borrow::Cow;

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde_json::value::RawValue;

use super::input::{Items, native_tool};
use super::rule::{Site, thinks};
use crate::job::{Failure, Job};
use crate::provider::chat::{Body, Chat, Choice, Params, ResponseFormat, Tool, unsupported};
use crate::provider::protocol::openai_chat;
use crate::provider::{Framing, Method, ModelCall, Outbound, Route};

/// The least that `max_output_tokens` may be; a smaller wish is raised to it.
const OUTPUT_TOKENS_MIN: u64 = 16;
/// With it reasoning comes in a form that can go back without being kept at the provider.
const ENCRYPTED: &str = "reasoning.encrypted_content";
const LOG_PROBABILITIES: &str = "message.output_text.logprobs";

/// Fields that mean the same here under the same name, and those that only this dialect has.
const OWN: &[&str] = &[
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "metadata",
    "user",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "truncation",
    "previous_response_id",
    "conversation",
    "max_tool_calls",
    "background",
    "instructions",
    "prompt",
    "context_management",
];

/// The request for a chat at `url`. An input of items is taken as it came, with `model` and `stream`.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>, url: Box<str>, site: Site) -> Result<Outbound, Failure> {
    let mut headers = model_call.endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 256);
    body.put("model", &*model_call.target.model).put("stream", &true);
    let dropped = write(model_call, site, &mut body)?;
    Ok(Outbound {
        route: Route::Http { method: Method::POST, url, headers, credential: model_call.endpoint.credential.clone() },
        body: body.into_bytes(),
        framing: Framing::Sse,
        dropped,
    })
}

fn write(model_call: ModelCall<'_>, site: Site, body: &mut Body) -> Result<Vec<Box<str>>, Failure> {
    let mut params = Params::read(&model_call.job.input)?;
    if params.has("input") && !params.has("messages") {
        for (name, value) in params.take_rest() {
            if !matches!(&*name, "model" | "stream") {
                body.put_json(&name, value.get());
            }
        }
        return Ok(Vec::new());
    }
    let name = &*model_call.endpoint.name;
    let mut chat = Chat::read(&model_call.job.input)?;
    let params = &mut chat.params;
    params.take("model");
    let stored: Option<bool> = params.take_as("store")?;
    // What goes on in the background is kept, or it could not go on.
    let in_background = params.peek("background").is_some_and(|parsed| parsed.get() == "true");
    let stored = stored.unwrap_or(in_background);
    let mut items = Items::new(site.rules, name, stored, model_call.job.input.get().len());
    for message in &chat.messages {
        items.push(message)?;
    }
    body.put_json("input", &items.into_json()).put("store", &stored);
    write_tools(&chat.tools, chat.tool_choice.as_ref(), body);
    let params = &mut chat.params;
    let limits = [params.take_as::<u64>("max_output_tokens")?, params.take_max_tokens()?];
    let limit = limits.into_iter().flatten().next();
    body.put_some("max_output_tokens", limit.map(|limit| limit.max(OUTPUT_TOKENS_MIN)));
    let mut dropped = write_reasoning(params, model_call.job, name, body)?;
    write_text(params, chat.response_format.as_ref(), body)?;
    write_include(params, !stored && thinks(site.kind, &model_call.target.model), body)?;
    for (name, value) in params.take_all(OWN) {
        body.put_json(&name, value.get());
    }
    dropped.extend(chat.params.finish(name, model_call.job.options.drop_unsupported)?);
    Ok(dropped)
}

fn write_tools(tools: &[Tool<'_>], choice: Option<&Choice<'_>>, body: &mut Body) {
    let tools: Vec<_> = tools.iter().map(tool).collect();
    if !tools.is_empty() {
        body.put_json("tools", &format!("[{}]", tools.join(",")));
    }
    match choice {
        None => {}
        Some(Choice::None) => drop(body.put("tool_choice", "none")),
        Some(Choice::Auto) => drop(body.put("tool_choice", "auto")),
        Some(Choice::Required) => drop(body.put("tool_choice", "required")),
        Some(Choice::Named(name)) => {
            let mut named = Body::default();
            named.put("type", "function").put("name", name);
            body.put_json("tool_choice", &named.into_json());
        }
    }
}

/// Flat, and with what a chat means by saying nothing: no parameters, and not strict, which is this
/// dialect's default.
fn tool(tool: &Tool<'_>) -> String {
    if let Some(raw) = tool.native {
        return native_tool(raw);
    }
    let mut out = Body::default();
    out.put("type", "function").put("name", &tool.name).put_some("description", tool.description.as_deref());
    out.put_json("parameters", tool.parameters.map_or(r#"{"type":"object","properties":{}}"#, RawValue::get));
    out.put("strict", &tool.strict.unwrap_or(false));
    out.into_json()
}

/// `reasoning` in this dialect's terms; what OpenRouter adds to it is refused or dropped by name. A
/// summary is not asked for unasked: some accounts must be verified for it.
fn write_reasoning(
    params: &mut Params<'_>,
    job: &Job,
    provider: &str,
    body: &mut Body,
) -> Result<Vec<Box<str>>, Failure> {
    let mut dropped = Vec::new();
    let mut out = Body::default();
    let effort = params.take_as::<Cow<'_, str>>("reasoning_effort")?;
    out.put_some("effort", effort.as_deref());
    if let Some(parsed) = params.take("reasoning") {
        let fields =
            openai_chat::fields(parsed).map_err(|_| Failure::invalid("input.reasoning", "must be an object"))?;
        for (name, value) in fields.0 {
            match (&*name, value.get()) {
                (_, "null") | ("enabled", "true") | ("exclude", "false") => {}
                ("effort", _) if effort.is_some() => {}
                ("max_tokens" | "exclude" | "enabled", _) => {
                    let param = format!("input.reasoning.{name}");
                    if !job.options.drop_unsupported {
                        return Err(unsupported(&param, provider));
                    }
                    dropped.push(param.into());
                }
                _ => drop(out.put_json(&name, value.get())),
            }
        }
    }
    if !out.is_empty() {
        body.put_json("reasoning", &out.into_json());
    }
    Ok(dropped)
}

/// `text`: the shape of the answer and how long-winded it is.
fn write_text(params: &mut Params<'_>, format: Option<&ResponseFormat<'_>>, body: &mut Body) -> Result<(), Failure> {
    let mut out = Body::default();
    match format {
        None => {}
        Some(ResponseFormat::Text) => drop(out.put_json("format", r#"{"type":"text"}"#)),
        Some(ResponseFormat::JsonObject) => drop(out.put_json("format", r#"{"type":"json_object"}"#)),
        Some(ResponseFormat::JsonSchema { name, description, schema, strict }) => {
            let mut format = Body::default();
            format.put("type", "json_schema").put("name", name.as_deref().unwrap_or("answer"));
            format.put_some("description", description.as_deref()).put_json("schema", schema.get());
            format.put_some("strict", *strict);
            out.put_json("format", &format.into_json());
        }
    }
    if let Some(verbosity) = params.take("verbosity") {
        out.put_json("verbosity", verbosity.get());
    }
    if let Some(parsed) = params.take("text") {
        let fields = openai_chat::fields(parsed).map_err(|_| Failure::invalid("input.text", "must be an object"))?;
        for (name, value) in fields.0.iter().filter(|(name, _)| !(name == "format" && format.is_some())) {
            out.put_json(name, value.get());
        }
    }
    if !out.is_empty() {
        body.put_json("text", &out.into_json());
    }
    Ok(())
}

fn write_include(params: &mut Params<'_>, encrypted: bool, body: &mut Body) -> Result<(), Failure> {
    let mut include: Vec<Cow<'_, str>> = params.take_as("include")?.unwrap_or_default();
    let wants_logprobs = params.take_as::<bool>("logprobs")?.unwrap_or(false);
    for (name, wanted) in [(ENCRYPTED, encrypted), (LOG_PROBABILITIES, wants_logprobs)] {
        if wanted && !include.iter().any(|known| known == name) {
            include.push(name.into());
        }
    }
    if !include.is_empty() {
        body.put("include", &include);
    }
    match params.take_number("top_logprobs")? {
        Some(count) if wants_logprobs || count.get() != "0" => drop(body.put_json("top_logprobs", count.get())),
        _ => {}
    }
    Ok(())
}
