//! OpenAI's Responses, and every server that speaks that protocol.

use forebay::job::{Failure, Task};
use forebay::provider::protocol::error;
use forebay::provider::protocol::openai_chat::ReplyRules;
use forebay::provider::protocol::responses::{ResponsesDecoder, Rules, Site, encode, thinks};
use forebay::provider::{Card, Decoder, Framing, Headers, ModelCall, Outbound, Provider};
use serde_json::{Map, Value, json};

use super::{Dialect, Rebuild, sse_data};
use crate::replay::{Gist, Reply};

pub(crate) const DIALECT: Dialect = Dialect {
    name: "responses",
    speaks: |_, api| matches!(api, "responses" | "compat-responses"),
    framing: Framing::Sse,
    decoder: |_| Box::new(ResponsesDecoder::new(&Rules::PLAIN, &ReplyRules::PLAIN)),
    classify: error::classify,
    oracle: read,
    rebuild,
};

/// A provider that is asked in this dialect whatever the job says.
struct Only(&'static Card, &'static Rules);

impl Provider for Only {
    fn card(&self) -> &'static Card {
        self.0
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        encode(model_call, "http://h/v1/responses".into(), Site { kind: self.0.id, rules: self.1 })
    }

    fn decoder(&self, _ask: ModelCall<'_>) -> Box<dyn Decoder> {
        unreachable!("requests are rebuilt")
    }

    fn classify(&self, _status: u16, _headers: &Headers, _body: &[u8]) -> Failure {
        unreachable!("requests are rebuilt")
    }
}

static OPENAI: Only = Only(&Card { id: "openai", ..Card::PLAIN }, &Rules::PLAIN);
static XAI: Only =
    Only(&Card { id: "xai", ..Card::PLAIN }, &Rules { reasoning_format: "xai-responses-v1", ..Rules::PLAIN });

/// What the terminal says; what its items said, where it holds none.
fn read(reply: &Reply) -> Option<Gist> {
    let text = std::str::from_utf8(&reply.body).expect("recorded bodies are text");
    let (response, mut items) = if text.trim_start().starts_with('{') {
        (serde_json::from_str(text).expect("recorded bodies are JSON"), Vec::new())
    } else {
        let events = sse_data(text).into_iter().filter(|data| data != "[DONE]");
        let events: Vec<Value> = events.map(|data| serde_json::from_str(&data).expect("JSON")).collect();
        let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
        let done = of("response.output_item.done").into_iter().map(|event| event["item"].clone()).collect();
        let terminal = [of("response.completed"), of("response.incomplete")].concat();
        (terminal.first()?["response"].clone(), done)
    };
    let response: Value = response;
    if !response["error"].is_null() {
        return None;
    }
    if let Some(output) = response["output"].as_array().filter(|output| !output.is_empty()) {
        items.clone_from(output);
    }
    let mut gist = Gist::default();
    let mut reasoning: Vec<String> = Vec::new();
    for item in &items {
        let parts = |field: &str| item[field].as_array().cloned().unwrap_or_default();
        match item["type"].as_str()? {
            "message" => {
                for part in parts("content") {
                    gist.choice(0)[0].push_str(part["text"].as_str().unwrap_or(""));
                    gist.choice(0)[2].push_str(part["refusal"].as_str().unwrap_or(""));
                }
            }
            "reasoning" => {
                let all = [parts("summary"), parts("content")].concat();
                reasoning.extend(all.iter().filter_map(|part| part["text"].as_str().map(str::to_owned)));
            }
            "function_call" => {
                let text = |field: &str| item[field].as_str().unwrap_or("").to_owned();
                gist.tools.push((text("call_id"), text("name"), text("arguments")));
            }
            _ => {}
        }
    }
    if !reasoning.is_empty() {
        gist.choice(0)[1] = reasoning.join("\n\n");
    }
    gist.finish = match response["incomplete_details"]["reason"].as_str() {
        Some("max_output_tokens") => "length",
        Some(other) => other,
        None if !gist.tools.is_empty() => "tool_calls",
        None if gist.texts.iter().any(|texts| !texts[2].is_empty()) => "refusal",
        None => "stop",
    }
    .to_owned();
    let usage = &response["usage"];
    gist.usage = json!({"input_tokens": usage["input_tokens"], "output_tokens": usage["output_tokens"]});
    let (input, output) = (&usage["input_tokens_details"], &usage["output_tokens_details"]);
    for (name, count) in [
        ("cached_input_tokens", &input["cached_tokens"]),
        ("cache_write_tokens", &input["cache_write_tokens"]),
        ("reasoning_tokens", &output["reasoning_tokens"]),
    ] {
        if count.is_u64() {
            gist.usage[name] = count.clone();
        }
    }
    Some(gist)
}

