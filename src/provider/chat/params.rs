//! The parameters of a chat: taken one by one, and what is left is not silently lost.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::typed;
use crate::job::{Failure, Fields};
use crate::provider::protocol::openai_chat;

/// Parameters that change nothing at a provider that does not know them: the user and what the
/// caller notes down, the form in which the stream comes, which is ours to choose, and what is said to
/// Anthropic alone.
const HARMLESS: &[&str] =
    &["stream", "stream_options", "user", "metadata", "store", "safety_identifier", "prompt_cache_key", ANTHROPIC];

/// The field that holds what a client of Anthropic's dialect says to Anthropic alone: what is in it goes
/// there as it came, and counts before what the rest of the chat says of the same. Every other provider
/// ignores it. A tool may have one too.
pub const ANTHROPIC: &str = "anthropic";

/// The fields of an input that are not taken yet. Null is the same as absent.
pub struct Params<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Params<'a> {
    /// The fields of `input`.
    ///
    /// # Errors
    /// `invalid` when it is not an object.
    pub fn read(input: &'a RawValue) -> Result<Params<'a>, Failure> {
        let mut fields = openai_chat::fields(input)?.0;
        fields.retain(|(_, value)| value.get() != "null");
        Ok(Params(fields))
    }

    /// Whether there is such a field.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A field without taking it.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Takes a field as it came. Of a field that came twice the last counts.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let value = self.peek(name);
        self.0.retain(|(known, _)| known != name);
        value
    }

    /// Takes the first of these names that is there; the others are taken as well.
    pub fn take_first(&mut self, names: &[&str]) -> Option<&'a RawValue> {
        names.iter().fold(None, |found, name| found.or(self.take(name)))
    }

    /// Takes a field of this type.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn take_as<T: Deserialize<'a>>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        self.take(name).map(|value| typed(value, &format!("input.{name}"))).transpose()
    }

    /// Takes a number as it is written.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn take_number(&mut self, name: &str) -> Result<Option<&'a RawValue>, Failure> {
        let value = self.take(name);
        match value {
            Some(value) if serde_json::from_str::<f64>(value.get()).is_err() => {
                Err(Failure::invalid(&format!("input.{name}"), "must be a number"))
            }
            value => Ok(value),
        }
    }

    /// Takes the most tokens that the answer may have, by either of its names.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn take_max_tokens(&mut self) -> Result<Option<u64>, Failure> {
        let newer = self.take_as("max_completion_tokens")?;
        let older = self.take_as("max_tokens")?;
        Ok(newer.or(older))
    }

    /// Takes `stop`: one text or several.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn take_stop(&mut self) -> Result<Vec<Cow<'a, str>>, Failure> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stop {
            One(String),
            Several(Vec<String>),
        }
        let Some(stop) = self.take("stop") else { return Ok(Vec::new()) };
        match serde_json::from_str(stop.get()) {
            Ok(Stop::One(text)) => Ok(vec![text.into()]),
            Ok(Stop::Several(texts)) => Ok(texts.into_iter().map(Cow::Owned).collect()),
            Err(_) => Err(Failure::invalid("input.stop", "must be a string or a list of strings")),
        }
    }

    /// Takes `reasoning_effort`, or the `effort` of `reasoning`.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn take_effort(&mut self) -> Result<Option<String>, Failure> {
        #[derive(Deserialize)]
        struct Reasoning {
            effort: Option<String>,
        }
        let plain = self.take_as::<String>("reasoning_effort")?;
        let only_effort = self.peek("reasoning").is_some_and(|value| value.get().contains("\"effort\""));
        let nested = if plain.is_none() && only_effort { self.take_as::<Reasoning>("reasoning")? } else { None };
        Ok(plain.or(nested.and_then(|reasoning| reasoning.effort)))
    }

    /// Takes everything that is left and is named here: a provider's own fields, handed on as they
    /// came.
    pub fn take_all(&mut self, names: &[&str]) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(name, _)| names.contains(&&**name));
        self.0 = left;
        taken
    }

    /// Takes everything that is left.
    pub fn take_rest(&mut self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        std::mem::take(&mut self.0)
    }

    /// Ends the taking. What is left and asks for something is not supported by `provider`: its
    /// names, if the job wants such fields dropped.
    ///
    /// # Errors
    /// `unsupported`, naming the first field; another target may take it.
    pub fn finish(self, provider: &str, drop_unsupported: bool) -> Result<Vec<Box<str>>, Failure> {
        let mut left = self.0.into_iter().filter(|(name, value)| asks(name, value.get())).map(|(name, _)| name);
        if drop_unsupported {
            return Ok(left.map(|name| format!("input.{name}").into()).collect());
        }
        match left.next() {
            None => Ok(Vec::new()),
            Some(name) => Err(unsupported(&format!("input.{name}"), provider)),
        }
    }
}

/// The refusal of a field that this provider does not take; another may.
#[must_use]
pub fn unsupported(param: &str, provider: &str) -> Failure {
    let message = format!("{provider} does not take it; options.drop_unsupported leaves such fields out");
    Failure::unsupported(param, message).of_the_target()
}

/// Whether nothing of the reasoning is asked for but that it is told.
fn is_only_summary(reasoning: &str) -> bool {
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(reasoning) else { return false };
    fields.0.iter().all(|(name, value)| matches!(&**name, "summary" | "generate_summary") || value.get() == "null")
}

/// Whether leaving the field out would change the answer: `n: 1`, `logprobs: false` and the like ask
/// for what every provider does anyway, and some are only for the caller's own notes.
#[must_use]
pub fn asks(name: &str, value: &str) -> bool {
    match (name, value) {
        (name, _) if HARMLESS.contains(&name) => false,
        // The one switch that is on unless the job turns it off.
        ("parallel_tool_calls", raw) => raw != "true",
        (_, "false" | "[]" | "{}" | "\"\"") => false,
        ("n", "1") | ("service_tier", "\"auto\"" | "\"default\"") => false,
        ("frequency_penalty" | "presence_penalty" | "top_logprobs", zero) => {
            serde_json::from_str::<f64>(zero).map_or(true, |number| number != 0.0)
        }
        // Whatever reasoning there is is told.
        ("reasoning", raw) => !is_only_summary(raw),
        ("modalities", list) => list.replace(char::is_whitespace, "") != "[\"text\"]",
        _ => true,
    }
}
