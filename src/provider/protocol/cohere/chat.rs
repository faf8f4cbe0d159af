//! From a chat to the body of `/v2/chat`.
//!
//! Translated: `stop`, `top_p` (held to 0.01–0.99, as Cohere wants it), `top_k`, `tool_choice` (a
//! named tool is asked for by leaving out the others), `response_format`, `reasoning_effort`.
//! Cohere's own fields are handed on beside them.

use serde_json::value::RawValue;

use super::message;
use crate::job::Failure;
use crate::provider::chat::{Body, Chat, Choice, Params, ResponseFormat, Tool, quoted, unsupported};
use crate::provider::protocol::send;
use crate::provider::{Framing, ModelCall, Outbound};

/// Fields of Cohere's own, handed on as they came.
const NATIVE: &[&str] = &[
    "documents",
    "citation_options",
    "safety_mode",
    "strict_tools",
    "thinking",
    "priority",
    "stop_sequences",
    "p",
    "k",
    "raw_prompting",
];
/// Texts at which it stops.
const STOPS_MAX: usize = 5;
/// What Cohere takes as `p`.
const P_RANGE: std::ops::RangeInclusive<f64> = 0.01..=0.99;

/// The request for a chat.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let provider = &*model_call.endpoint.name;
    let chat = Chat::read(&model_call.job.input)?;
    let mut params = chat.params;
    let mut body = Body::with_capacity(model_call.job.input.get().len() + 256);
    body.put("model", &*model_call.target.model).put("stream", &true);
    body.put_json("messages", &message::encode(&chat.messages, provider)?);
    put_tools(&chat.tools, chat.tool_choice.as_ref(), &params, provider, &mut body)?;
    match &chat.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => drop(body.put_json("response_format", r#"{"type":"json_object"}"#)),
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            let mut format = Body::default();
            format.put("type", "json_object").put_json("json_schema", schema.get());
            body.put_json("response_format", &format.into_json());
        }
    }
    put_params(&mut params, provider, &mut body)?;
    let dropped = params.finish(provider, model_call.job.options.drop_unsupported)?;
    Ok(Outbound { dropped, ..send::post(model_call, super::address(model_call, "chat"), body, Framing::Sse) })
}

fn put_params(params: &mut Params<'_>, provider: &str, body: &mut Body) -> Result<(), Failure> {
    body.put_some("max_tokens", params.take_max_tokens()?);
    if let Some(p) = params.take_as::<f64>("top_p")? {
        body.put("p", &p.clamp(*P_RANGE.start(), *P_RANGE.end()));
    }
    if let Some(k) = params.take_number("top_k")? {
        body.put_json("k", k.get());
    }
    for name in ["temperature", "seed", "frequency_penalty", "presence_penalty"] {
        if let Some(number) = params.take_number(name)? {
            body.put_json(name, number.get());
        }
    }
    let stop = params.take_stop()?;
    if stop.len() > STOPS_MAX {
        return Err(unsupported("input.stop", provider));
    }
    if !stop.is_empty() {
        body.put("stop_sequences", &stop);
    }
    if params.take_as::<bool>("logprobs")? == Some(true) {
        body.put("logprobs", &true);
    }
    // A job that uses Cohere's own field does not say it twice: the effort is then unused.
    if !params.has("thinking")
        && let Some(effort) = params.take_effort()?
    {
        body.put_json("thinking", &thinking(&effort)?);
    }
    for (name, value) in params.take_all(NATIVE) {
        body.put_json(&name, value.get());
    }
    Ok(())
}

/// Cohere counts tokens where others have words. The budgets are ours; `high` sets none.
fn thinking(effort: &str) -> Result<String, Failure> {
    let budget = match effort {
        "none" => return Ok(r#"{"type":"disabled"}"#.into()),
        "minimal" => Some(512),
        "low" => Some(2048),
        "medium" => Some(8192),
        "high" | "xhigh" | "max" => None,
        _ => return Err(Failure::invalid("input.reasoning_effort", "is none of none, minimal, low, medium, high")),
    };
    let mut thinking = Body::default();
    thinking.put("type", "enabled").put_some("token_budget", budget);
    Ok(thinking.into_json())
}

fn put_tools(
    tools: &[Tool<'_>],
    choice: Option<&Choice<'_>>,
    params: &Params<'_>,
    provider: &str,
    body: &mut Body,
) -> Result<(), Failure> {
    let named = match choice {
        Some(Choice::Named(name)) => Some(&**name),
        _ => None,
    };
    let mut list = String::from("[");
    let mut strict = false;
    for (at, tool) in tools.iter().enumerate() {
        if tool.native.is_some() {
            return Err(unsupported(&format!("input.tools[{at}]"), provider));
        }
        if named.is_some_and(|name| name != tool.name) {
            continue;
        }
        strict |= tool.strict == Some(true);
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&function(tool));
    }
    list.push(']');
    if list.len() > 2 {
        body.put_json("tools", &list);
    } else if named.is_some() {
        return Err(Failure::invalid("input.tool_choice", "names a tool that is not among the tools"));
    }
    if strict && !params.has("strict_tools") {
        body.put("strict_tools", &true);
    }
    match choice {
        None | Some(Choice::Auto) => {}
        Some(Choice::None) => drop(body.put("tool_choice", "NONE")),
        Some(Choice::Required | Choice::Named(_)) => drop(body.put("tool_choice", "REQUIRED")),
    }
    Ok(())
}

/// A tool in OpenAI's form, which Cohere's is. `strict` is not a tool's own there.
fn function(tool: &Tool<'_>) -> String {
    let mut function = Body::default();
    function.put("name", &tool.name).put_some("description", tool.description.as_ref());
    let parameters = tool.parameters.map_or(r#"{"type":"object","properties":{}}"#, RawValue::get);
    function.put_json("parameters", parameters);
    format!("{{\"type\":{},\"function\":{}}}", quoted("function"), function.into_json())
}