/// The chat that a recorded request says, and the request up to what a chat leaves open: nothing is
/// kept, reasoning comes encrypted, functions are not strict.
fn rebuild(exchange: &Value) -> Option<Rebuild> {
    let raw = exchange["request"]["body"].as_object()?;
    let is_xai = exchange["provider"] == "xai";
    let model = raw["model"].as_str()?.to_owned();
    let mut input = raw.clone();
    input.remove("model");
    input.remove("stream");
    let mut becomes = Value::Object(raw.clone());
    becomes["stream"] = json!(true);
    // What a built-in tool did is in no chat: such an input is taken as it is.
    let has_other =
        |items: &Value| items.as_array().into_iter().flatten().any(|item| item["type"] == "web_search_call");
    if !has_other(&raw["input"]) {
        chat_of(&mut input, if is_xai { "xai-responses-v1" } else { "openai-responses-v1" });
        becomes["store"] = json!(false);
        let thinks = thinks("openai", &model);
        if thinks && becomes["include"].is_null() {
            becomes["include"] = json!(["reasoning.encrypted_content"]);
        }
        plain(&mut becomes);
    }
    let provider = if is_xai { &XAI } else { &OPENAI };
    Some(Rebuild { provider, model, task: Task::Chat, input: Value::Object(input), becomes })
}

/// Turns an input of items into a chat's messages, and what has another name there.
fn chat_of(input: &mut Map<String, Value>, format: &str) {
    let items = match input.remove("input") {
        Some(Value::String(text)) => vec![json!({"role": "user", "content": text})],
        Some(Value::Array(items)) => items,
        other => panic!("{other:?} is no input"),
    };
    let mut messages: Vec<Value> = Vec::new();
    let mut thoughts: Vec<Value> = Vec::new();
    for item in items {
        let call_id = &item["call_id"];
        match item["type"].as_str().unwrap_or("message") {
            "message" => {
                let mut message = json!({"role": item["role"], "content": chat_content(&item["content"])});
                if !thoughts.is_empty() && item["role"] == "assistant" {
                    message["reasoning_details"] = std::mem::take(&mut thoughts).into();
                }
                messages.push(message);
            }
            "function_call" => {
                let function = json!({"name": item["name"], "arguments": item["arguments"]});
                let mut message = json!({"role": "assistant", "content": null,
                    "tool_calls": [{"id": call_id, "type": "function", "function": function}]});
                if !thoughts.is_empty() {
                    message["reasoning_details"] = std::mem::take(&mut thoughts).into();
                }
                messages.push(message);
            }
            "function_call_output" => {
                messages.push(json!({"role": "tool", "tool_call_id": call_id, "content": item["output"]}));
            }
            "reasoning" => {
                for part in item["summary"].as_array().into_iter().flatten() {
                    thoughts.push(json!({"type": "reasoning.summary", "summary": part["text"], "format": format}));
                }
                let data = &item["encrypted_content"];
                thoughts.push(json!({"type": "reasoning.encrypted", "data": data, "format": format}));
            }
            other => panic!("{other} is in no chat"),
        }
    }
    input.insert("messages".into(), messages.into());
    for tool in input.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        if tool["type"] == "function" {
            let mut function = tool.clone();
            function.as_object_mut().expect("an object").remove("type");
            *tool = json!({"type": "function", "function": function});
        }
    }
    if let Some(Value::Object(choice)) = input.get("tool_choice") {
        let choice = json!({"type": "function", "function": {"name": choice["name"]}});
        input.insert("tool_choice".into(), choice);
    }
    if let Some(text) = input.remove("text") {
        let mut format = text["format"].clone();
        if format["type"] == "json_schema" {
            format.as_object_mut().expect("an object").remove("type");
            format = json!({"type": "json_schema", "json_schema": format});
        }
        input.insert("response_format".into(), format);
    }
    if let Some(limit) = input.remove("max_output_tokens") {
        input.insert("max_tokens".into(), limit);
    }
}

fn chat_content(content: &Value) -> Value {
    let Some(parts) = content.as_array() else { return content.clone() };
    let parts = parts.iter().map(|part| match part["type"].as_str() {
        Some("input_image") => json!({"type": "image_url", "image_url": {"url": part["image_url"]}}),
        Some("input_file") => json!({"type": "file", "file": {"file_url": part["file_url"]}}),
        _ => json!({"type": "text", "text": part["text"]}),
    });
    parts.collect()
}

/// One way to say what the dialect lets one say in several.
fn plain(body: &mut Value) {
    if let Value::String(text) = &body["input"] {
        body["input"] = json!([{"role": "user", "content": text}]);
    }
    for item in body["input"].as_array_mut().into_iter().flatten() {
        let fields = item.as_object_mut().expect("an object");
        match fields.get("type").and_then(Value::as_str) {
            // A call is known by its `call_id`.
            Some("function_call" | "function_call_output") => {
                fields.remove("id");
                fields.remove("status");
            }
            Some("reasoning") => {}
            _ => {
                fields.remove("type");
                if fields["role"] == "developer" {
                    fields["role"] = json!("system");
                }
                let single =
                    fields["content"].as_array().filter(|parts| parts.len() == 1).map(|parts| parts[0].clone());
                if let Some(text) = single.filter(|part| part["text"].is_string()) {
                    fields["content"] = text["text"].clone();
                }
            }
        }
    }
    for tool in body["tools"].as_array_mut().into_iter().flatten().filter(|tool| tool["type"] == "function") {
        let fields = tool.as_object_mut().expect("an object");
        fields.retain(|name, value| !(name == "description" && value.is_null()));
        fields.entry("strict").or_insert(json!(false));
    }
    body.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
}
