//! What one vendor of the dialect does otherwise, as data.
//!
//! Owns the vocabulary in which `vendor/*` says it: fields that have another name, fields that are
//! refused, values that are worded otherwise, what a message may hold, and what stands in the
//! reply. `Rules::PLAIN` is the dialect as OpenAI speaks it; an endpoint with those rules gets the
//! job's input byte for byte. What no rule names is handed on unchanged: it may be the vendor's own.

use std::borrow::Cow;

use super::draft::Draft;
use crate::job::Failure;
use crate::provider::family::error::Quirk;

/// What a vendor does otherwise.
pub struct Rules {
    /// Where chats go, after the base URL.
    pub path: &'static str,
    /// Whether `stream_options` is understood. Where it is not, usage comes unasked.
    pub takes_stream_options: bool,
    /// Fields that have another name there. The new name's own value counts only where the old one
    /// is absent.
    pub renames: &'static [(&'static str, &'static str)],
    /// Fields that are refused: by the vendor, or by being ignored without a word.
    pub refuses: &'static [&'static str],
    /// The only fields that are taken, for vendors that answer any other with an error.
    pub takes_only: Option<&'static [&'static str]>,
    /// Values that are worded otherwise: field, JSON text, JSON text there.
    pub words: &'static [(&'static str, &'static str, &'static str)],
    /// Values, or beginnings of them, that are refused: field, what stands in its JSON text.
    pub refuses_words: &'static [(&'static str, &'static str)],
    /// The largest value of a number that may be larger elsewhere, as JSON text.
    pub most: &'static [(&'static str, f64, &'static str)],
    /// What takes more than a table.
    pub translate: Option<Translate>,
    /// What a message may hold.
    pub messages: MessageRules,
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
        path: "/chat/completions",
        takes_stream_options: true,
        renames: &[],
        refuses: &[],
        takes_only: None,
        words: &[],
        refuses_words: &[],
        most: &[],
        translate: None,
        messages: MessageRules::PLAIN,
        reply: ReplyRules::PLAIN,
        errors: &[],
    };
}

/// What a message may hold.
pub struct MessageRules {
    /// Whether rules come from `system` only: `developer` is OpenAI's own word for it.
    pub only_system: bool,
    /// Whether what other providers need back (`reasoning_details`, `extra_content` of a call) is
    /// left out: nobody else can read it, and strict vendors refuse the whole request.
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
}

/// Writes a part otherwise: its `type`, its JSON.
pub type RewritePart = fn(&str, &str) -> Option<String>;

impl MessageRules {
    /// As they come.
    pub const PLAIN: MessageRules = MessageRules {
        only_system: false,
        without_foreign: false,
        reasoning: Reasoning::AsItComes,
        without_names: false,
        parts: None,
        rewrite_part: None,
        call_id: None,
        continues: None,
    };

    /// What holds for most vendors that are not OpenAI.
    pub const USUAL: MessageRules = MessageRules { only_system: true, without_foreign: true, ..MessageRules::PLAIN };
}

/// How the reasoning of earlier turns goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reasoning {
    /// As the client sends it.
    AsItComes,
    /// In this field.
    In(&'static str),
    /// Not at all: the field is refused.
    Never,
}

/// What stands in the reply.
pub struct ReplyRules {
    /// Whether reasoning can come inside the text, between `<think>` and `</think>` at its start.
    pub has_think_tags: bool,
    /// Where the vendor says what it cost.
    pub money: Money,
    /// Whether `reasoning_tokens` and `citation_tokens` beside the totals are charged on top of them
    /// (Perplexity's research).
    pub counts_beside: bool,
}

impl ReplyRules {
    /// As OpenAI replies.
    pub const PLAIN: ReplyRules = ReplyRules { has_think_tags: false, money: Money::Untold, counts_beside: false };
}

/// Where a vendor says in its usage what the attempt cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Money {
    /// Nowhere.
    Untold,
    /// In dollars, in this field: a number, or an object with `total_cost`.
    Dollars(&'static str),
    /// `cost_in_usd_ticks`: ten thousand million ticks are a dollar.
    Ticks,
}
