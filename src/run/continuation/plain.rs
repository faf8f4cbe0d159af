//! Decides whether a job asks for one text in the model's own words: only such an answer has a middle from
//! which another attempt can continue.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::provider::protocol::openai_chat;

/// Names of fields that bind an answer to a form, whatever they contain.
const BINDING: &[&str] = &[
    "format",
    "output_format",
    "json_schema",
    "grammar",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "responseSchema",
    "responseJsonSchema",
    "response_schema",
    "response_json_schema",
];
/// Names of fields in which some formats state the same further down.
const NESTED: &[&str] = &["generationConfig", "generation_config", "output_config", "toolConfig", "tool_config"];

/// Returns whether the answer is one text, bound to no format, in which no tool must be called.
pub(super) fn asks_for_one_free_text(input: &RawValue) -> bool {
    let fields = openai_chat::fields(input).unwrap_or_default().0;
    fields.iter().all(|(name, value)| {
        let is_known = BINDING.contains(&&**name) || NESTED.contains(&&**name) || OTHERS.contains(&&**name);
        !is_known || serde_json::from_str(value.get()).is_ok_and(|value| leaves_free(name, &value))
    })
}

/// Fields that may bind an answer, depending on what they contain. Other fields are not even parsed.
const OTHERS: &[&str] = &[
    "response_format",
    "text",
    "outputConfig",
    "responseMimeType",
    "response_mime_type",
    "responseModalities",
    "response_modalities",
    "modalities",
    "n",
    "best_of",
    "candidateCount",
    "candidate_count",
    "tool_choice",
    "toolChoice",
    "function_call",
    "functionCallingConfig",
    "function_calling_config",
];

fn leaves_free(name: &str, value: &Value) -> bool {
    match (name, value) {
        (_, Value::Null) => true,
        ("response_format", format) => is_text(format),
        ("text", text) => text.get("format").is_none_or(is_text),
        ("outputConfig", config) => config.get("textFormat").is_none(),
        ("responseMimeType" | "response_mime_type", kind) => kind == "text/plain",
        ("modalities" | "responseModalities" | "response_modalities", list) => {
            let is_text = |one: &Value| one.as_str().is_some_and(|word| word.eq_ignore_ascii_case("text"));
            list.as_array().is_some_and(|list| list.iter().all(is_text))
        }
        ("n" | "best_of" | "candidateCount" | "candidate_count", count) => count.as_u64().is_some_and(|n| n <= 1),
        ("tool_choice" | "function_call", choice) => is_free_choice(choice),
        // Converse has one key for each choice.
        ("toolChoice", choice) => choice.get("auto").is_some(),
        ("functionCallingConfig" | "function_calling_config", config) => {
            config.get("mode").and_then(Value::as_str).is_none_or(|mode| !mode.eq_ignore_ascii_case("any"))
        }
        (name, Value::Object(fields)) if NESTED.contains(&name) => {
            fields.iter().all(|(name, value)| leaves_free(name, value))
        }
        (name, _) => !BINDING.contains(&name),
    }
}

fn is_text(format: &Value) -> bool {
    format.is_null() || format.get("type").is_some_and(|kind| kind == "text")
}

fn is_free_choice(choice: &Value) -> bool {
    let word = choice.as_str().or_else(|| choice.get("type").and_then(Value::as_str));
    match word {
        Some("auto" | "none") => true,
        Some("allowed_tools") => choice.get("mode").is_some_and(|mode| mode == "auto"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_free_text_has_a_middle() {
        for (input, expected) in [
            (r#"{"messages":[],"max_tokens":4,"temperature":0,"stop":["x"]}"#, true),
            (r#"{"response_format":{"type":"text"}}"#, true),
            (r#"{"response_format":null}"#, true),
            (r#"{"response_format":{"type":"json_object"}}"#, false),
            (r#"{"response_format":{"type":"json_schema","json_schema":{}}}"#, false),
            (r#"{"text":{"format":{"type":"json_schema"}}}"#, false),
            (r#"{"text":{"verbosity":"low"}}"#, true),
            (r#"{"format":"json"}"#, false),
            (r#"{"guided_json":{}}"#, false),
            (r#"{"output_config":{"effort":"low"}}"#, true),
            (r#"{"output_config":{"format":{"type":"json_schema"}}}"#, false),
            (r#"{"outputConfig":{"textFormat":{"type":"json_schema"}}}"#, false),
            (r#"{"generationConfig":{"temperature":1,"responseMimeType":"text/plain"}}"#, true),
            (r#"{"generationConfig":{"responseMimeType":"application/json"}}"#, false),
            (r#"{"generation_config":{"response_schema":{}}}"#, false),
            (r#"{"generationConfig":{"candidateCount":2}}"#, false),
            (r#"{"generationConfig":{"responseModalities":["TEXT","IMAGE"]}}"#, false),
            (r#"{"n":1}"#, true),
            (r#"{"n":2}"#, false),
            (r#"{"modalities":["text","audio"]}"#, false),
            (r#"{"tools":[{}],"tool_choice":"auto"}"#, true),
            (r#"{"tools":[{}],"tool_choice":"none"}"#, true),
            (r#"{"tools":[{}],"tool_choice":"required"}"#, false),
            (r#"{"tools":[{}],"tool_choice":{"type":"auto"}}"#, true),
            (r#"{"tools":[{}],"tool_choice":{"type":"any"}}"#, false),
            (r#"{"tools":[{}],"tool_choice":{"type":"function","function":{"name":"f"}}}"#, false),
            (r#"{"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[]}}"#, true),
            (r#"{"tool_choice":{"type":"allowed_tools","mode":"required","tools":[]}}"#, false),
            (r#"{"toolConfig":{"tools":[],"toolChoice":{"auto":{}}}}"#, true),
            (r#"{"toolConfig":{"tools":[],"toolChoice":{"tool":{"name":"f"}}}}"#, false),
            (r#"{"toolConfig":{"functionCallingConfig":{"mode":"AUTO"}}}"#, true),
            (r#"{"tool_config":{"function_calling_config":{"mode":"ANY"}}}"#, false),
        ] {
            let raw = RawValue::from_string(input.into()).unwrap();
            assert_eq!(asks_for_one_free_text(&raw), expected, "{input}");
        }
    }
}
