//! Cohere v2: chat and embeddings.

use forebay::job::Task;
use forebay::provider::{Framing, protocol::cohere};
use serde_json::{Value, json};

use super::{Dialect, Rebuild, sse_data, vendor_of};
use crate::replay::{Gist, Reply};

pub(crate) const DIALECT: Dialect = Dialect {
    name: "cohere",
    speaks: |provider, api| provider == "cohere" && api == "chat",
    framing: Framing::Sse,
    decoder: |_| Box::<cohere::ChatDecoder>::default(),
    classify: cohere::classify,
    oracle: read,
    rebuild,
};

pub(crate) const EMBED: Dialect = Dialect {
    name: "cohere-embed",
    speaks: |provider, api| provider == "cohere" && api == "embeddings",
    framing: Framing::Whole,
    // Both recordings are errors.
    decoder: |_| Box::<cohere::ChatDecoder>::default(),
    classify: cohere::classify,
    oracle: |_| None,
    rebuild: rebuild_embed,
};

/// The job says in OpenAI's words what the recorded request says in Cohere's. Ours is the shorter
/// form where there are two: a lone text as a string, no empty text beside calls, no empty list of
/// documents.
fn rebuild(exchange: &Value) -> Option<Rebuild> {
    let mut becomes = exchange["request"]["body"].clone();
    becomes["stream"] = json!(true);
    let mut messages = Vec::new();
    for message in becomes["messages"].as_array_mut()? {
        shorten(message);
        let mut raw = message.clone();
        if let Some(plan) = raw.as_object_mut()?.remove("tool_plan") {
            raw["reasoning"] = plan;
        }
        messages.push(raw);
    }
    if becomes["documents"] == json!([]) {
        becomes.as_object_mut()?.remove("documents");
    }
    let mut input = becomes.clone();
    input["messages"] = json!(messages);
    let fields = input.as_object_mut()?;
    let model = fields.remove("model")?.as_str()?.to_owned();
    fields.remove("stream");
    if let Some(stop) = fields.remove("stop_sequences") {
        fields.insert("stop".into(), stop);
    }
    Some(Rebuild { provider: vendor_of("cohere"), model, task: Task::Chat, input, becomes })
}

fn shorten(message: &mut Value) {
    let lone = message["content"].as_array().filter(|parts| parts.len() == 1).map(|parts| parts[0].clone());
    if let Some(text) = lone.filter(|part| part["type"] == "text") {
        message["content"] = text["text"].clone();
    }
    let is_nothing = message["content"].is_null() || message["content"] == "";
    if is_nothing && message["tool_calls"].is_array() {
        message.as_object_mut().expect("an object").remove("content");
    }
}

fn rebuild_embed(exchange: &Value) -> Option<Rebuild> {
    let raw = exchange["request"]["body"].as_object()?;
    let mut becomes = raw.clone();
    becomes.retain(|_, value| !value.is_null());
    becomes.insert("embedding_types".into(), json!(["float"]));
    let mut input = json!({"input": raw["texts"], "input_type": raw["input_type"]});
    if let Some(truncate) = raw.get("truncate") {
        input["truncate"] = truncate.clone();
    }
    let model = raw["model"].as_str()?.to_owned();
    Some(Rebuild {
        provider: vendor_of("cohere"),
        model,
        task: Task::Embedding,
        input,
        becomes: Value::Object(becomes),
    })
}

/// What a good answer says, or `None` where there is an error in it or no end.
fn read(reply: &Reply) -> Option<Gist> {
    let text = std::str::from_utf8(&reply.body).expect("recorded bodies are text");
    let mut gist = Gist::default();
    let (mut finish, mut usage) = (Value::Null, Value::Null);
    if text.trim_start().starts_with('{') {
        let answer: Value = serde_json::from_str(text).expect("JSON");
        let message = &answer["message"];
        gist.choice(0)[1].push_str(message["tool_plan"].as_str().unwrap_or(""));
        for part in message["content"].as_array().into_iter().flatten() {
            gist.choice(0)[0].push_str(part["text"].as_str().unwrap_or(""));
            gist.choice(0)[1].push_str(part["thinking"].as_str().unwrap_or(""));
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            gist.tools.push(tool(call));
        }
        (finish, usage) = (answer["finish_reason"].clone(), answer["usage"].clone());
    } else {
        for data in sse_data(text).iter().filter(|data| *data != "[DONE]") {
            let packet: Value = serde_json::from_str(data).expect("JSON");
            let message = &packet["delta"]["message"];
            gist.choice(0)[0].push_str(message["content"]["text"].as_str().unwrap_or(""));
            gist.choice(0)[1].push_str(message["content"]["thinking"].as_str().unwrap_or(""));
            gist.choice(0)[1].push_str(message["tool_plan"].as_str().unwrap_or(""));
            match packet["type"].as_str() {
                Some("tool-call-start") => gist.tools.push(tool(&message["tool_calls"])),
                Some("tool-call-delta") => {
                    let at = usize::try_from(packet["index"].as_u64().expect("a number")).expect("small");
                    gist.tools[at].2.push_str(message["tool_calls"]["function"]["arguments"].as_str().expect("text"));
                }
                Some("message-end") => {
                    (finish, usage) = (packet["delta"]["finish_reason"].clone(), packet["delta"]["usage"].clone());
                }
                _ => {}
            }
        }
        for (_, _, arguments) in gist.tools.iter_mut().filter(|(_, _, arguments)| arguments.is_empty()) {
            arguments.push_str("{}");
        }
    }
    while gist.texts.last().is_some_and(|texts| texts.iter().all(String::is_empty)) {
        gist.texts.pop();
    }
    gist.finish = match finish.as_str()? {
        "COMPLETE" | "STOP_SEQUENCE" => "stop",
        "MAX_TOKENS" => "length",
        "TOOL_CALL" => "tool_calls",
        other => panic!("{other} was not recorded before"),
    }
    .into();
    gist.usage = json!({});
    for (name, place) in [
        ("input_tokens", &usage["tokens"]["input_tokens"]),
        ("output_tokens", &usage["tokens"]["output_tokens"]),
        ("cached_input_tokens", &usage["cached_tokens"]),
        ("reasoning_tokens", &usage["tokens"]["reasoning_tokens"]),
    ] {
        if place.is_u64() {
            gist.usage[name] = place.clone();
        }
    }
    Some(gist)
}

fn tool(call: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    (text(&call["id"]), text(&call["function"]["name"]), text(&call["function"]["arguments"]))
}
