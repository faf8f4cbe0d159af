//! Going on from the beginning of an answer: who does, and how the rest comes back.
//!
//! Owns the vocabulary in which vendors say it. What they need said in the request is in their
//! rules (`protocol/openai_chat/rules.rs`); the text that a continuation has in common with what was
//! there is cut away in `run/continuation`.

use serde_json::Value;
use serde_json::value::RawValue;

use super::ModelCall;
use super::protocol::openai_chat;
use crate::catalog;

/// How a model continues from a last message that is the beginning of its own answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prefill {
    /// The model gives another answer, or an error.
    No,
    /// The answer is the rest: it holds only what is new.
    Exact,
    /// The answer is the beginning once more, and then the rest.
    Repeats,
}

impl Prefill {
    /// The names in the configuration (`providers.NAME.prefill`).
    pub const NAMES: &[(&str, Prefill)] =
        &[("none", Prefill::No), ("exact", Prefill::Exact), ("repeats", Prefill::Repeats)];

    /// Returns the value that a name of the configuration stands for.
    #[must_use]
    pub fn named(name: &str) -> Option<Prefill> {
        Prefill::NAMES.iter().find(|(known, _)| *known == name).map(|(_, prefill)| *prefill)
    }

    /// Returns this value where `takes` holds, else [`Prefill::No`].
    #[must_use]
    pub fn only_if(self, takes: bool) -> Prefill {
        if takes { self } else { Prefill::No }
    }
}

/// Exact with those models of which the catalog says so under a provider's kind.
#[must_use]
pub fn by_catalog(kind: &str, model_call: ModelCall<'_>) -> Prefill {
    let entry = catalog::find(kind, &model_call.target.model);
    Prefill::Exact.only_if(entry.is_some_and(|entry| entry.abilities.has("prefill")))
}

/// What a job says of thinking before the answer. A model that thinks must do so first, and what it
/// thought is not at hand: it cannot begin in the middle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thoughts {
    /// The job does not say: the model's own default holds.
    Unsaid,
    /// The model shall think.
    Wanted,
    /// The model shall not think.
    Unwanted,
}

/// Fields in which the dialects speak of thinking.
const FIELDS: &[&str] = &[
    "reasoning_effort",
    "reasoning",
    "thinking",
    "think",
    "enable_thinking",
    "chat_template_kwargs",
    "additionalModelRequestFields",
];

impl Thoughts {
    /// What an input says, in whatever dialect.
    #[must_use]
    pub fn of(input: &RawValue) -> Thoughts {
        let fields = openai_chat::fields(input).unwrap_or_default().0;
        let mut found = Thoughts::Unsaid;
        for (_, value) in fields.iter().filter(|(name, _)| FIELDS.contains(&&**name)) {
            match serde_json::from_str(value.get()).map(|value| read(&value)) {
                Ok(Thoughts::Wanted) => return Thoughts::Wanted,
                Ok(Thoughts::Unwanted) => found = Thoughts::Unwanted,
                Ok(Thoughts::Unsaid) | Err(_) => {}
            }
        }
        found
    }
}

