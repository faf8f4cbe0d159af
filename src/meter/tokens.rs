//! Counts tokens of text, for attempts whose provider reported no usage.
//!
//! Owns the choice of the encoding: OpenAI's own for its models, and the newer of them (`o200k`) for all other models,
//! where the count is an approximation: a usage made of it is marked `estimate`. The vocabularies are unpacked for the
//! first count, which takes a quarter of a second, so an arbiter must not count.

use serde_json::Value;

use crate::job::Job;

/// Bytes that are counted exactly; the count of a longer text is extrapolated from so many bytes.
const COUNTED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Tokens that a message costs beside its text, in OpenAI's chat format: role, begin and end.
const MESSAGE_TOKENS: u64 = 4;

/// Models that use OpenAI's older encoding.
const OLDER: &[&str] = &["gpt-4-", "gpt-3.5", "gpt-35", "text-embedding-", "davinci", "babbage"];

/// Counts the tokens of `text` for a model of that name.
#[must_use]
pub fn count(model: &str, text: &str) -> u64 {
    let is_older = model == "gpt-4" || OLDER.iter().any(|start| model.starts_with(start));
    let encoding = tiktoken::get_encoding(if is_older { "cl100k_base" } else { "o200k_base" });
    let encoding = encoding.expect("the library has both encodings");
    let sample = &text[..text.floor_char_boundary(COUNTED_BYTES_MAX)];
    let counted = encoding.count(sample) as u64;
    if sample.len() == text.len() {
        return counted;
    }
    let scaled = u128::from(counted) * text.len() as u128 / sample.len() as u128;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Counts the tokens of a job's input as far as it is text: messages, instructions, documents, tools. What stands for
/// an image, audio or a file is not counted.
#[must_use]
pub fn of_input(model: &str, job: &Job) -> u64 {
    let Ok(input) = serde_json::from_str::<Value>(job.input.get()) else { return count(model, job.input.get()) };
    let mut text = String::new();
    let mut messages = 0;
    for (key, value) in input.as_object().into_iter().flatten() {
        match key.as_str() {
            "tools" | "functions" | "response_format" | "output_config" | "toolConfig" => {
                text.push_str(&value.to_string());
                text.push('\n');
            }
            "messages" | "contents" | "input" | "prompt" | "system" | "systemInstruction" | "system_instruction"
            | "instructions" | "query" | "documents" | "text" | "texts" => {
                messages += value.as_array().map_or(1, Vec::len) as u64;
                add_text(value, &mut text);
            }
            _ => {}
        }
    }
    count(model, &text) + messages * MESSAGE_TOKENS
}

/// Adds the strings that a model reads from a message or a list of messages.
fn add_text(value: &Value, text: &mut String) {
    match value {
        Value::String(piece) => {
            text.push_str(piece);
            text.push('\n');
        }
        Value::Array(all) => all.iter().for_each(|one| add_text(one, text)),
        Value::Object(fields) => {
            let is_read = |key: &str| {
                !matches!(
                    key,
                    "role"
                        | "image_url"
                        | "image"
                        | "input_audio"
                        | "audio"
                        | "file"
                        | "source"
                        | "inlineData"
                        | "inline_data"
                        | "fileData"
                        | "file_data"
                        | "signature"
                        | "thoughtSignature"
                        | "encrypted_content"
                        | "data"
                        | "id"
                        | "type"
                        | "cache_control"
                        | "tool_call_id"
                        | "call_id"
                        | "tool_use_id"
                )
            };
            fields.iter().filter(|(key, _)| is_read(key)).for_each(|(_, value)| add_text(value, text));
        }
        Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Timestamp;
    use crate::wire::submit::{Entrance, from_json};

    fn of(input: &str) -> u64 {
        let json = format!(r#"{{"model":"openai/gpt-5","input":{input}}}"#);
        let job = from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap();
        of_input("gpt-5", &job)
    }

    #[test]
    fn text_is_counted_as_its_model_does() {
        // Published examples of OpenAI's tokenizers.
        for (model, text, tokens) in [
            ("gpt-4", "tiktoken is great!", 6),
            ("gpt-4o", "tiktoken is great!", 6),
            ("gpt-3.5-turbo", "お誕生日おめでとう", 9),
            ("gpt-4o", "お誕生日おめでとう", 8),
            ("claude-sonnet-4-5", "", 0),
        ] {
            assert_eq!(count(model, text), tokens, "{model}: {text}");
        }
    }

    #[test]
    fn an_input_is_its_text_and_not_its_pictures() {
        let hello = of(r#"{"messages":[{"role":"user","content":"Hello there"}]}"#);
        assert!((6..=9).contains(&hello), "{hello}");
        let blob = "A".repeat(10_000);
        let seen = of(&format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"Hello there"}},
               {{"type":"image_url","image_url":{{"url":"data:image/png;base64,{blob}"}}}}]}}],"max_tokens":5}}"#
        ));
        assert_eq!(seen, hello, "an image is not counted");
        let tools = of(
            r#"{"messages":[{"role":"user","content":"Hello there"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#,
        );
        assert!(tools > hello + 5, "{tools}");
        assert!(of(r#""Hello there""#) >= 2);
    }
}
