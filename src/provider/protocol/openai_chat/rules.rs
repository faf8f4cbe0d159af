//! What one vendor of the dialect does otherwise, as data.
//!
//! Owns the vocabulary in which `vendor/*` says it: fields that have another name, fields that are
//! refused, values that are worded otherwise, what a message may hold, and what stands in the
//! reply. `Rules::PLAIN` is the dialect as OpenAI speaks it; an endpoint with those rules gets the
//! job's input byte for byte. What no rule names is handed on unchanged: it may be the vendor's own.

use std::borrow::Cow;

use super::draft::Draft;
use crate::job::Failure;
use crate::provider::ModelCall;
use crate::provider::prefill::{self, Prefill, Thoughts};
use crate::provider::protocol::error::Quirk;
use crate::provider::protocol::responses;

/// What a vendor does otherwise than OpenAI, as data.
pub struct Rules {
    /// What it does otherwise in OpenAI's Responses, if it has them beside the chats.
    pub responses: Option<&'static responses::Rules>,
    /// Whether it serves `POST /rerank` in the common form beside the chats.
    pub has_rerank: bool,
    /// Path of the chat endpoint, after the base URL.
    pub path: &'static str,
    /// Whether `stream_options` is understood. Where it is not, usage comes unasked.
    pub takes_stream_options: bool,
    /// Fields that have another name there. Said under both names, the vendor's own counts; of the
    /// two limits of tokens OpenAI's newer one.
    pub renames: &'static [(&'static str, &'static str)],
    /// Fields that are refused: by the vendor, or by being ignored without a word.
    pub refuses: &'static [&'static [&'static str]],
    /// The only fields that are taken, for vendors that answer any other with an error.
    pub takes_only: Option<&'static [&'static str]>,
    /// Values that are worded otherwise: field, JSON text, JSON text there.
    pub words: &'static [(&'static str, &'static str, &'static str)],
    /// Values, or beginnings of them, that are refused: field, what stands in its JSON text.
    pub refuses_words: &'static [(&'static str, &'static str)],
    /// Whether `reasoning: {"effort": …}` is understood. Where it is not, it is `reasoning_effort`.
    pub takes_reasoning_object: bool,
    /// The largest value of a number that may be larger elsewhere, as JSON text.
    pub most: &'static [(&'static str, f64, &'static str)],
    /// Whether files must be inside the request, because the vendor fetches none.
    pub wants_files_inside: bool,
    /// What takes more than a table.
    pub translate: Option<Translate>,
    /// What a message may hold.
    pub messages: MessageRules,
    /// How it goes on from the beginning of an answer.
    pub prefill: PrefillRules,
    /// What stands in the reply.
    pub reply: ReplyRules,
    /// Errors that mean something else there than elsewhere.
    pub errors: &'static [Quirk],
}

/// A translation that takes more than a table.
pub type Translate = fn(&mut Draft<'_>) -> Result<(), Failure>;

impl Rules {
    /// The dialect as OpenAI speaks it.
    pub const PLAIN: Rules = Rules {
        responses: Some(&responses::Rules::PLAIN),
        has_rerank: false,
        path: "/chat/completions",
        takes_stream_options: true,
        renames: &[],
        refuses: &[],
        takes_only: None,
        words: &[],
        refuses_words: &[],
        takes_reasoning_object: true,
        most: &[],
        translate: None,
        wants_files_inside: false,
        messages: MessageRules::PLAIN,
        prefill: PrefillRules::BY_CATALOG,
        reply: ReplyRules::PLAIN,
        errors: &[],
    };

    /// What holds for most vendors that are not OpenAI.
    pub const USUAL: Rules = Rules {
        responses: None,
        refuses: &[Rules::OPENAI_ONLY],
        words: &[Rules::ANY_IS_REQUIRED],
        takes_reasoning_object: false,
        messages: MessageRules::USUAL,
        ..Rules::PLAIN
    };

    /// Fields that hardly any other vendor has.
    pub const OPENAI_ONLY: &[&str] =
        &["audio", "function_call", "functions", "modalities", "prompt_cache_retention", "verbosity"];

    /// Mistral's word for a tool that must be called, in the word that others understand.
    pub const ANY_IS_REQUIRED: (&str, &str, &str) = ("tool_choice", "\"any\"", "\"required\"");

    /// Renames the limit of tokens for vendors that know its older name only.
    pub const OLDER_MAX_TOKENS: &[(&str, &str)] = &[("max_completion_tokens", "max_tokens")];

    /// Rules of embeddings in OpenAI's form.
    pub const EMBEDDINGS: Rules = Rules { path: "/embeddings", ..Rules::PLAIN };
}

/// A translation: `reasoning_effort: "none"` is `thinking: {"type": "disabled"}`, unless the job
/// says something of `thinking` itself.
///
/// # Errors
/// Never.
pub fn no_effort_is_no_thinking(draft: &mut Draft<'_>) -> Result<(), Failure> {
    if draft.get("reasoning_effort") == Some("\"none\"") {
        draft.take("reasoning_effort");
        if !draft.has("thinking") {
            draft.put("thinking", "{\"type\":\"disabled\"}");
        }
    }
    Ok(())
}

/// What a message may hold.
pub struct MessageRules {
    /// Whether rules come from `system` only: `developer` is OpenAI's own word for it.
    pub only_system: bool,
    /// Whether what other providers need back (`reasoning_details`, `extra_content` of a call) is
    /// left out: no other provider can read it, and strict vendors refuse the whole request.
    pub without_foreign: bool,
    /// How the reasoning of earlier turns goes back.
    pub reasoning: Reasoning,
    /// Whether `name` is refused. A tool's name is left out: its call's id says the same.
    pub without_names: bool,
    /// The parts that are taken, by `type`, and what is taken in place of one.
    pub parts: Option<&'static [&'static str]>,
    /// Writes a part of this `type` otherwise; `None` leaves it.
    pub rewrite_part: Option<RewritePart>,
    /// The form that a tool call's id must have.
    pub call_id: Option<for<'a> fn(&'a str) -> Cow<'a, str>>,
    /// The field that a last message of the assistant must have set for the model to go on from it.
    pub continues: Option<&'static str>,
    /// What is kept of what a client of Anthropic's dialect says beside a chat (`cache_control`,
    /// `reasoning_details`, `reasoning_content`): most refuse a field that they do not know.
    pub keeps: &'static [&'static str],
}

