//! A request under construction: fields in order, their values as they came until a rule says
//! otherwise.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::rules::Rules;
use crate::job::Failure;
use crate::provider::chat;

/// The fields of a request, without `model` and what is said of the stream.
pub struct Draft<'a> {
    /// The provider's id of the model.
    pub model: &'a str,
    /// The provider's name, for errors.
    pub provider: &'a str,
    /// Path of the endpoint, after the base URL.
    pub path: &'static str,
    drop_unsupported: bool,
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    dropped: Vec<Box<str>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(model: &'a str, provider: &'a str, path: &'static str, drop_unsupported: bool) -> Draft<'a> {
        Draft { model, provider, path, drop_unsupported, fields: Vec::new(), dropped: Vec::new() }
    }

    /// The JSON text of a field; null is the same as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(known, value)| known == name && value != "null").map(|(_, value)| &**value)
    }

    /// Whether there is such a field.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Takes a field out.
    pub fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let found = self.fields.iter().rposition(|(known, value)| known == name && value != "null");
        let value = found.map(|at| self.fields.remove(at).1);
        self.fields.retain(|(known, _)| known != name);
        value
    }

    /// Sets a field, in its place if it is there.
    pub fn put(&mut self, name: &'static str, json: impl Into<Cow<'a, str>>) {
        let json = json.into();
        match self.fields.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, value)) => *value = json,
            None => self.fields.push((name.into(), json)),
        }
    }

    /// Says that something is not supported: leaves it out if the job wants that.
    ///
    /// # Errors
    /// `unsupported`, naming it.
    pub fn refuse(&mut self, param: String) -> Result<(), Failure> {
        if !self.drop_unsupported {
            return Err(chat::unsupported(&param, self.provider));
        }
        self.dropped.push(param.into());
        Ok(())
    }

    /// Takes the fields of an input, by the tables of the rules.
    pub(super) fn fill(&mut self, rules: &Rules, input: Vec<(Cow<'a, str>, &'a str)>) -> Result<(), Failure> {
        let is_said = |name: &str| input.iter().any(|(known, value)| known == name && *value != "null");
        for (name, value) in &input {
            let value = *value;
            let rename = rules.renames.iter().find(|(old, _)| *old == name);
            let shadow = rules.renames.iter().find(|(_, new)| *new == name);
            if let Some((_, new)) = rename {
                if is_newer_limit(name) || !is_said(new) {
                    self.fields.push(((*new).into(), value.into()));
                }
            } else if shadow.is_some_and(|(old, _)| is_newer_limit(old) && is_said(old)) {
                // The newer of the two limits counts.
            } else if self.is_refused(rules, name, value) {
                if value != "null" && chat::asks(name, value) {
                    self.refuse(format!("input.{name}"))?;
                }
            } else {
                self.fields.push((name.clone(), word(rules, name, value).into()));
            }
        }
        if !rules.takes_reasoning_object {
            self.flatten_effort(rules)?;
        }
        Ok(())
    }

    /// `reasoning: {"effort": …}`, which is OpenRouter's and the Responses', as `reasoning_effort`.
    fn flatten_effort(&mut self, rules: &Rules) -> Result<(), Failure> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Only<'a> {
            #[serde(borrow, default)]
            effort: Option<&'a RawValue>,
            /// Whatever reasoning there is is told.
            #[serde(default, rename = "summary")]
            _summary: IgnoredAny,
            #[serde(default, rename = "generate_summary")]
            _generate_summary: IgnoredAny,
        }
        let Some(raw) = self.get("reasoning") else { return Ok(()) };
        let Ok(effort) = serde_json::from_str::<Only<'_>>(raw) else {
            // Something else of that name: the provider's own, or unknown.
            let is_refused = rules.takes_only.is_some() && self.take("reasoning").is_some();
            return if is_refused { self.refuse("input.reasoning".to_owned()) } else { Ok(()) };
        };
        let effort = effort.effort.map(|effort| word(rules, "reasoning_effort", effort.get()).to_owned());
        self.take("reasoning");
        if let Some(effort) = effort.filter(|_| !self.has("reasoning_effort")) {
            self.put("reasoning_effort", effort);
        }
        Ok(())
    }

    fn is_refused(&self, rules: &Rules, name: &str, value: &str) -> bool {
        rules.refuses.iter().any(|names| names.contains(&name))
            || rules.takes_only.is_some_and(|known| !known.contains(&name))
            || rules.refuses_words.iter().any(|(field, word)| *field == name && value.contains(word))
    }

    pub(super) fn into_parts(self) -> (Vec<(Cow<'a, str>, Cow<'a, str>)>, Vec<Box<str>>) {
        (self.fields, self.dropped)
    }
}

/// Whose word counts where both limits are given; of other fields the vendor's own name counts.
fn is_newer_limit(name: &str) -> bool {
    name == "max_completion_tokens"
}

/// A value as this vendor words it.
fn word<'a>(rules: &Rules, name: &str, value: &'a str) -> &'a str {
    if let Some((.., there)) = rules.words.iter().find(|(field, here, _)| *field == name && *here == value) {
        return there;
    }
    let limit = rules.most.iter().find(|(field, ..)| *field == name);
    match limit {
        Some((_, most, text)) if value.parse::<f64>().is_ok_and(|number| number > *most) => text,
        _ => value,
    }
}
