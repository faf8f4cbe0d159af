//! The job as the next attempt is to ask it: the same, and what there is of the answer.
//!
//! Text surgery on the input as it came: messages are added at the end of its list, limits of tokens
//! are lowered by what was spent, and no other byte changes. Knows the four forms that a chat's input
//! can have: messages (OpenAI's and Anthropic's), messages of Converse, Google's contents, and the
//! items of Responses.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::overlap::anchor;
use super::{ContinueBy, PartialAnswer};
use crate::job::Job;
use crate::meter::tokens;
use crate::provider::Prefill;
use crate::provider::chat::quoted;
use crate::provider::protocol::{converse, openai_chat};

/// Limits of an answer's tokens, at the top of an input.
const LIMITS: &[&str] = &["max_completion_tokens", "max_tokens", "max_output_tokens", "n_predict", "num_predict"];
/// The same further down: the field that holds it, and its name there.
const NESTED_LIMITS: &[(&str, &[&str])] = &[
    ("generationConfig", &["maxOutputTokens", "max_output_tokens"]),
    ("generation_config", &["maxOutputTokens", "max_output_tokens"]),
    ("inferenceConfig", &["maxTokens"]),
    ("options", &["num_predict"]),
];
/// Bytes of a beginning that the provider_client gave, from which on an answer that starts with it is taken to
/// hold it. Below it may be chance.
const BEGUN_BYTES_MIN: usize = 8;

/// What becomes of a job that is to go on.
pub(crate) enum Continued {
    /// Ask this.
    Ask {
        /// The job to encode.
        job: Arc<Job>,
        /// Whether its last message is the beginning of the answer (`Ask::prefilled`). Not so where
        /// there is no text yet, and the same is asked again.
        prefilled: bool,
    },
    /// The job's limit of tokens is reached: the answer ends here, by `length`.
    NothingLeft,
    /// This input has no place for the beginning of an answer.
    Cannot,
}

/// The job that asks for the rest of the answer, at a target whose model is `model`.
pub(crate) async fn continued(job: &Arc<Job>, partial: &PartialAnswer, way: ContinueBy, model: &str) -> Continued {
    let (text, _) = partial.split();
    let input = job.input.get();
    let fields = openai_chat::fields(&job.input).unwrap_or_default().0;
    if text.is_empty() {
        return Continued::Ask { job: Arc::clone(job), prefilled: false };
    }
    let Some(mut edits) = Form::of(&fields).and_then(|(form, list)| form.go_on(list, text, way, input)) else {
        return Continued::Cannot;
    };
    let limits = limits(&fields);
    if !limits.is_empty() {
        let spent = spent(model, text).await;
        for (raw, limit) in limits {
            if limit <= spent {
                return Continued::NothingLeft;
            }
            let left = (limit - spent).max(thinking_budget(&fields) + 1).min(limit);
            edits.push(Edit { place: place(input, raw), with: left.to_string() });
        }
    }
    let Ok(input) = RawValue::from_string(applied(input, edits)) else { return Continued::Cannot };
    let prefilled = matches!(way, ContinueBy::Prefill(_));
    Continued::Ask { job: Arc::new(Job { input, ..Job::clone(job) }), prefilled }
}

/// Tokens of the text so far. The first count unpacks tables: no work for an arbiter.
async fn spent(model: &str, text: &str) -> u64 {
    let (model, text) = (model.to_owned(), text.to_owned());
    let counted = tokio::task::spawn_blocking(move || tokens::count(&model, &text));
    counted.await.unwrap_or_default()
}

type Fields<'a> = [(Cow<'a, str>, &'a RawValue)];

/// What an input says under a name; of a field that came twice the last counts.
fn field<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    let found = fields.iter().rev().find(|(known, value)| known == name && value.get() != "null");
    found.map(|(_, value)| *value)
}

fn limits<'a>(fields: &Fields<'a>) -> Vec<(&'a RawValue, u64)> {
    let at_top = LIMITS.iter().filter_map(|name| field(fields, name));
    let deeper = NESTED_LIMITS.iter().flat_map(|(holder, names)| {
        let inner = field(fields, holder).and_then(|inner| openai_chat::fields(inner).ok()).unwrap_or_default().0;
        names.iter().filter_map(|name| field(&inner, name)).collect::<Vec<_>>()
    });
    // What is no count (-1 is Ollama's word for none) is no limit.
    at_top.chain(deeper).filter_map(|raw| Some((raw, raw.get().parse().ok()?))).collect()
}

