//! Ollama's own API: `/api/chat`, and what `/api/generate` answers.

use forebay::job::Task;
use forebay::provider::Framing;
use forebay::provider::protocol::ollama;
use serde_json::{Value, json};

use super::{Dialect, Rebuild, vendor_of};
use crate::replay::{Gist, Reply};

pub(crate) const DIALECT: Dialect = Dialect {
    name: "ollama",
    speaks: |provider, api| provider == "ollama" && matches!(api, "native-chat" | "native-generate"),
    framing: Framing::Lines,
    decoder: |_| Box::new(ollama::ChatDecoder::new("j")),
    classify: ollama::classify,
    oracle: read,
    rebuild,
};

/// The job says in OpenAI's words what the recorded request says in Ollama's. What recorded clients
/// sent and what says nothing (`format: ""`, `options: {}`, `tools: []`, null) is not sent by us.
fn rebuild(exchange: &Value) -> Option<Rebuild> {
    // Of `/api/generate` only the answer is read: no job asks it.
    let mut becomes = exchange["request"]["body"].as_object().filter(|body| body.contains_key("messages"))?.clone();
    becomes.retain(|_, value| !(value.is_null() || *value == "" || *value == json!({}) || *value == json!([])));
    becomes.insert("stream".into(), json!(true));
    let mut input = becomes.clone();
    let model = input.remove("model")?.as_str()?.to_owned();
    input.remove("stream");
    if let Some(options) = input.remove("options") {
        for (name, value) in options.as_object()? {
            let name = if name == "num_predict" { "max_tokens" } else { name };
            input.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(schema) = input.remove("format") {
        let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
        input.insert("response_format".into(), format);
    }
    for message in input["messages"].as_array_mut()? {
        let message = message.as_object_mut()?;
        if let Some(name) = message.remove("tool_name") {
            message.insert("name".into(), name);
        }
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            call["function"]["arguments"] = call["function"]["arguments"].to_string().into();
        }
    }
    match input.remove("think") {
        Some(Value::Bool(true)) => drop(input.insert("reasoning_effort".into(), json!("medium"))),
        Some(Value::Bool(false)) => drop(input.insert("reasoning_effort".into(), json!("none"))),
        _ => {}
    }
    Some(Rebuild {
        provider: vendor_of("ollama"),
        model,
        task: Task::Chat,
        input: Value::Object(input),
        becomes: Value::Object(becomes),
    })
}

/// What a good answer says, or `None` where there is an error in it or no end.
fn read(reply: &Reply) -> Option<Gist> {
    let text = std::str::from_utf8(&reply.body).expect("recorded bodies are text");
    let mut gist = Gist::default();
    let mut end = Value::Null;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["error"].is_string() {
            return None;
        }
        let texts = gist.choice(0);
        for (at, place) in [(0, &line["message"]["content"]), (0, &line["response"]), (1, &line["message"]["thinking"])]
        {
            texts[at].push_str(place.as_str().unwrap_or(""));
        }
        for call in line["message"]["tool_calls"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let function = &call["function"];
            gist.tools.push((text(&call["id"]), text(&function["name"]), function["arguments"].to_string()));
        }
        if line["done"] == true {
            end = line;
        }
    }
    gist.finish = end["done_reason"].as_str()?.to_owned();
    if !gist.tools.is_empty() {
        gist.finish = "tool_calls".into();
    }
    gist.usage = json!({});
    for (name, place) in [("input_tokens", "prompt_eval_count"), ("output_tokens", "eval_count")] {
        if end[place].is_u64() {
            gist.usage[name] = end[place].clone();
        }
    }
    Some(gist)
}
