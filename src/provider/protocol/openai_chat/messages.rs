//! Messages as a vendor takes them: what it refuses is left out or named, the rest stays as it came.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::draft::Draft;
use super::rules::{MessageRules, Reasoning};
use crate::job::Failure;
use crate::job::Fields;
use crate::provider::chat::{self, Body, quoted};

/// Fields in which OpenAI's own answers say that there is nothing.
const OFTEN_EMPTY: &[&str] = &["refusal", "annotations", "audio", "function_call"];

/// The messages by the rules, or nothing where the rules change nothing. `continues` is the field that
/// a last message of the assistant must have set.
///
/// # Errors
/// `invalid` for what is no list of messages, `unsupported` naming the part or the field.
pub(super) fn rewrite(
    rules: &MessageRules,
    continues: Option<&'static str>,
    draft: &mut Draft<'_>,
    json: &str,
) -> Result<Option<String>, Failure> {
    if !concerns(rules, json) && continues.is_none_or(|_| !has(json, "\"assistant\"")) {
        return Ok(None);
    }
    let parsed: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|_| Failure::invalid("input.messages", "must be a list"))?;
    let mut out = Vec::with_capacity(parsed.len());
    for (at, raw) in parsed.iter().enumerate() {
        let param = format!("input.messages[{at}]");
        let fields: Fields<'_> =
            serde_json::from_str(raw.get()).map_err(|_| Failure::invalid(&param, "must be an object"))?;
        let role = fields.0.iter().find(|(name, _)| name == "role").map_or("", |(_, role)| role.get());
        let continues = continues.filter(|_| at + 1 == parsed.len() && role == "\"assistant\"");
        let message = Message { rules, param, role, continues };
        out.push(message.write(&fields, draft)?);
    }
    Ok(Some(format!("[{}]", out.join(","))))
}

/// Whether any rule may find something: most conversations hold nothing of the kind, and then they
/// are not taken apart.
fn concerns(rules: &MessageRules, json: &str) -> bool {
    let has = |words: &str| has(json, words);
    (rules.only_system && has("\"developer\""))
        || (rules.without_foreign && (has("_details\"") || has("\"extra_content\"")))
        || (rules.without_foreign && OFTEN_EMPTY.iter().any(|name| has(name)))
        || (rules.reasoning != Reasoning::AsItComes && has("\"reasoning"))
        || (rules.without_names && has("\"name\""))
        || ((rules.parts.is_some() || rules.rewrite_part.is_some()) && has("\"type\""))
        || (rules.call_id.is_some() && has("\"tool_call"))
}

fn has(json: &str, words: &str) -> bool {
    memmem::find(json.as_bytes(), words.as_bytes()).is_some()
}

struct Message<'r> {
    rules: &'r MessageRules,
    param: String,
    /// JSON text of the role.
    role: &'r str,
    continues: Option<&'static str>,
}

impl Message<'_> {
    fn write(&self, fields: &Fields<'_>, draft: &mut Draft<'_>) -> Result<String, Failure> {
        let rules = self.rules;
        let mut body = Body::default();
        let mut has_reasoning = false;
        for (name, value) in &fields.0 {
            let value = value.get();
            match &**name {
                "role" if rules.only_system && value == "\"developer\"" => body.put("role", "system"),
                "reasoning_details" if rules.without_foreign => continue,
                empty if rules.without_foreign && OFTEN_EMPTY.contains(&empty) && matches!(value, "null" | "[]") => {
                    continue;
                }
                "reasoning" | "reasoning_content" if rules.reasoning != Reasoning::AsItComes => {
                    if let (Reasoning::In(field), false, false) = (rules.reasoning, has_reasoning, value == "null") {
                        has_reasoning = true;
                        body.put_json(field, value);
                    }
                    continue;
                }
                "name" if rules.without_names => {
                    if value != "null" && self.role != "\"tool\"" {
                        draft.refuse(format!("{}.name", self.param))?;
                    }
                    continue;
                }
                "content" if value.starts_with('[') => body.put_json(name, &self.content(value, draft)?),
                "tool_calls" if value.starts_with('[') => body.put_json(name, &self.calls(value)?),
                "tool_call_id" => body.put_json(name, &self.call_id(value)),
                _ => body.put_json(name, value),
            };
        }
        if let Some(field) = self.continues
            && !fields.0.iter().any(|(name, _)| name == field)
        {
            body.put_json(field, "true");
        }
        Ok(body.into_json())
    }

    fn content<'a>(&self, json: &'a str, draft: &Draft<'_>) -> Result<Cow<'a, str>, Failure> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, rename = "type", default)]
            kind: Cow<'a, str>,
        }
        if self.rules.parts.is_none() && self.rules.rewrite_part.is_none() {
            return Ok(json.into());
        }
        let parts: Vec<&RawValue> = serde_json::from_str(json)
            .map_err(|_| Failure::invalid(&format!("{}.content", self.param), "must be a list of parts"))?;
        let mut out = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let param = format!("{}.content[{at}]", self.param);
            let Kind { kind } = serde_json::from_str(part.get())
                .map_err(|_| Failure::invalid(&param, "must be an object with a type"))?;
            if self.rules.parts.is_some_and(|known| !known.contains(&&*kind)) {
                return Err(chat::unsupported(&param, draft.provider));
            }
            let other = self.rules.rewrite_part.and_then(|rewrite| rewrite(&kind, part.get()));
            out.push(other.map_or(Cow::Borrowed(part.get()), Cow::Owned));
        }
        Ok(format!("[{}]", out.join(",")).into())
    }

    fn calls<'a>(&self, json: &'a str) -> Result<Cow<'a, str>, Failure> {
        if self.rules.call_id.is_none() && !self.rules.without_foreign {
            return Ok(json.into());
        }
        let wrong = || Failure::invalid(&format!("{}.tool_calls", self.param), "must be a list of calls");
        let calls: Vec<Fields<'_>> = serde_json::from_str(json).map_err(|_| wrong())?;
        let mut out = Vec::with_capacity(calls.len());
        for call in &calls {
            let mut body = Body::default();
            for (name, value) in &call.0 {
                match &**name {
                    "extra_content" if self.rules.without_foreign => continue,
                    "id" => body.put_json(name, &self.call_id(value.get())),
                    _ => body.put_json(name, value.get()),
                };
            }
            out.push(body.into_json());
        }
        Ok(format!("[{}]", out.join(",")).into())
    }

    fn call_id<'a>(&self, json: &'a str) -> Cow<'a, str> {
        let Some(form) = self.rules.call_id else { return json.into() };
        match serde_json::from_str::<Cow<'_, str>>(json) {
            Ok(id) => quoted(&form(&id)).into(),
            Err(_) => json.into(),
        }
    }
}
