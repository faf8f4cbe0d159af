//! When a chat goes out in this protocol, and what else depends on the provider and the model.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::catalog;
use crate::job::Task;
use crate::provider::ModelCall;

/// What a vendor of the protocol does otherwise, as data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Value of `format` in `reasoning_details` for its reasoning. Vendors whose encrypted reasoning
    /// only they can read have one of their own.
    pub reasoning_format: &'static str,
    /// Whether an earlier answer must stand as a list of parts even if it is one text.
    pub wants_parts: bool,
    /// Whether the vendor serves all its models by Responses, some of them better than by chat
    /// completions: then a job that came in this protocol goes out in it.
    pub is_preferred: bool,
}

impl Rules {
    /// The protocol as OpenAI documents it.
    pub const PLAIN: Rules = Rules { reasoning_format: "openai-responses-v1", wants_parts: false, is_preferred: false };

    /// Servers of open models. llama.cpp's takes the assistant's earlier answers in the long form
    /// only (seen with the server that `scripts/model_server.py` runs).
    pub const OPEN_SERVER: Rules = Rules { wants_parts: true, ..Rules::PLAIN };
}

/// A provider at which the protocol is used.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Kind of the provider, as in its card: the catalog is searched under it.
    pub kind: &'static str,
    /// What the provider does otherwise.
    pub rules: &'static Rules,
}

/// Whether a job goes out as Responses instead of chat completions. It does
/// - for a job that came in this dialect, at a provider that prefers it, or with a tool that only
///   this dialect has;
/// - for an input in the dialect's own shape: `input` is a list of items, or a field is there that
///   chat completions do not have;
/// - for a provider that is configured with `api = "responses"`;
/// - for a model of which the catalog says that it has no other endpoint.
///
/// The encoder and the decoder of an attempt both use this rule.
#[must_use]
pub fn is_wanted(model_call: ModelCall<'_>, site: Site) -> bool {
    if model_call.job.task != Task::Chat {
        return false;
    }
    let only_there = || {
        let entry = catalog::find(site.kind, &model_call.target.model);
        entry.is_some_and(|entry| entry.abilities.has("responses_only"))
    };
    let came_so =
        || model_call.job.echo.is_some() && (site.rules.is_preferred || has_native_tools(&model_call.job.input));
    let is_chosen = match model_call.endpoint.setting("api") {
        Some("responses") => true,
        Some("chat") => false,
        _ => came_so(),
    };
    is_chosen || is_native(&model_call.job.input) || only_there()
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
