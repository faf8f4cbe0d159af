//! OpenAI chat completions, and every server that speaks that protocol.

use forebay::job::Task;
use forebay::provider::protocol::{error, openai_chat};
use forebay::provider::{Decoder, Endpoint, Framing, ModelCall};
use serde_json::{Map, Value, json};

use super::{Dialect, Rebuild, sse_data, vendor_of};
use crate::replay::{Gist, Reply, job, target};

/// Providers that have no vendor of their own here, or another's: the dialect in its plain form.
pub(crate) const DIALECT: Dialect = Dialect {
    name: "chat",
    speaks: |provider, api| is_chat(provider, api) && !VENDORS.iter().any(|vendor| (vendor.speaks)(provider, api)),
    framing: Framing::Sse,
    decoder: |_| Box::<openai_chat::ChatDecoder>::default(),
    classify: error::classify,
    oracle: read,
    rebuild: |exchange| rebuild("openai-compatible", exchange),
};

/// Recordings of these are read, judged and rebuilt by their vendor's adapter.
macro_rules! vendors {
    ($($id:literal,)*) => {
        pub(crate) const VENDORS: &[&Dialect] = &[$(&Dialect {
            name: "chat",
            speaks: |provider, api| provider == $id && is_chat(provider, api),
            framing: Framing::Sse,
            decoder: |exchange| decoder($id, exchange),
            classify: |status, headers, body| vendor_of($id).classify(status, headers, body),
            oracle: read,
            rebuild: |exchange| rebuild($id, exchange),
        },)*];
    };
}

vendors![
    "alibaba",
    "cerebras",
    "deepseek",
    "fireworks",
    "groq",
    "huggingface",
    "llamacpp",
    "mistral",
    "openrouter",
    "perplexity",
    "together",
    "vllm",
    "xai",
    "zai",
];

fn is_chat(provider: &str, api: &str) -> bool {
    matches!(api, "chat" | "compat-chat") && provider != "cohere"
}

fn decoder(vendor: &str, exchange: &Value) -> Box<dyn Decoder> {
    let input = rebuild(vendor, exchange).map_or(json!({"messages": []}), |rebuild| rebuild.input);
    let (job, target, endpoint) = (job(&input.to_string()), target("m"), Endpoint::plain("p", "http://h/v1"));
    vendor_of(vendor).decoder(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false })
}

/// The recorded body is what its job must become, up to what is asked of the stream and to what the
/// vendor is documented not to take.
fn rebuild(vendor: &str, exchange: &Value) -> Option<Rebuild> {
    let raw = exchange["request"]["body"].as_object().filter(|body| body.contains_key("messages"))?;
    let mut input = raw.clone();
    let model = input.remove("model").and_then(|model| model.as_str().map(str::to_owned)).unwrap_or("m".into());
    input.remove("stream");
    let mut becomes = raw.clone();
    becomes.insert("model".into(), json!(model));
    becomes.insert("stream".into(), json!(true));
    match vendor {
        "mistral" | "perplexity" => drop(becomes.remove("stream_options")),
        _ => {
            let options = becomes.entry("stream_options").or_insert(Value::Null);
            options["include_usage"] = json!(true);
        }
    }
    if vendor == "groq" && becomes.get("n") == Some(&json!(1)) {
        becomes.remove("n");
    }
    let becomes = Value::Object(becomes);
    Some(Rebuild { provider: vendor_of(vendor), model, task: Task::Chat, input: Value::Object(input), becomes })
}

/// What a good answer says, or `None` where there is an error in it or no end.
fn read(reply: &Reply) -> Option<Gist> {
    let text = std::str::from_utf8(&reply.body).expect("recorded bodies are text");
    let chunks = if text.trim_start().starts_with('{') { vec![text.trim().to_owned()] } else { sse_data(text) };
    let mut gist = Gist::default();
    let mut tools: Vec<(u64, u64, [String; 3])> = Vec::new();
    let mut finish = Map::new();
    let mut usage = Value::Null;
    for chunk in chunks.iter().take_while(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(chunk).expect("recorded packets are JSON");
        if !chunk["error"].is_null() || chunk["object"] == "error" {
            return None;
        }
        for found in [&chunk["x_groq"]["usage"], &chunk["usage"]] {
            if found["prompt_tokens"].is_u64() {
                usage = found.clone();
            }
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            let delta = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
            add_texts(delta, gist.choice(usize::try_from(index).expect("small")));
            add_tools(delta, index, &mut tools);
            if let Some(reason) = choice["finish_reason"].as_str() {
                finish.insert(index.to_string(), reason.into());
            }
        }
    }
    while gist.texts.last().is_some_and(|texts| texts.iter().all(String::is_empty)) {
        gist.texts.pop();
    }
    let native = finish.get("0")?.as_str()?;
    let has_calls = tools.iter().any(|(choice, ..)| *choice == 0);
    gist.finish = match native {
        "eos" | "stop" if has_calls => "tool_calls",
        "eos" => "stop",
        "model_length" => "length",
        "tool_call" => "tool_calls",
        other => other,
    }
    .to_owned();
    gist.tools = tools.into_iter().map(|(_, _, [id, name, arguments])| (id, name, arguments)).collect();
    gist.usage = usage_of(&usage);
    Some(gist)
}

