//! From a request of Google's back to the job in the OpenAI dialect that it must have come from.
//!
//! What it must become is the recording itself, up to spellings that Google takes for the same:
//! snake case, upper-case types, `parameters` for `parametersJsonSchema`, a role of the system's,
//! fields that are null, and an empty `generationConfig`.

use serde_json::{Map, Value, json};

/// The job's input, and the body it must become.
pub(super) fn chat(body: &Value) -> Option<(Value, Value)> {
    let recorded = canonical(body);
    let mut input = Map::new();
    let mut becomes = recorded.clone();
    let mut messages = Vec::new();
    if let Some(system) = recorded["systemInstruction"].as_object() {
        let parts = list(&system["parts"]);
        messages.push(json!({"role": "system", "content": parts.iter().map(part).collect::<Vec<_>>()}));
        becomes["systemInstruction"] = json!({ "parts": parts });
    }
    let mut calls = Vec::new();
    for content in recorded["contents"].as_array()? {
        messages.push(message(content, &mut calls));
    }
    input.insert("messages".into(), messages.into());
    let config = recorded["generationConfig"].as_object().cloned().unwrap_or_default();
    if config.is_empty() {
        becomes.as_object_mut()?.remove("generationConfig");
    }
    parameters(config, &mut input, &mut becomes["generationConfig"]);
    if becomes["generationConfig"].is_null() {
        becomes.as_object_mut()?.remove("generationConfig");
    }
    if recorded["tools"].is_array() {
        let (tools, written) = tools(&recorded["tools"]);
        input.insert("tools".into(), tools.into());
        becomes["tools"] = written.into();
    }
    for (name, own) in [("safety_settings", "safetySettings"), ("cached_content", "cachedContent")] {
        if !recorded[own].is_null() {
            input.insert(name.into(), recorded[own].clone());
        }
    }
    Some((Value::Object(input), becomes))
}

/// The job's input, and the body it must become.
pub(super) fn embedding(body: &Value) -> Option<(Value, Value)> {
    let becomes = canonical(body);
    let requests = becomes["requests"].as_array()?;
    let texts: Vec<_> = requests.iter().map(|request| request["content"]["parts"][0]["text"].clone()).collect();
    let mut input = json!({ "input": texts });
    if requests[0]["outputDimensionality"].is_u64() {
        input["dimensions"] = requests[0]["outputDimensionality"].clone();
    }
    Some((input, becomes))
}

