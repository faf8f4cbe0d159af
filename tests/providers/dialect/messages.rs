//! Anthropic's Messages, at Anthropic and elsewhere.

use forebay::dialect::anthropic as anthropic_door;
use forebay::dialect::render::Render as _;
use forebay::job::{Completed, Cost, Event, Record, Task, Timestamp, Timing};
use forebay::provider::protocol::anthropic;
use forebay::provider::{Decoder, Endpoint, Framing, Headers, ModelCall, Provider};
use forebay::wire::collect::Collector;
use forebay::wire::record::RecordRef;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Dialect, Rebuild, sse_data, vendor_of};
use crate::recorded;
use crate::replay::{Adapter, Gist, Outcome, Reply, job, replay, target};

pub(crate) const DIALECT: Dialect = Dialect {
    name: "messages",
    speaks: |provider, api| api == "messages" || (provider, api) == ("bedrock", "invoke"),
    framing: Framing::Sse,
    decoder,
    classify: anthropic::classify,
    oracle: read,
    rebuild,
};

fn vendor(exchange: &Value) -> &'static dyn Provider {
    vendor_of(if exchange["provider"] == "minimax" { "minimax" } else { "anthropic" })
}

/// In the body, or in the address.
fn model(exchange: &Value) -> String {
    let request = &exchange["request"];
    let in_address = request["url"].as_str().and_then(|url| url.split("/model/").nth(1)?.split('/').next());
    request["body"]["model"].as_str().or(in_address).unwrap_or("claude").to_owned()
}

fn decoder(exchange: &Value) -> Box<dyn Decoder> {
    let (job, target, endpoint) = (job("{}"), target(&model(exchange)), Endpoint::plain("p", "http://h"));
    vendor(exchange).decoder(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false })
}

/// What a good answer says, or `None` where there is an error in it or no end.
fn read(reply: &Reply) -> Option<Gist> {
    let text = std::str::from_utf8(&reply.body).expect("recorded bodies are text");
    let mut blocks: Vec<[String; 4]> = Vec::new();
    let mut gist = Gist::default();
    let mut usage = json!({});
    let mut stop = Value::Null;
    let mut has_ended = false;
    if text.trim_start().starts_with('{') {
        let answer: Value = serde_json::from_str(text).expect("recorded bodies are JSON");
        let raw: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_str(text).expect("an object");
        let raw_blocks: Vec<std::collections::HashMap<String, Box<RawValue>>> =
            serde_json::from_str(raw.get("content")?.get()).expect("blocks");
        for (block, raw) in answer["content"].as_array()?.iter().zip(&raw_blocks) {
            blocks.push(begun(block));
            if let Some(input) = raw.get("input") {
                blocks.last_mut().expect("there")[3] = input.get().to_owned();
            }
        }
        usage = answer["usage"].clone();
        stop = answer["stop_reason"].clone();
        has_ended = true;
    } else {
        for data in sse_data(text) {
            let event: Value = serde_json::from_str(&data).expect("recorded packets are JSON");
            let at = event["index"].as_u64().unwrap_or(0) as usize;
            match event["type"].as_str().unwrap_or("") {
                "message_start" => usage = event["message"]["usage"].clone(),
                "content_block_start" => blocks.push(begun(&event["content_block"])),
                "content_block_delta" => {
                    let delta = &event["delta"];
                    blocks[at][2].push_str(delta["text"].as_str().or(delta["thinking"].as_str()).unwrap_or(""));
                    blocks[at][3].push_str(delta["partial_json"].as_str().unwrap_or(""));
                }
                "message_delta" => {
                    stop = event["delta"]["stop_reason"].clone();
                    for (name, value) in event["usage"].as_object().into_iter().flatten() {
                        if !value.is_null() {
                            usage[name] = value.clone();
                        }
                    }
                }
                "message_stop" => has_ended = true,
                "error" => return None,
                _ => {}
            }
        }
    }
    for [kind, who, text, input] in blocks {
        match &*kind {
            "text" => gist.choice(0)[0].push_str(&text),
            "thinking" => gist.choice(0)[1].push_str(&text),
            "tool_use" => {
                let (id, name) = who.split_once('\n').expect("id and name");
                let input = if input.is_empty() { "{}".into() } else { input };
                gist.tools.push((id.to_owned(), name.to_owned(), input));
            }
            _ => {}
        }
    }
    let stop = stop.as_str().filter(|_| has_ended)?;
    gist.finish = match stop {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" => "length",
        "tool_use" => "tool_calls",
        other => other,
    }
    .to_owned();
    gist.usage = usage_of(&usage);
    Some(gist)
}