fn add_texts(delta: &Value, texts: &mut [String; 3]) {
    match &delta["content"] {
        Value::String(text) => texts[0].push_str(text),
        Value::Array(parts) => {
            for part in parts {
                texts[0].push_str(part["text"].as_str().unwrap_or(""));
                for piece in part["thinking"].as_array().into_iter().flatten() {
                    texts[1].push_str(piece["text"].as_str().unwrap_or(""));
                }
            }
        }
        _ => {}
    }
    let reasoning = delta["reasoning_content"].as_str().filter(|text| !text.is_empty());
    texts[1].push_str(reasoning.or(delta["reasoning"].as_str()).unwrap_or(""));
    texts[2].push_str(delta["refusal"].as_str().unwrap_or(""));
}

/// Recorded backends number their calls, give whole calls, or give ids.
fn add_tools(delta: &Value, choice: u64, tools: &mut Vec<(u64, u64, [String; 3])>) {
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        let id = call["id"].as_str().unwrap_or("");
        let name = call["function"]["name"].as_str().unwrap_or("");
        let arguments = match &call["function"]["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let number = call["index"].as_u64();
        let known = tools.iter_mut().rev().find(|(known_choice, known, [known_id, ..])| {
            let same_number = number.is_some_and(|number| number == *known);
            let same_id = id.is_empty() || known_id == id;
            *known_choice == choice && same_number && same_id
        });
        match known {
            Some((_, _, [_, _, so_far])) => so_far.push_str(&arguments),
            None => tools.push((choice, number.unwrap_or(u64::MAX), [id.to_owned(), name.to_owned(), arguments])),
        }
    }
}

fn usage_of(raw: &Value) -> Value {
    if raw.is_null() {
        return Value::Null;
    }
    let input = raw["prompt_tokens"].as_u64().unwrap_or(0);
    let output = raw["completion_tokens"].as_u64();
    let total = raw["total_tokens"].as_u64().unwrap_or(0);
    let sound = raw["prompt_tokens_details"]["audio_tokens"].as_u64().unwrap_or(0);
    // Mistral counts sound in its total only.
    let is_sound_beside = sound > 0 && input + output.unwrap_or(0) + sound == total;
    let input = if is_sound_beside { input + sound } else { input };
    let more = total.saturating_sub(input + output.unwrap_or(0));
    let mut usage = json!({"input_tokens": input});
    if output.is_some() || more > 0 {
        usage["output_tokens"] = json!(output.unwrap_or(0) + more);
    }
    let (input, output) = (&raw["prompt_tokens_details"], &raw["completion_tokens_details"]);
    let cached =
        [&input["cached_tokens"], &raw["prompt_cache_hit_tokens"], &raw["cached_tokens"], &raw["num_cached_tokens"]];
    let reasoning = [&output["reasoning_tokens"], &raw["reasoning_tokens"]];
    let written = [&input["cache_write_tokens"], &input["cache_creation_input_tokens"]];
    for (name, places) in [
        ("cached_input_tokens", &cached[..]),
        ("reasoning_tokens", &reasoning[..]),
        ("cache_write_tokens", &written[..]),
        ("audio_input_tokens", &[&input["audio_tokens"]][..]),
        ("audio_output_tokens", &[&output["audio_tokens"]][..]),
    ] {
        if let Some(count) = places.iter().find_map(|place| place.as_u64()) {
            usage[name] = json!(count);
        }
    }
    if let Some(seconds) = raw["prompt_audio_seconds"].as_f64() {
        usage["audio_seconds"] = json!(seconds);
    }
    if more > 0 && usage["reasoning_tokens"].as_u64().unwrap_or(0) == 0 {
        usage["reasoning_tokens"] = json!(more);
    }
    usage
}
