//! From a job to the body of a chat completion, in the dialect of its endpoint.

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde_json::value::RawValue;

use super::draft::Draft;
use super::rules::Rules;
use super::{foreign, messages};
use crate::job::{Failure, Fields, Task};
use crate::provider::chat::{self, quoted};
use crate::provider::{Framing, Method, ModelCall, Outbound, Route};

/// The fields of a job's input. Values are skipped over, never parsed.
///
/// # Errors
/// `invalid` when it is not a JSON object.
pub fn fields(input: &RawValue) -> Result<Fields<'_>, Failure> {
    serde_json::from_str(input.get()).map_err(|error| Failure::invalid("input", error))
}

/// The request for a job in the plain dialect: its input as it came, with `model`, `stream` and the
/// wish for usage.
///
/// # Errors
/// `unsupported` for another task than chat, `invalid` for an input without messages.
pub fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    encode_by(&Rules::PLAIN, model_call)
}

/// The request for a job as a vendor with these rules takes it.
///
/// # Errors
/// `unsupported` for another task than chat and for what the vendor does not take, `invalid` for an
/// input without messages.
pub fn encode_by(rules: &Rules, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let ModelCall { job, target, endpoint, prefilled } = model_call;
    if job.task != Task::Chat {
        let message = format!("{} serves chat, not {}", endpoint.name, job.task.as_str());
        return Err(Failure::unsupported("task", message));
    }
    let mut input = fields(&job.input)?.0;
    let Some((_, messages)) = input.iter().rev().find(|(name, _)| name == "messages") else {
        return Err(Failure::invalid("input.messages", "a chat needs messages"));
    };
    let messages = messages.get();
    let is_response = job.echo.is_some();
    let is_foreign = is_response || input.iter().any(|(name, _)| name == chat::ANTHROPIC);
    let stream_options = input.iter().rev().find(|(name, value)| name == "stream_options" && value.get() != "null");
    let stream_options = stream_options.map(|(_, value)| *value);
    input.retain(|(name, _)| !matches!(&**name, "model" | "stream" | "stream_options" | chat::ANTHROPIC));
    let mut draft = Draft::new(&target.model, &endpoint.name, rules.path, job.options.drop_unsupported);
    draft.fill(rules, input.into_iter().map(|(name, value)| (name, value.get())).collect())?;
    let passthrough = rules.prefill.message.filter(|_| prefilled);
    let continues = passthrough.or(rules.messages.continues);
    let plain = is_foreign.then(|| foreign::messages(&rules.messages, messages)).transpose()?;
    let messages = plain.as_deref().unwrap_or(messages);
    if let Some(messages) = messages::rewrite(&rules.messages, continues, &mut draft, messages)?.or(plain) {
        draft.put("messages", messages);
    }
    if let Some(tools) = draft.get("tools").filter(|_| is_foreign) {
        if is_response {
            foreign::only_functions(tools, draft.provider)?;
        }
        let tools = foreign::tools(&rules.messages, tools)?;
        draft.put("tools", tools);
    }
    if let Some(translate) = rules.translate {
        translate(&mut draft)?;
    }
    for (name, value) in rules.prefill.request.iter().filter(|_| prefilled) {
        draft.put(name, *value);
    }
    let mut out = String::with_capacity(job.input.get().len() + target.model.len() + 96);
    out.push_str("{\"model\":");
    out.push_str(&quoted(&target.model));
    out.push_str(",\"stream\":true");
    if rules.takes_stream_options {
        wish_for_usage(stream_options, &mut out)?;
    }
    let url = format!("{}{}", endpoint.base_url, draft.path).into();
    let (fields, dropped) = draft.into_parts();
    for (name, value) in &fields {
        push_field(&mut out, name, value);
    }
    out.push('}');
    let mut headers = endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let route = Route::Http { method: Method::POST, url, headers, credential: endpoint.credential.clone() };
    Ok(Outbound { route, body: out.into(), framing: Framing::Sse, dropped })
}

/// What the caller asked of the stream, and usage whatever the caller asked: without it no cost.
fn wish_for_usage(raw: Option<&RawValue>, out: &mut String) -> Result<(), Failure> {
    out.push_str(",\"stream_options\":{\"include_usage\":true");
    if let Some(raw) = raw {
        let raw: Fields<'_> = serde_json::from_str(raw.get())
            .map_err(|_| Failure::invalid("input.stream_options", "must be an object"))?;
        for (name, value) in raw.0.iter().filter(|(name, _)| name != "include_usage") {
            push_field(out, name, value.get());
        }
    }
    out.push('}');
    Ok(())
}

fn push_field(out: &mut String, name: &str, value: &str) {
    out.push(',');
    out.push_str(&quoted(name));
    out.push(':');
    out.push_str(value);
}
