//! From a job to a `generateContent` request, always streamed.

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;

use super::config::{self, Refusals};
use super::{contents, model, tools};
use crate::job::{Failure, Task};
use crate::provider::chat::{Body, Chat, Params};
use crate::provider::{Framing, Method, ModelCall, Outbound, Route};

/// What Google's two APIs do not share.
pub struct Site<'a> {
    /// What stands before the path of a model: the address of its publisher.
    pub root: &'a str,
    /// Fields of the request, as the API writes them, that are handed on as they came.
    pub own: &'static [&'static str],
}

/// The request for a job. An input with `contents` and without `messages` is Google's own and goes
/// as it is, without `model` and `stream`.
///
/// # Errors
/// `unsupported` or `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>, site: &Site<'_>) -> Result<Outbound, Failure> {
    let ModelCall { job, target, endpoint, .. } = model_call;
    if job.task != Task::Chat {
        let message = format!("{} serves chat and embeddings, not {}", endpoint.name, job.task.as_str());
        return Err(Failure::unsupported("task", message).of_the_target());
    }
    let mut params = Params::read(&job.input)?;
    let (body, dropped) = if params.has("contents") && !params.has("messages") {
        params.take_first(&["model", "stream"]);
        let mut body = Body::with_capacity(job.input.get().len());
        for (name, value) in params.take_rest() {
            body.put_json(&name, value.get());
        }
        (body.into_bytes(), Vec::new())
    } else {
        written(model_call, site)?
    };
    let mut headers = endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let url = format!("{}/{}:streamGenerateContent?alt=sse", site.root, model::path(&target.model)?);
    let route = Route::Http { method: Method::POST, url: url.into(), headers, credential: endpoint.credential.clone() };
    Ok(Outbound { route, body, framing: Framing::Sse, dropped })
}

fn written(model_call: ModelCall<'_>, site: &Site<'_>) -> Result<(Bytes, Vec<Box<str>>), Failure> {
    let ModelCall { job, target, endpoint, .. } = model_call;
    let mut chat = Chat::read(&job.input)?;
    chat.params.take("model");
    let written = contents::write(&chat.messages, model_call)?;
    let mut body = Body::with_capacity(job.input.get().len() + 256);
    body.put_json("contents", &written.contents);
    if !written.system.is_empty() {
        body.put_json("systemInstruction", &format!("{{\"parts\":[{}]}}", written.system));
    }
    let mut refusals = Refusals::new(&endpoint.name, job.options.drop_unsupported);
    if let Some(tools) = tools::write(&chat.tools, &mut refusals)? {
        body.put_json("tools", &tools);
    }
    let own = chat.params.take_first(&["toolConfig", "tool_config"]);
    match (&chat.tool_choice, own) {
        (Some(_), Some(_)) => {
            return Err(Failure::invalid("input.toolConfig", "says the same as tool_choice; give one"));
        }
        (Some(choice), None) => drop(body.put_json("toolConfig", &tools::config(choice))),
        (None, Some(own)) => drop(body.put_json("toolConfig", own.get())),
        (None, None) => {}
    }
    if let Some(config) = config::write(&mut chat, &target.model, &mut refusals)? {
        body.put_json("generationConfig", &config);
    }
    let says_nothing = |value: &str| matches!(value, "\"auto\"" | "\"default\"");
    for (name, value) in chat.params.take_all(site.own) {
        if !(name == "service_tier" && says_nothing(value.get())) {
            body.put_json(&config::camel(&name), value.get());
        }
    }
    let mut dropped = refusals.dropped;
    dropped.extend(chat.params.finish(&endpoint.name, job.options.drop_unsupported)?);
    Ok((body.into_bytes(), dropped))
}
