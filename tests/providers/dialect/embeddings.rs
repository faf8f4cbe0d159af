//! Embeddings of OpenAI's dialect, and of those whose answers differ by a name.

use forebay::job::Task;
use forebay::provider::protocol::openai_chat::ReplyRules;
use forebay::provider::protocol::{embeddings, error};
use forebay::provider::{Endpoint, Framing, ModelCall};
use serde_json::{Value, json};

use super::{Dialect, Rebuild, vendor_of};
use crate::replay::{Gist, Reply, job, target};

/// Those who have a form of their own.
const OTHERS: &[&str] = &["bedrock", "cohere", "gemini", "vertex"];

pub(crate) const DIALECT: Dialect = Dialect {
    name: "embeddings",
    speaks: |provider, api| api == "embeddings" && !OTHERS.contains(&provider),
    framing: Framing::Whole,
    decoder: |exchange| {
        let mut job = job(&exchange["request"]["body"].to_string());
        job.task = Task::Embedding;
        let (target, endpoint) = (target("m"), Endpoint::plain("p", "http://h"));
        let model_call = ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false };
        embeddings::decoder(model_call, &ReplyRules::PLAIN)
    },
    classify: error::classify,
    oracle: read,
    rebuild,
};

fn rebuild(exchange: &Value) -> Option<Rebuild> {
    // Ollama's older form, one `prompt` at a time with `options`; its own vendor has the newer.
    let raw = exchange["request"]["body"].as_object().filter(|body| body.contains_key("input"))?;
    let mut input = raw.clone();
    let model = input.remove("model")?.as_str()?.to_owned();
    let provider = vendor_of("openai-compatible");
    Some(Rebuild {
        provider,
        model,
        task: Task::Embedding,
        input: Value::Object(input),
        becomes: Value::Object(raw.clone()),
    })
}

fn read(reply: &Reply) -> Option<Gist> {
    let answer: Value = serde_json::from_slice(&reply.body).expect("recorded bodies are JSON");
    let single = json!([{"embedding": answer["embedding"]}]);
    let list = if answer["data"].is_array() { &answer["data"] } else { &single };
    let vectors = list.as_array()?.iter().enumerate().map(|(at, datum)| {
        let index = datum["index"].as_u64().unwrap_or(at as u64);
        json!({"object": "embedding", "index": index, "embedding": datum["embedding"]})
    });
    let outputs = vec![json!({"object": "list", "data": vectors.collect::<Vec<_>>()})];
    let usage = &answer["usage"];
    let mut counts = json!({});
    for (name, place) in [("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")] {
        if usage[place].is_u64() {
            counts[name] = usage[place].clone();
        }
    }
    let usage = if counts == json!({}) { Value::Null } else { counts };
    Some(Gist { outputs, finish: "stop".into(), usage, ..Gist::default() })
}