/// Kind, whose, text, arguments.
fn begun(block: &Value) -> [String; 4] {
    let text = |name: &str| block[name].as_str().unwrap_or("").to_owned();
    [text("type"), format!("{}\n{}", text("id"), text("name")), text("text") + &text("thinking"), String::new()]
}

fn usage_of(parsed: &Value) -> Value {
    let count = |name: &str| parsed[name].as_u64();
    let cached = count("cache_read_input_tokens");
    let written = count("cache_creation_input_tokens");
    let mut usage = json!({
        "input_tokens": count("input_tokens").unwrap_or(0) + cached.unwrap_or(0) + written.unwrap_or(0),
        "output_tokens": count("output_tokens").unwrap_or(0),
    });
    let thought = parsed["output_tokens_details"]["thinking_tokens"].as_u64();
    for (name, count) in
        [("cached_input_tokens", cached), ("cache_write_tokens", written), ("reasoning_tokens", thought)]
    {
        if let Some(count) = count {
            usage[name] = json!(count);
        }
    }
    usage
}

/// A recorded body as the chat in OpenAI's dialect that it comes from.
fn rebuild(exchange: &Value) -> Option<Rebuild> {
    let parsed = &exchange["request"]["body"];
    if !parsed["messages"][0].is_object() {
        return None;
    }
    let mut input = parsed.as_object()?.clone();
    for name in ["model", "stream", "system", "tools", "tool_choice", "stop_sequences", "anthropic_version"] {
        input.remove(name);
    }
    let mut messages = Vec::new();
    if !parsed["system"].is_null() {
        messages.push(json!({"role": "system", "content": parts(&parsed["system"])}));
    }
    for turn in parsed["messages"].as_array()? {
        add_turn(turn, &mut messages);
    }
    input.insert("messages".into(), messages.into());
    if let Some(tools) = parsed["tools"].as_array() {
        input.insert("tools".into(), tools.iter().map(tool).collect());
    }
    if !parsed["tool_choice"].is_null() {
        let choice = json!({"type": "function", "function": {"name": parsed["tool_choice"]["name"]}});
        input.insert("tool_choice".into(), choice);
    }
    if !parsed["stop_sequences"].is_null() {
        input.insert("stop".into(), parsed["stop_sequences"].clone());
    }
    let model = model(exchange);
    let becomes = normal(parsed, &model);
    Some(Rebuild { provider: vendor_of("anthropic"), model, task: Task::Chat, input: Value::Object(input), becomes })
}

fn tool(parsed: &Value) -> Value {
    if parsed["input_schema"].is_null() {
        return parsed.clone();
    }
    let mut tool =
        json!({"type": "function", "function": {"name": parsed["name"], "parameters": parsed["input_schema"]}});
    for name in ["description", "strict"] {
        if !parsed[name].is_null() {
            tool["function"][name] = parsed[name].clone();
        }
    }
    if !parsed["cache_control"].is_null() {
        tool["cache_control"] = parsed["cache_control"].clone();
    }
    tool
}

