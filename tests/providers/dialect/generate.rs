//! Google's `generateContent`, at both of its APIs, and its embeddings.

use forebay::job::Task;
use forebay::provider::protocol::gemini;
use forebay::provider::{Decoder, Endpoint, Framing, ModelCall};
use serde_json::{Value, json};

use super::{Dialect, Rebuild, sse_data, vendor_of};
use crate::replay::{Gist, Reply, job, target};

#[path = "generate_job.rs"]
mod back;

pub(crate) const DIALECT: Dialect = Dialect {
    name: "generate",
    speaks: |provider, api| matches!(provider, "gemini" | "vertex") && api == "generate",
    framing: Framing::Sse,
    decoder: |exchange| decoder(exchange, Task::Chat),
    classify: gemini::classify,
    oracle: read,
    rebuild: |exchange| {
        let (input, becomes) = back::chat(&exchange["request"]["body"])?;
        Some(Rebuild { provider: vendor(exchange), model: model(exchange), task: Task::Chat, input, becomes })
    },
};

pub(crate) const EMBEDDINGS: Dialect = Dialect {
    name: "embed",
    speaks: |provider, api| matches!(provider, "gemini" | "vertex") && api == "embeddings",
    framing: Framing::Whole,
    decoder: |exchange| decoder(exchange, Task::Embedding),
    classify: gemini::classify,
    oracle: read_vectors,
    rebuild: |exchange| {
        let (input, becomes) = back::embedding(&exchange["request"]["body"])?;
        Some(Rebuild { provider: vendor(exchange), model: model(exchange), task: Task::Embedding, input, becomes })
    },
};

fn vendor(exchange: &Value) -> &'static dyn forebay::provider::Provider {
    let is_vertex = exchange["request"]["url"].as_str().is_some_and(|url| url.contains("aiplatform"));
    vendor_of(if is_vertex { "google-vertex-ai" } else { "google-ai-studio" })
}

fn model(exchange: &Value) -> String {
    let url = exchange["request"]["url"].as_str().expect("an address");
    let name = url.split("/models/").nth(1).expect("a model");
    name.split(':').next().expect("a name").to_owned()
}

fn decoder(exchange: &Value, task: Task) -> Box<dyn Decoder> {
    let mut job = job("{}");
    job.task = task;
    let (target, endpoint) = (target(&model(exchange)), Endpoint::plain("p", "http://h"));
    vendor(exchange).decoder(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false })
}

/// What a good answer says, or `None` where there is an error in it or no end.
fn read(reply: &Reply) -> Option<Gist> {
    let text = std::str::from_utf8(&reply.body).expect("recorded bodies are text").trim();
    let responses: Vec<Value> = match text.as_bytes().first() {
        Some(b'{') => vec![serde_json::from_str(text).expect("JSON")],
        Some(b'[') => serde_json::from_str(text).expect("JSON"),
        _ => sse_data(text).iter().map(|data| serde_json::from_str(data).expect("JSON")).collect(),
    };
    let mut gist = Gist::default();
    let mut finish = None;
    for response in &responses {
        if !response["error"].is_null() || !response["promptFeedback"]["blockReason"].is_null() {
            return None;
        }
        if !response["usageMetadata"].is_null() {
            gist.usage = usage_of(&response["usageMetadata"]);
        }
        for candidate in response["candidates"].as_array().into_iter().flatten() {
            let index = usize::try_from(candidate["index"].as_u64().unwrap_or(0)).expect("small");
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                if let Some(text) = part["text"].as_str() {
                    gist.choice(index)[usize::from(part["thought"] == true)].push_str(text);
                }
                if let Some(call) = part["functionCall"].as_object() {
                    let number = gist.tools.len();
                    let made = format!("call_{}_{number}", response["responseId"].as_str().unwrap_or(""));
                    let id = call.get("id").and_then(Value::as_str).unwrap_or(&made).to_owned();
                    gist.tools.push((id, call["name"].as_str()?.to_owned(), call["args"].to_string()));
                }
            }
            if index == 0 && candidate["finishReason"].is_string() {
                finish = candidate["finishReason"].as_str();
            }
        }
    }
    gist.finish = match finish? {
        "STOP" if !gist.tools.is_empty() => "tool_calls",
        "STOP" => "stop",
        "MAX_TOKENS" => "length",
        "SAFETY" => "content_filter",
        other => panic!("{other} is not recorded so far"),
    }
    .to_owned();
    while gist.texts.last().is_some_and(|texts| texts.iter().all(String::is_empty)) {
        gist.texts.pop();
    }
    Some(gist)
}

fn usage_of(raw: &Value) -> Value {
    let count = |name: &str| raw[name].as_u64();
    let mut usage = json!({});
    if let Some(prompt) = count("promptTokenCount") {
        usage["input_tokens"] = json!(prompt + count("toolUsePromptTokenCount").unwrap_or(0));
    }
    let (answer, thoughts) = (count("candidatesTokenCount"), count("thoughtsTokenCount"));
    if answer.or(thoughts).is_some() {
        usage["output_tokens"] = json!(answer.unwrap_or(0) + thoughts.unwrap_or(0));
    }
    if let Some(thoughts) = thoughts {
        usage["reasoning_tokens"] = json!(thoughts);
    }
    if let Some(cached) = count("cachedContentTokenCount") {
        usage["cached_input_tokens"] = json!(cached);
    }
    for detail in raw["promptTokensDetails"].as_array().into_iter().flatten() {
        if detail["modality"] == "AUDIO" {
            usage["audio_input_tokens"] = detail["tokenCount"].clone();
        }
    }
    usage
}

fn read_vectors(reply: &Reply) -> Option<Gist> {
    let answer: Value = serde_json::from_slice(&reply.body).expect("recorded bodies are JSON");
    let vectors = answer["embeddings"].as_array()?.iter().enumerate();
    let data: Vec<Value> = vectors
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector["values"]}))
        .collect();
    Some(Gist { outputs: vec![json!({"object": "list", "data": data})], finish: "stop".into(), ..Gist::default() })
}
