//! Bedrock's Converse, and embeddings through its `invoke`.

use forebay::job::Task;
use forebay::provider::{Endpoint, Framing, ModelCall};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Dialect, Rebuild, vendor_of};
use crate::replay::{Gist, Reply, job, target};

const VENDOR: &str = "aws-bedrock";

pub(crate) const STREAMED: Dialect = Dialect {
    name: "converse",
    speaks: |provider, api| provider == "bedrock" && api == "converse-stream",
    framing: Framing::AwsFrames,
    decoder: |exchange| decoder(exchange, Task::Chat),
    classify: forebay::provider::protocol::converse::classify,
    oracle: |reply| of_frames(&reply.body),
    rebuild,
};

pub(crate) const WHOLE: Dialect = Dialect {
    speaks: |provider, api| provider == "bedrock" && api == "converse",
    framing: Framing::Whole,
    oracle: of_answer,
    ..STREAMED
};

pub(crate) const EMBEDDINGS: Dialect = Dialect {
    name: "invoke",
    speaks: |provider, api| provider == "bedrock" && api == "embeddings",
    framing: Framing::Whole,
    decoder: |exchange| decoder(exchange, Task::Embedding),
    oracle: of_vectors,
    rebuild: rebuild_embedding,
    ..STREAMED
};

fn decoder(exchange: &Value, task: Task) -> Box<dyn forebay::provider::Decoder> {
    let mut job = job(&exchange["request"]["body"].to_string());
    job.task = task;
    let (target, endpoint) = (target("m"), Endpoint::plain("p", "http://h"));
    vendor_of(VENDOR).decoder(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false })
}

/// The frames by hand: lengths, headers of type 7, payload.
fn of_frames(mut body: &[u8]) -> Option<Gist> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
    let mut blocks: Vec<Value> = Vec::new();
    let mut end = json!({});
    while !body.is_empty() {
        let (frame, rest) = body.split_at(number(body));
        body = rest;
        let headers = String::from_utf8_lossy(&frame[12..12 + number(&frame[4..])]).into_owned();
        if headers.contains("exception") {
            return None;
        }
        let payload = &frame[12 + number(&frame[4..])..frame.len() - 4];
        let parsed: Value = serde_json::from_slice(payload).expect("recorded frames are JSON");
        let at = usize::try_from(parsed["contentBlockIndex"].as_u64().unwrap_or(0)).expect("small");
        if !parsed["contentBlockIndex"].is_null() && blocks.len() <= at {
            blocks.resize(at + 1, json!({}));
        }
        if let Some(call) = parsed["start"]["toolUse"].as_object() {
            blocks[at] = json!({"toolUse": call});
        }
        let delta = &parsed["delta"];
        for (piece, place) in [
            (&delta["text"], "/text"),
            (&delta["toolUse"]["input"], "/toolUse/input"),
            (&delta["reasoningContent"]["text"], "/reasoningContent/reasoningText/text"),
        ] {
            if let Some(piece) = piece.as_str() {
                if blocks[at].pointer(place).is_none() {
                    put(&mut blocks[at], place);
                }
                let so_far = blocks[at].pointer_mut(place).expect("put there");
                *so_far = json!(so_far.as_str().unwrap_or("").to_owned() + piece);
            }
        }
        for name in ["stopReason", "usage"] {
            if !parsed[name].is_null() {
                end[name] = parsed[name].clone();
            }
        }
    }
    let arguments = |block: &Value, _: usize| block["toolUse"]["input"].as_str().unwrap_or("").to_owned();
    gist(&blocks, &end, &arguments)
}

fn put(block: &mut Value, place: &str) {
    let mut at = block;
    for name in place[1..].split('/') {
        if !at[name].is_object() && !at[name].is_string() {
            at[name] = json!({});
        }
        at = &mut at[name];
    }
    *at = json!("");
}

fn of_answer(reply: &Reply) -> Option<Gist> {
    let parsed: Value = serde_json::from_slice(&reply.body).expect("recorded bodies are JSON");
    // Arguments are compared as they are written.
    type Blocks<'a> = Vec<std::collections::BTreeMap<String, &'a RawValue>>;
    let path = ["output", "message", "content"];
    let mut raw: &RawValue = serde_json::from_slice(&reply.body).expect("JSON");
    for name in path {
        let fields: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).expect("an object");
        raw = fields[name];
    }
    let raw: Blocks<'_> = serde_json::from_str(raw.get()).expect("blocks");
    let arguments = |_: &Value, at: usize| {
        let call: std::collections::BTreeMap<String, &RawValue> =
            serde_json::from_str(raw[at]["toolUse"].get()).expect("a call");
        call["input"].get().to_owned()
    };
    gist(parsed["output"]["message"]["content"].as_array()?, &parsed, &arguments)
}