fn add_turn(turn: &Value, messages: &mut Vec<Value>) {
    let blocks = turn["content"].as_array().map_or(&[][..], Vec::as_slice);
    let of_kind = |kind: &str| blocks.iter().filter(|block| block["type"] == kind).collect::<Vec<_>>();
    let (results, calls) = (of_kind("tool_result"), of_kind("tool_use"));
    for result in &results {
        messages
            .push(json!({"role": "tool", "tool_call_id": result["tool_use_id"], "content": parts(&result["content"])}));
    }
    if !results.is_empty() {
        return;
    }
    let mut message = json!({"role": turn["role"], "content": parts(&turn["content"])});
    if !calls.is_empty() {
        let calls = calls.into_iter().map(|call| {
            let function = json!({"name": call["name"], "arguments": call["input"].to_string()});
            json!({"id": call["id"], "type": "function", "function": function})
        });
        message["tool_calls"] = calls.collect();
    }
    messages.push(message);
}

fn parts(content: &Value) -> Value {
    let mut content = content.clone();
    flatten(&mut content);
    let Value::Array(blocks) = &content else { return content };
    let of_block = |block: &Value| {
        let source = &block["source"];
        let mut part = match (block["type"].as_str()?, source["type"].as_str().unwrap_or("")) {
            ("tool_use", _) => return None,
            ("image", "url") => json!({"type": "image_url", "image_url": {"url": source["url"]}}),
            ("image", "base64") => {
                let url = format!("data:{};base64,{}", source["media_type"].as_str()?, source["data"].as_str()?);
                json!({"type": "image_url", "image_url": {"url": url}})
            }
            ("document", "file") => json!({"type": "file", "file": {"file_id": source["file_id"]}}),
            // Citations cannot be asked for in OpenAI's dialect: such a document stays what it is.
            _ => return Some(block.clone()),
        };
        if !block["cache_control"].is_null() {
            part["cache_control"] = block["cache_control"].clone();
        }
        Some(part)
    };
    blocks.iter().filter_map(of_block).collect()
}

/// A body up to what says the same: every job streams, and a text alone is a string.
fn normal(parsed: &Value, model: &str) -> Value {
    let mut body = parsed.clone();
    body["model"] = json!(model);
    body["stream"] = json!(true);
    if let Some(body) = body.as_object_mut() {
        body.remove("anthropic_version");
    }
    flatten(&mut body["system"]);
    if body["system"].is_null() {
        body.as_object_mut().expect("an object").remove("system");
    }
    for turn in body["messages"].as_array_mut().into_iter().flatten() {
        flatten(&mut turn["content"]);
    }
    body
}

fn flatten(content: &mut Value) {
    if let Some([only]) = content.as_array().map(Vec::as_slice)
        && only["type"] == "text"
        && only.as_object().is_some_and(|fields| fields.len() == 2)
    {
        *content = only["text"].clone();
    }
}

#[test]
fn a_request_in_its_own_shape_is_taken_as_it_is() {
    let Some(folder) = recorded::folder() else { return };
    let mut count = 0;
    for entry in recorded::load(&folder.join("index.json")).as_array().expect("a list") {
        let text = |field: &str| entry[field].as_str().expect("a text");
        if !(DIALECT.speaks)(text("provider"), text("api")) {
            continue;
        }
        let exchange = recorded::load(&folder.join(text("file")));
        let parsed = &exchange["request"]["body"];
        if !parsed["messages"][0].is_object() {
            continue;
        }
        let mut input = parsed.clone();
        for name in ["model", "stream"] {
            input.as_object_mut().expect("an object").remove(name);
        }
        let (job, target) = (job(&input.to_string()), target(&model(&exchange)));
        let endpoint = Endpoint::plain("p", "http://h");
        let model_call = ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false };
        let sent =
            vendor_of("anthropic").encode(model_call).unwrap_or_else(|failure| panic!("{}: {failure}", text("file")));
        let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
        assert_eq!(normal(&sent, &target.model), normal(parsed, &target.model), "{}", text("file"));
        count += 1;
    }
    assert!(count > 30, "only {count} recorded requests were found");
}

