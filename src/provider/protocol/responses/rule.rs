//! When a chat is asked for in this dialect, and what else depends on the model.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::catalog;
use crate::job::Task;
use crate::provider::Ask;

/// Servers of one's own. llama.cpp's takes the assistant's earlier answers in the long form only
/// (seen with the server that `scripts/model_server.py` runs).
const LOCAL: &[&str] = &["llamacpp", "local", "openai-compatible", "vllm"];

/// What differs between those who speak the dialect.
pub struct Rules {
    /// The provider's kind, for the catalog.
    pub kind: &'static str,
    /// Whose reasoning its items are, as `format` of `reasoning_details`.
    pub thoughts: &'static str,
    /// Whether an earlier answer stands as a list of parts even if it is one text.
    pub(super) wants_parts: bool,
}

impl Rules {
    /// Those of a provider of this kind.
    #[must_use]
    pub fn of(kind: &'static str) -> Rules {
        let own = OWN_THOUGHTS.iter().find(|(name, _)| *name == kind);
        let wants_parts = LOCAL.contains(&kind);
        Rules { kind, thoughts: own.map_or(OPENAI_THOUGHTS, |(_, thoughts)| thoughts), wants_parts }
    }
}

/// What OpenAI's reasoning is called, and that of everybody who gives it no other name.
const OPENAI_THOUGHTS: &str = "openai-responses-v1";
/// Providers whose encrypted reasoning only they can read.
const OWN_THOUGHTS: &[(&str, &str)] = &[("azure-openai", "azure-openai-responses-v1"), ("xai", "xai-responses-v1")];

/// Providers that serve all their models by Responses, some of them better: what comes in this dialect
/// goes out in it.
const PREFERRED: &[&str] = &["openai", "xai"];

/// Whether a job is asked for by Responses instead of chat completions. It is
/// - for a job that came in this dialect, at a provider that prefers it, or with a tool that only
///   this dialect has;
/// - for an input in the dialect's own shape: `input` is a list of items, or a field is there that
///   chat completions do not have;
/// - for a provider that is configured with `api = "responses"`;
/// - for a model of which the catalog says that it has no other endpoint.
///
/// The encoder and the decoder of an attempt both ask here.
#[must_use]
pub fn is_wanted(ask: Ask<'_>, kind: &str) -> bool {
    if ask.job.task != Task::Chat {
        return false;
    }
    let only_there = || {
        let entry = catalog::find(kind, &ask.target.model);
        entry.is_some_and(|entry| entry.abilities.has("responses_only"))
    };
    let came_so = || ask.job.echo.is_some() && (PREFERRED.contains(&kind) || has_native_tools(&ask.job.input));
    let is_chosen = match ask.endpoint.setting("api") {
        Some("responses") => true,
        Some("chat") => false,
        _ => came_so(),
    };
    is_chosen || is_native(&ask.job.input) || only_there()
}

fn has_native_tools(input: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow, default)]
        tools: Vec<Tool<'a>>,
    }
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Cow<'a, str>,
    }
    let peek = serde_json::from_str::<Peek<'_>>(input.get());
    peek.is_ok_and(|peek| peek.tools.iter().any(|tool| tool.kind != "function"))
}

fn is_native(input: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow)]
        input: Option<&'a RawValue>,
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
        #[serde(borrow)]
        instructions: Option<&'a RawValue>,
        #[serde(borrow)]
        max_output_tokens: Option<&'a RawValue>,
        #[serde(borrow)]
        previous_response_id: Option<&'a RawValue>,
        #[serde(borrow)]
        conversation: Option<&'a RawValue>,
        #[serde(borrow)]
        max_tool_calls: Option<&'a RawValue>,
        #[serde(borrow)]
        background: Option<&'a RawValue>,
    }
    let Ok(peek) = serde_json::from_str::<Peek<'_>>(input.get()) else { return false };
    let has_items = peek.messages.is_none() && peek.input.is_some_and(|items| items.get().starts_with('['));
    let own = [
        peek.instructions,
        peek.max_output_tokens,
        peek.previous_response_id,
        peek.conversation,
        peek.max_tool_calls,
        peek.background,
    ];
    has_items || own.iter().any(Option::is_some)
}

/// Whether a model of OpenAI's reasons before it answers: the catalog says so, or it is named like
/// one that does (`o1`, `o3-mini`, `gpt-5`, `gpt-5.6-luna`, `gpt-oss-20b`, `codex-mini`), with
/// whatever stands before the name (`openai/`, `openai.`) left out. The `-chat` ones do not.
#[must_use]
pub fn thinks(kind: &str, model: &str) -> bool {
    if catalog::find(kind, model).is_some_and(|entry| entry.abilities.has("reasoning")) {
        return true;
    }
    is_named_like_one(model) && !model.contains("-chat")
}

/// Whether a model refuses `max_tokens` for the newer `max_completion_tokens`: those that reason, and
/// their `-chat` kin.
#[must_use]
pub fn takes_newer_limit(kind: &str, model: &str) -> bool {
    is_named_like_one(model) || thinks(kind, model)
}

fn is_named_like_one(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("openai.").unwrap_or(name);
    let series = |prefix: &str, from: char| {
        let next = name.strip_prefix(prefix).and_then(|rest| rest.chars().next());
        next.is_some_and(|digit| (from..='9').contains(&digit))
    };
    series("o", '1') || series("gpt-", '5') || name.starts_with("gpt-oss") || name.starts_with("codex")
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