fn gist(blocks: &[Value], end: &Value, arguments: &dyn Fn(&Value, usize) -> String) -> Option<Gist> {
    let mut gist = Gist::default();
    for (at, block) in blocks.iter().enumerate() {
        let text = |place: &str| block.pointer(place).and_then(Value::as_str).unwrap_or("").to_owned();
        gist.choice(0)[0].push_str(&text("/text"));
        gist.choice(0)[1].push_str(&text("/reasoningContent/reasoningText/text"));
        if block["toolUse"].is_object() {
            gist.tools.push((text("/toolUse/toolUseId"), text("/toolUse/name"), arguments(block, at)));
        }
    }
    if gist.texts.iter().flatten().all(String::is_empty) {
        gist.texts.clear();
    }
    gist.finish = match end["stopReason"].as_str()? {
        "end_turn" | "stop_sequence" if gist.tools.is_empty() => "stop",
        "max_tokens" => "length",
        "tool_use" => "tool_calls",
        "guardrail_intervened" => "content_filter",
        other => other,
    }
    .to_owned();
    let parsed = &end["usage"];
    let count = |name: &str| parsed[name].as_u64();
    let (read, written) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    gist.usage = json!({
        "input_tokens": count("inputTokens")? + read.unwrap_or(0) + written.unwrap_or(0),
        "output_tokens": count("outputTokens")?,
    });
    for (name, count) in [("cached_input_tokens", read), ("cache_write_tokens", written)] {
        if let Some(count) = count {
            gist.usage[name] = json!(count);
        }
    }
    Some(gist)
}

fn of_vectors(reply: &Reply) -> Option<Gist> {
    let parsed: Value = serde_json::from_slice(&reply.body).expect("recorded bodies are JSON");
    let vectors = parsed["embeddings"].as_array()?.iter().enumerate();
    let data: Vec<_> =
        vectors.map(|(at, one)| json!({"object": "embedding", "index": at, "embedding": one["embedding"]})).collect();
    let outputs = vec![json!({"object": "list", "data": data})];
    let count = reply.headers["x-amzn-bedrock-input-token-count"].to_str().expect("text");
    let usage = json!({"input_tokens": count.parse::<u64>().expect("a count")});
    Some(Gist { outputs, finish: "stop".to_owned(), usage, ..Gist::default() })
}

fn rebuild_embedding(exchange: &Value) -> Option<Rebuild> {
    let becomes = exchange["request"]["body"].clone();
    let single = &becomes["singleEmbeddingParams"];
    let input = json!({"input": [single["text"]["value"]], "dimensions": single["embeddingDimension"]});
    let provider = vendor_of(VENDOR);
    Some(Rebuild { provider, model: model(exchange), task: Task::Embedding, input, becomes })
}

fn model(exchange: &Value) -> String {
    let url = exchange["request"]["url"].as_str().expect("a URL");
    url.split("/model/").nth(1).and_then(|rest| rest.split('/').next()).expect("a model").replace("%3A", ":")
}

/// The OpenAI chat that a recorded request says in Converse's words.
fn rebuild(exchange: &Value) -> Option<Rebuild> {
    let mut becomes = exchange["request"]["body"].clone();
    let parsed = becomes.as_object()?.clone();
    let mut messages = Vec::new();
    let system: Vec<_> = parsed.get("system").and_then(Value::as_array).into_iter().flatten().map(part).collect();
    if !system.is_empty() {
        messages.push(json!({"role": "system", "content": system}));
    }
    for turn in parsed["messages"].as_array()? {
        messages.extend(chat_messages(turn));
    }
    let mut input = Map::new();
    input.insert("messages".into(), messages.into());
    let config = &parsed.get("inferenceConfig").cloned().unwrap_or_default();
    for (own, name) in
        [("maxTokens", "max_tokens"), ("temperature", "temperature"), ("topP", "top_p"), ("stopSequences", "stop")]
    {
        if !config[own].is_null() {
            input.insert(name.into(), config[own].clone());
        }
    }
    for (own, value) in &parsed {
        match own.as_str() {
            "messages" | "system" | "inferenceConfig" => {}
            "toolConfig" => tools(value, &mut input),
            "outputConfig" => {
                let schema = &value["textFormat"]["structure"]["jsonSchema"];
                let inner: Value = serde_json::from_str(schema["schema"].as_str()?).expect("a schema");
                let format = json!({"name": schema["name"], "description": schema["description"], "schema": inner});
                input.insert("response_format".into(), json!({"type": "json_schema", "json_schema": format}));
                // The same schema, written without blanks.
                becomes["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"] = json!(inner.to_string());
            }
            "additionalModelRequestFields" if !value["inferenceConfig"]["topK"].is_null() => {
                input.insert("top_k".into(), value["inferenceConfig"]["topK"].clone());
            }
            _ => drop(input.insert(own.clone(), value.clone())),
        }
    }
    tidy(&mut becomes);
    let provider = vendor_of(VENDOR);
    Some(Rebuild { provider, model: model(exchange), task: Task::Chat, input: Value::Object(input), becomes })
}