/// Writes a part otherwise: its `type`, its JSON.
pub type RewritePart = fn(&str, &str) -> Option<String>;

impl MessageRules {
    /// Messages pass as they come.
    pub const PLAIN: MessageRules = MessageRules {
        only_system: false,
        without_foreign: false,
        reasoning: Reasoning::AsItComes,
        without_names: false,
        parts: None,
        rewrite_part: None,
        call_id: None,
        continues: None,
        keeps: &[],
    };

    /// What holds for most vendors that are not OpenAI.
    pub const USUAL: MessageRules = MessageRules { only_system: true, without_foreign: true, ..MessageRules::PLAIN };
}

/// How a vendor goes on from the beginning of an answer. `MessageRules::continues` marks such a
/// message of any author; what is here is sent only where we continue an answer that was lost.
pub struct PrefillRules {
    /// Whether it does, under which kind of provider its models are in the catalog.
    pub takes: fn(ModelCall<'_>, &str) -> Prefill,
    /// Whether it does so in Responses as well, where a last message is history elsewhere.
    pub in_responses: bool,
    /// The field of the last message that must be set.
    pub message: Option<&'static str>,
    /// The fields of the request that must say so: name, JSON text.
    pub request: &'static [(&'static str, &'static str)],
}

impl PrefillRules {
    /// Models of which the catalog says so continue, without a field that says so.
    pub const BY_CATALOG: PrefillRules = PrefillRules {
        takes: |model_call, kind| prefill::by_catalog(kind, model_call),
        in_responses: false,
        message: None,
        request: &[],
    };

    /// Every model continues, without a field that says so; the answer holds only what is new.
    pub const ALWAYS: PrefillRules = PrefillRules { takes: |_, _| Prefill::Exact, ..PrefillRules::BY_CATALOG };

    /// As [`PrefillRules::ALWAYS`], unless the model is to think before it answers.
    pub const UNLESS_THINKING: PrefillRules = PrefillRules { takes: unless_thinking, ..PrefillRules::BY_CATALOG };
}

fn unless_thinking(model_call: ModelCall<'_>, _kind: &str) -> Prefill {
    Prefill::Exact.only_if(Thoughts::of(&model_call.job.input) != Thoughts::Wanted)
}

/// How the reasoning of earlier turns goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reasoning {
    /// Reasoning stays as the client sends it.
    AsItComes,
    /// Reasoning goes in this field.
    In(&'static str),
    /// Reasoning is left out: the field is refused.
    Never,
}

/// What stands in the reply.
pub struct ReplyRules {
    /// Whether reasoning can come inside the text, between `<think>` and `</think>` at its start.
    pub has_think_tags: bool,
    /// Field in which the vendor says what the attempt cost.
    pub money: Money,
    /// Whether `reasoning_tokens` and `citation_tokens` beside the totals are charged on top of them
    /// (Perplexity's research).
    pub counts_beside: bool,
}

impl ReplyRules {
    /// The reply is as OpenAI's.
    pub const PLAIN: ReplyRules = ReplyRules { has_think_tags: false, money: Money::Untold, counts_beside: false };
}

/// Field of the usage in which a vendor says what the attempt cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Money {
    /// The vendor does not say it.
    Untold,
    /// The cost is in dollars, in this field: a number, or an object with `total_cost`.
    Dollars(&'static str),
    /// `cost_in_usd_ticks`: ten thousand million ticks are a dollar.
    Ticks,
}