/// Without nulls, `thought: false`, and in camel case; schemas and arguments are not looked into.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let raw = fields
                .iter()
                .filter(|(name, value)| !(value.is_null() || name.as_str() == "thought" && **value == false));
            let fields = raw.map(|(name, value)| {
                let is_foreign = matches!(name.as_str(), "parameters" | "responseJsonSchema" | "args" | "response");
                (camel(name), if is_foreign { value.clone() } else { canonical(value) })
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

fn camel(name: &str) -> String {
    let mut upper = false;
    let letters = name.chars().filter_map(|c| match c {
        '_' => {
            upper = true;
            None
        }
        c if std::mem::take(&mut upper) => Some(c.to_ascii_uppercase()),
        c => Some(c),
    });
    letters.collect()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

/// A turn as a message. `calls` are the names of the calls that wait for a result, by their ids.
fn message(content: &Value, calls: &mut Vec<String>) -> Value {
    let parts = list(&content["parts"]);
    let plain = |parts: &[Value]| -> Vec<Value> {
        parts
            .iter()
            .filter(|part| part["functionCall"].is_null() && part["functionResponse"].is_null())
            .map(part)
            .collect()
    };
    if content["role"] == "model" {
        let mut message = json!({"role": "assistant", "content": plain(&parts)});
        let mut made = Vec::new();
        for part in parts.iter().filter(|part| part["functionCall"].is_object()) {
            let (call, id) = (&part["functionCall"], format!("call_{}", calls.len()));
            calls.push(call["name"].as_str().expect("a name").to_owned());
            let mut raw = json!({"id": id, "type": "function",
                "function": {"name": call["name"], "arguments": call["args"].to_string()}});
            if part["thoughtSignature"].is_string() {
                raw["extra_content"]["google"]["thought_signature"] = part["thoughtSignature"].clone();
            }
            made.push(raw);
        }
        if !made.is_empty() {
            message["tool_calls"] = made.into();
        }
        return message;
    }
    let Some(result) = parts.iter().find(|part| part["functionResponse"].is_object()) else {
        return json!({"role": "user", "content": plain(&parts)});
    };
    let result = &result["functionResponse"];
    let at = calls.iter().position(|name| *name == result["name"]).expect("a call of that name");
    let text = match &result["response"]["result"] {
        Value::String(text) => text.clone(),
        _ => result["response"].to_string(),
    };
    let mut raw = vec![json!({"type": "text", "text": text})];
    raw.extend(plain(&parts));
    json!({"role": "tool", "tool_call_id": format!("call_{at}"), "content": raw})
}

fn part(part: &Value) -> Value {
    let file = &part["fileData"];
    let inline = &part["inlineData"];
    if file.is_object() && file["mimeType"].as_str().is_some_and(|mime| mime.starts_with("image/")) {
        json!({"type": "image_url", "image_url": {"url": file["fileUri"]}})
    } else if file.is_object() {
        json!({"type": "file", "file": {"file_url": file["fileUri"]}})
    } else if inline.is_object() {
        let mime = inline["mimeType"].as_str().expect("a kind");
        let data = format!("data:{mime};base64,{}", inline["data"].as_str().expect("base64"));
        json!({"type": "file", "file": {"file_data": data}})
    } else {
        json!({"type": "text", "text": part["text"]})
    }
}

/// Takes a `generationConfig` apart. `becomes` is where it stands in what must come out.
fn parameters(config: Map<String, Value>, input: &mut Map<String, Value>, becomes: &mut Value) {
    for (own, value) in config {
        let (name, value) = match own.as_str() {
            "maxOutputTokens" => ("max_tokens", value),
            "candidateCount" => ("n", value),
            "temperature" | "seed" => (own.as_str(), value),
            "responseMimeType" => continue,
            "responseSchema" | "responseJsonSchema" => {
                let schema = lower(value);
                becomes.as_object_mut().expect("it has that").remove(&own);
                becomes["responseJsonSchema"] = schema.clone();
                ("response_format", json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}))
            }
            "thinkingConfig" => match (&value["includeThoughts"], &value["thinkingBudget"]) {
                (Value::Null, budget) if *budget == 0 => ("reasoning_effort", json!("none")),
                (Value::Bool(true), Value::Number(budget)) => ("reasoning", json!({"max_tokens": budget})),
                _ => ("thinkingConfig", value),
            },
            other => panic!("{other} is not recorded so far"),
        };
        input.insert(name.into(), value);
    }
}

/// The tools of the job, and as they must be written.
fn tools(recorded: &Value) -> (Vec<Value>, Vec<Value>) {
    let (mut raw, mut written) = (Vec::new(), Vec::new());
    for tool in recorded.as_array().expect("a list") {
        let Some(functions) = tool["functionDeclarations"].as_array() else {
            raw.push(if tool["urlContext"].is_object() { json!({"type": "url_context"}) } else { tool.clone() });
            written.push(tool.clone());
            continue;
        };
        let mut declared = Vec::new();
        for function in functions {
            let schema = lower(function["parameters"].clone());
            let (name, description) = (&function["name"], &function["description"]);
            raw.push(json!({"type": "function",
                "function": {"name": name, "description": description, "parameters": schema}}));
            declared.push(json!({"name": name, "description": description, "parametersJsonSchema": schema}));
        }
        written.push(json!({ "functionDeclarations": declared }));
    }
    (raw, written)
}

/// A schema whose types are as JSON Schema writes them.
fn lower(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| match &value {
                Value::String(kind) if name == "type" => (name, kind.to_ascii_lowercase().into()),
                _ => (name, lower(value)),
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(lower).collect()),
        other => other,
    }
}