fn read(value: &Value) -> Thoughts {
    match value {
        Value::Bool(true) => Thoughts::Wanted,
        Value::Bool(false) => Thoughts::Unwanted,
        Value::String(word) if matches!(&**word, "none" | "disabled") => Thoughts::Unwanted,
        Value::String(_) => Thoughts::Wanted,
        Value::Object(fields) => {
            let parsed = |name: &str| fields.get(name).map_or(Thoughts::Unsaid, read);
            let budget = ["max_tokens", "budget_tokens"].iter().any(|name| fields.get(*name).is_some());
            let all = ["type", "effort", "enabled", "enable_thinking", "thinking", "reasoningConfig"].map(parsed);
            match () {
                () if all.contains(&Thoughts::Unwanted) => Thoughts::Unwanted,
                () if budget || all.contains(&Thoughts::Wanted) => Thoughts::Wanted,
                () => Thoughts::Unsaid,
            }
        }
        _ => Thoughts::Unsaid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Target, Timestamp};
    use crate::provider::{Endpoint, vendor};
    use crate::wire::submit::{Entrance, from_json};

    #[test]
    fn every_dialects_word_for_thinking_is_understood() {
        for (input, expected) in [
            (r#"{"messages":[],"temperature":true}"#, Thoughts::Unsaid),
            (r#"{"reasoning_effort":"low"}"#, Thoughts::Wanted),
            (r#"{"reasoning_effort":null}"#, Thoughts::Unsaid),
            (r#"{"reasoning_effort":"none"}"#, Thoughts::Unwanted),
            (r#"{"reasoning":{"effort":"high"}}"#, Thoughts::Wanted),
            (r#"{"reasoning":{"max_tokens":900}}"#, Thoughts::Wanted),
            (r#"{"reasoning":{"enabled":false}}"#, Thoughts::Unwanted),
            (r#"{"thinking":{"type":"enabled","budget_tokens":1024}}"#, Thoughts::Wanted),
            (r#"{"thinking":{"type":"disabled"}}"#, Thoughts::Unwanted),
            (r#"{"thinking":{"type":"adaptive"}}"#, Thoughts::Wanted),
            (r#"{"think":true}"#, Thoughts::Wanted),
            (r#"{"enable_thinking":false}"#, Thoughts::Unwanted),
            (r#"{"chat_template_kwargs":{"enable_thinking":true}}"#, Thoughts::Wanted),
            (r#"{"chat_template_kwargs":{"date":"today"}}"#, Thoughts::Unsaid),
            (r#"{"additionalModelRequestFields":{"thinking":{"type":"enabled"}}}"#, Thoughts::Wanted),
            (r#"{"additionalModelRequestFields":{"top_k":4}}"#, Thoughts::Unsaid),
            (r#"{"enable_thinking":false,"reasoning_effort":"high"}"#, Thoughts::Wanted),
        ] {
            let raw = RawValue::from_string(input.into()).unwrap();
            assert_eq!(Thoughts::of(&raw), expected, "{input}");
        }
    }

    #[test]
    fn a_vendor_goes_on_where_it_is_known_or_configured() {
        const PLAIN: &str = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
        const THINKS: &str = r#"{"messages":[{"role":"user","content":"Hi"}],"reasoning_effort":"low"}"#;
        const NOT: &str = r#"{"messages":[{"role":"user","content":"Hi"}],"thinking":{"type":"disabled"}}"#;
        const ITEMS: &str = r#"{"input":[{"role":"user","content":"Hi"}]}"#;
        let (no, exact, repeats) = (Prefill::No, Prefill::Exact, Prefill::Repeats);
        for (vendor, model, input, expected) in [
            ("anthropic", "claude-sonnet-4-5", PLAIN, exact),
            ("anthropic", "claude-sonnet-4-5", THINKS, no),
            ("anthropic", "claude-opus-4-6", PLAIN, no),
            ("anthropic-compatible", "claude-haiku-4-5", PLAIN, exact),
            ("anthropic-compatible", "smollm2", PLAIN, no),
            ("google-vertex-ai", "claude-sonnet-4-5@20250929", PLAIN, exact),
            ("google-vertex-ai", "gemini-2.5-pro", PLAIN, no),
            ("aws-bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", PLAIN, exact),
            ("aws-bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", THINKS, no),
            ("aws-bedrock", "cohere.command-r-v1:0", PLAIN, no),
            ("mistral", "mistral-small-latest", PLAIN, repeats),
            ("deepseek", "deepseek-chat", PLAIN, exact),
            ("alibaba", "qwen-plus", PLAIN, exact),
            ("alibaba", "qwen3-235b-a22b-thinking-2507", PLAIN, no),
            ("alibaba", "glm-5.1", PLAIN, no),
            ("bytedance", "doubao-1-5-pro-32k-250115", PLAIN, exact),
            ("bytedance", "doubao-seed-1-6-250615", PLAIN, no),
            ("bytedance", "doubao-seed-1-6-250615", NOT, exact),
            ("openrouter", "anthropic/claude-sonnet-4.5", PLAIN, exact),
            ("openrouter", "anthropic/claude-sonnet-4.6", PLAIN, no),
            ("openrouter", "openai/gpt-5", PLAIN, no),
            ("ollama", "llama3.2", PLAIN, exact),
            ("vllm", "anything", PLAIN, exact),
            ("llamacpp", "anything", PLAIN, exact),
            ("llamacpp", "anything", THINKS, no),
            ("llamacpp", "anything", ITEMS, exact),
            ("vllm", "anything", ITEMS, no),
            ("openai-compatible", "anything", PLAIN, no),
            ("scripted", "anything", PLAIN, exact),
            ("openai", "gpt-4.1", PLAIN, no),
            ("azure-openai", "claude-sonnet-4-5", PLAIN, no),
            ("xai", "grok-4", PLAIN, no),
            ("groq", "llama-3.3-70b-versatile", PLAIN, no),
            ("cohere", "command-a-03-2025", PLAIN, no),
            ("workers-ai", "@cf/meta/llama-3.1-8b-instruct", PLAIN, no),
            ("google-ai-studio", "gemini-2.5-flash", PLAIN, no),
        ] {
            let provider = vendor::ALL.iter().find(|provider| provider.card().id == vendor).unwrap();
            let json = format!(r#"{{"model":"p/m","input":{input}}}"#);
            let job = from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap();
            let target = Target { provider: "p".into(), model: model.into() };
            let mut endpoint = Endpoint::plain("p", "http://here/v1");
            let model_call = ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false };
            assert_eq!(provider.prefill(model_call), expected, "{vendor} {model} {input}");
            endpoint.settings.insert("prefill".into(), "repeats".into());
            let model_call = ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false };
            assert_eq!(provider.prefill(model_call), repeats, "{vendor}: the configuration counts");
        }
    }

    #[test]
    fn a_setting_has_one_of_three_names() {
        for (name, expected) in [("exact", Some(Prefill::Exact)), ("none", Some(Prefill::No)), ("vllm", None)] {
            assert_eq!(Prefill::named(name), expected, "{name}");
        }
    }
}