#[test]
fn a_request_at_our_own_door_reaches_anthropic_as_it_was() {
    let Some(folder) = recorded::folder() else { return };
    let mut count = 0;
    for entry in recorded::load(&folder.join("index.json")).as_array().expect("a list") {
        let text = |field: &str| entry[field].as_str().expect("a text");
        let exchange = recorded::load(&folder.join(text("file")));
        let parsed = &exchange["request"]["body"];
        let is_whole = parsed["messages"][0].is_object() && parsed["max_tokens"].is_u64();
        if text("api") != "messages" || text("provider") != "anthropic" || !is_whole {
            continue;
        }
        let file = text("file");
        let passthrough = anthropic_door::message(parsed.to_string().as_bytes(), &["b-1"]);
        let passthrough = passthrough.unwrap_or_else(|failure| panic!("{file}: {failure} {:?}", failure.param));
        let (job, target) = (job(passthrough.input.get()), target(&model(&exchange)));
        let endpoint = Endpoint::plain("p", "http://h");
        let model_call = ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false };
        let sent = match vendor_of("anthropic").encode(model_call) {
            Ok(sent) => sent,
            // What Anthropic refused then is refused here now.
            Err(failure) if exchange["response"]["status"] == 400 => {
                assert_eq!(failure.code, forebay::job::Code::Unsupported, "{file}: {failure}");
                continue;
            }
            Err(failure) => panic!("{file}: {failure} {:?}", failure.param),
        };
        let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
        assert_eq!(normal(&sent, &target.model), normal(parsed, &target.model), "{file}");
        count += 1;
    }
    assert!(count > 30, "only {count} recorded requests were found");
}

/// A job's answer, from what its provider said.
fn answer(outcome: Outcome, render: &mut impl FnMut(RecordRef<'static>)) -> Value {
    let end = outcome.end.expect("a good answer");
    let done = Event::Completed(Completed {
        finish_reason: end.reason,
        native_finish_reason: end.native,
        usage: end.usage.unwrap_or_default(),
        cost: Cost::FREE,
        timing: Timing::default(),
        attempts: 1,
    });
    let mut collector = Collector::default();
    for (seq, event) in (0..).zip(outcome.events.into_iter().chain([done])) {
        let record = || Record { seq, at: Timestamp(0), event: event.clone() }.into();
        collector.push(record());
        render(record());
    }
    let answer = collector.finish("j".parse().expect("an id")).expect("it has an end");
    let mut answer = serde_json::to_value(answer).expect("plain data");
    // Which model it really was is not told again.
    answer["result"]["extra"]["chunk"].take();
    answer
}

#[test]
fn an_answer_is_told_at_our_own_door_as_anthropic_told_it() {
    let Some(folder) = recorded::folder() else { return };
    let mut count = 0;
    for entry in recorded::load(&folder.join("index.json")).as_array().expect("a list") {
        let text = |field: &str| entry[field].as_str().expect("a text");
        if text("api") != "messages" || text("provider") != "anthropic" {
            continue;
        }
        let exchange = recorded::load(&folder.join(text("file")));
        let reply = Reply::of(&exchange);
        let make = || decoder(&exchange);
        let adapter = Adapter { framing: Framing::Sse, decoder: &make, classify: &anthropic::classify };
        let outcome = replay(&adapter, &reply, [&reply.body[..]]);
        if outcome.end.is_err() {
            continue;
        }
        let (mut render, mut told) = (anthropic_door::Events::new(&"j".parse().expect("an id")), Vec::new());
        let first = answer(outcome, &mut |record| drop(render.push(record, &mut told)));
        // What was whole then is a stream now.
        let stream = Reply { headers: Headers::default(), ..Reply::of(&exchange) };
        let again = replay(&adapter, &stream, [&told[..]]);
        assert_eq!(answer(again, &mut |_| {}), first, "{}: {}", text("file"), String::from_utf8_lossy(&told));
        count += 1;
    }
    assert!(count > 30, "only {count} recorded answers were found");
}