/// What we do not send: empty lists and settings, and that a tool succeeded; turns of one speaker
/// are one turn.
fn tidy(body: &mut Value) {
    let config = body["inferenceConfig"].as_object_mut();
    if let Some(config) = config {
        config.retain(|_, value| *value != json!([]));
    }
    body.as_object_mut()
        .expect("an object")
        .retain(|_, value| *value != json!([]) && *value != json!({}) && !value.is_null());
    let mut turns: Vec<Value> = Vec::new();
    for mut turn in body["messages"].as_array().cloned().unwrap_or_default() {
        for block in turn["content"].as_array_mut().into_iter().flatten() {
            if let Some(result) = block["toolResult"].as_object_mut() {
                result.remove("status");
            }
            block.as_object_mut().expect("a block").retain(|_, value| !value.is_null());
        }
        match turns.last_mut() {
            Some(last) if last["role"] == turn["role"] => {
                let more = turn["content"].as_array().cloned().unwrap_or_default();
                last["content"].as_array_mut().expect("blocks").extend(more);
            }
            _ => turns.push(turn),
        }
    }
    body["messages"] = turns.into();
}

fn chat_messages(turn: &Value) -> Vec<Value> {
    let blocks = turn["content"].as_array().expect("blocks");
    let mut messages = Vec::new();
    let mut parts: Vec<Value> = Vec::new();
    let mut calls = Vec::new();
    for block in blocks {
        if let Some(result) = block["toolResult"].as_object() {
            let content: Vec<_> = result["content"].as_array().into_iter().flatten().map(part).collect();
            messages.push(json!({"role": "tool", "tool_call_id": result["toolUseId"], "content": content}));
        } else if let Some(call) = block["toolUse"].as_object() {
            let function = json!({"name": call["name"], "arguments": call["input"].to_string()});
            calls.push(json!({"id": call["toolUseId"], "type": "function", "function": function}));
        } else if block["cachePoint"].is_object() {
            parts.last_mut().expect("a point stands behind something")["cache_control"] = json!({"type": "ephemeral"});
        } else {
            parts.push(part(block));
        }
    }
    if !parts.is_empty() || !calls.is_empty() {
        let mut message = json!({"role": turn["role"], "content": parts});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        messages.push(message);
    }
    messages
}

fn part(block: &Value) -> Value {
    let bytes = |kind: &str| block[kind]["source"]["bytes"].as_str().unwrap_or("").to_owned();
    if let Some(text) = block["text"].as_str() {
        return json!({"type": "text", "text": text});
    }
    if let Some(format) = block["image"]["format"].as_str() {
        return json!({"type": "image_url", "image_url": {"url": format!("data:image/{format};base64,{}", bytes("image"))}});
    }
    if block["document"]["format"] == "txt" {
        let name = format!("{}.txt", block["document"]["name"].as_str().unwrap_or(""));
        let data = format!("data:text/plain;base64,{}", bytes("document"));
        return json!({"type": "file", "file": {"filename": name, "file_data": data}});
    }
    block.clone()
}

fn tools(config: &Value, input: &mut Map<String, Value>) {
    let mut tools: Vec<Value> = Vec::new();
    for tool in config["tools"].as_array().into_iter().flatten() {
        let spec = &tool["toolSpec"];
        if tool["cachePoint"].is_object() {
            tools.last_mut().expect("a point stands behind a tool")["cache_control"] = json!({"type": "ephemeral"});
            continue;
        }
        let mut function = json!({"name": spec["name"], "description": spec["description"], "parameters": spec["inputSchema"]["json"]});
        if !spec["strict"].is_null() {
            function["strict"] = spec["strict"].clone();
        }
        tools.push(json!({"type": "function", "function": function}));
    }
    input.insert("tools".into(), tools.into());
    let choice = &config["toolChoice"];
    if choice["auto"].is_object() {
        input.insert("tool_choice".into(), json!("auto"));
    } else if choice["any"].is_object() {
        input.insert("tool_choice".into(), json!("required"));
    } else if let Some(name) = choice["tool"]["name"].as_str() {
        input.insert("tool_choice".into(), json!({"type": "function", "function": {"name": name}}));
    }
}