/// The tokens that a model may think beside its answer, which Anthropic's limit must exceed.
fn thinking_budget(fields: &Fields<'_>) -> u64 {
    #[derive(Deserialize)]
    struct Thinking {
        #[serde(default)]
        budget_tokens: u64,
    }
    let said = field(fields, "thinking").and_then(|raw| serde_json::from_str::<Thinking>(raw.get()).ok());
    said.map_or(0, |thinking| thinking.budget_tokens)
}

/// A piece of the input that is written anew.
struct Edit {
    place: Range<usize>,
    with: String,
}

/// Where a value stands that was read out of `input` without copying.
fn place(input: &str, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - input.as_ptr().addr();
    start..start + raw.get().len()
}

fn applied(input: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.place.start);
    let mut out = String::with_capacity(input.len() + edits.iter().map(|edit| edit.with.len()).sum::<usize>());
    let mut done = 0;
    for Edit { place, with } in edits {
        out.push_str(&input[done..place.start]);
        out.push_str(&with);
        done = place.end;
    }
    out.push_str(&input[done..]);
    out
}

/// The form of a chat's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Messages,
    Converse,
    Contents,
    Items,
}

#[derive(Default, Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
}

impl Form {
    /// The form of an input, and its list of what was said.
    fn of<'a>(fields: &Fields<'a>) -> Option<(Form, &'a RawValue)> {
        let list = |name| field(fields, name).filter(|value| value.get().starts_with('['));
        let forms = [("messages", Form::Messages), ("contents", Form::Contents), ("input", Form::Items)];
        let (form, list) = forms.into_iter().find_map(|(name, form)| Some((form, list(name)?)))?;
        Some((if form == Form::Messages && converse::are_native(list) { Form::Converse } else { form }, list))
    }

    /// The edits that say the text so far; none where the last message leaves no room for it.
    fn go_on(self, list: &RawValue, text: &str, way: ContinueBy, input: &str) -> Option<Vec<Edit>> {
        let all: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
        let last = all.last().map(|last| serde_json::from_str(last.get())).transpose().ok()?;
        let last: Said<'_> = last.unwrap_or_default();
        let mut edits = Vec::new();
        let mut more = String::new();
        if matches!(&*last.role, "assistant" | "model") {
            // The provider_client has begun the answer, and this is the same message.
            let content = last.content.filter(|_| self == Form::Messages && last.tool_calls.is_none())?;
            let begun: String = serde_json::from_str(content.get()).ok()?;
            edits.push(Edit { place: place(input, content), with: quoted(&joined(&begun, text, way)?) });
        } else {
            more.push_str(&self.message(true, text));
        }
        if way == ContinueBy::Turn || way == ContinueBy::Prefill(Prefill::No) {
            more.push_str(&self.message(false, &plea(text)));
        }
        if all.is_empty() {
            // Nothing comes before the first.
            more.remove(0);
        }
        let end = place(input, list).end - 1;
        edits.push(Edit { place: end..end, with: more });
        Some(edits)
    }

    /// A message of the model or of the user, after others.
    fn message(self, is_models: bool, text: &str) -> String {
        let text = quoted(text);
        let role = match (is_models, self) {
            (true, Form::Contents) => "model",
            (true, _) => "assistant",
            (false, _) => "user",
        };
        match self {
            Form::Messages => format!(r#",{{"role":"{role}","content":{text}}}"#),
            Form::Converse => format!(r#",{{"role":"{role}","content":[{{"text":{text}}}]}}"#),
            Form::Contents => format!(r#",{{"role":"{role}","parts":[{{"text":{text}}}]}}"#),
            Form::Items => {
                let kind = if is_models { "output_text" } else { "input_text" };
                // The long form, which every server takes.
                let content = format!(r#"[{{"type":"{kind}","text":{text}}}]"#);
                format!(r#",{{"type":"message","role":"{role}","content":{content}}}"#)
            }
        }
    }
}

/// What the provider_client had begun, and the text so far, which holds that where the provider repeats it.
fn joined<'a>(begun: &str, text: &'a str, way: ContinueBy) -> Option<Cow<'a, str>> {
    let repeats = way == ContinueBy::Prefill(Prefill::Repeats);
    let is_held = text.starts_with(begun.trim_end()) && (repeats || begun.len() >= BEGUN_BYTES_MIN);
    match is_held {
        true => Some(text.into()),
        // It would come back with what is not of the text so far.
        false if repeats && !begun.is_empty() => None,
        false => Some(format!("{begun}{text}").into()),
    }
}

/// What asks a model to go on that does not by itself.
fn plea(text: &str) -> String {
    let anchor = anchor(text);
    format!(
        "Your answer was cut off by a broken connection. Go on from exactly where it stopped. Begin by repeating \
         its last words exactly as they are: «{anchor}» and then go on with what comes after them. Write no \
         introduction, no apology and no remark. If the answer was complete, repeat these words and stop."
    )
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
