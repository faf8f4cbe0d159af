//! Makes the input of the next attempt: the job's own, and the answer so far.
//!
//! Edits the text of the input as it came: messages are added at the end of its list, token limits are
//! lowered by what was used, and no other byte changes. Knows the four forms that a chat's input can have:
//! messages (OpenAI's and Anthropic's), messages of Converse, Google's contents, and the items of
//! Responses.

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

/// Names of the fields at the top of an input that limit the tokens of an answer.
const LIMITS: &[&str] = &["max_completion_tokens", "max_tokens", "max_output_tokens", "n_predict", "num_predict"];
/// The same limits further down: the field that holds each, and its name there.
const NESTED_LIMITS: &[(&str, &[&str])] = &[
    ("generationConfig", &["maxOutputTokens", "max_output_tokens"]),
    ("generation_config", &["maxOutputTokens", "max_output_tokens"]),
    ("inferenceConfig", &["maxTokens"]),
    ("options", &["num_predict"]),
];
/// Number of bytes of a beginning given by the caller from which on an answer that starts with it is taken
/// to contain it. Below that it may be chance.
const BEGUN_BYTES_MIN: usize = 8;

/// What the next attempt of a job is.
pub(crate) enum Continued {
    /// The next attempt asks this.
    Ask {
        /// The job to encode.
        job: Arc<Job>,
        /// Whether its last message is the beginning of the answer (`Ask::prefilled`). It is not where
        /// there is no text yet and the same request is sent again.
        prefilled: bool,
    },
    /// The job's token limit is reached: the answer ends here, with `length`.
    NothingLeft,
    /// This input has no place for the beginning of an answer.
    Cannot,
}

/// Returns the job that asks for the rest of the answer, at a target whose model is `model`.
pub(crate) async fn continued(job: &Arc<Job>, partial: &PartialAnswer, by: ContinueBy, model: &str) -> Continued {
    let (text, _) = partial.split();
    let input = job.input.get();
    let fields = openai_chat::fields(&job.input).unwrap_or_default().0;
    if text.is_empty() {
        return Continued::Ask { job: Arc::clone(job), prefilled: false };
    }
    let Some(mut edits) = Form::of(&fields).and_then(|(form, list)| form.continue_with(list, text, by, input)) else {
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
    let prefilled = matches!(by, ContinueBy::Prefill(_));
    Continued::Ask { job: Arc::new(Job { input, ..Job::clone(job) }), prefilled }
}

/// Counts the tokens of the text so far. The first count unpacks tables, which is no work for an arbiter.
async fn spent(model: &str, text: &str) -> u64 {
    let (model, text) = (model.to_owned(), text.to_owned());
    let counted = tokio::task::spawn_blocking(move || tokens::count(&model, &text));
    counted.await.unwrap_or_default()
}

type Fields<'a> = [(Cow<'a, str>, &'a RawValue)];

/// The values of an input under one name; of a field that came twice the last counts.
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
    // What is not a count (-1 is Ollama's word for no limit) limits nothing.
    at_top.chain(deeper).filter_map(|raw| Some((raw, raw.get().parse().ok()?))).collect()
}

/// Number of tokens that a model may use for reasoning, which Anthropic's limit must exceed.
fn thinking_budget(fields: &Fields<'_>) -> u64 {
    #[derive(Deserialize)]
    struct Thinking {
        #[serde(default)]
        budget_tokens: u64,
    }
    let thinking = field(fields, "thinking").and_then(|raw| serde_json::from_str::<Thinking>(raw.get()).ok());
    thinking.map_or(0, |thinking| thinking.budget_tokens)
}

/// A piece of the input that is replaced.
struct Edit {
    place: Range<usize>,
    with: String,
}

/// The position of a value that was read out of `input` without copying.
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
struct Message<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    tool_calls: Option<IgnoredAny>,
}

impl Form {
    /// Returns the form of an input, and its list of messages.
    fn of<'a>(fields: &Fields<'a>) -> Option<(Form, &'a RawValue)> {
        let list = |name| field(fields, name).filter(|value| value.get().starts_with('['));
        let forms = [("messages", Form::Messages), ("contents", Form::Contents), ("input", Form::Items)];
        let (form, list) = forms.into_iter().find_map(|(name, form)| Some((form, list(name)?)))?;
        Some((if form == Form::Messages && converse::are_native(list) { Form::Converse } else { form }, list))
    }

    /// Returns the edits that add the text so far; none where the last message leaves no room for it.
    fn continue_with(self, list: &RawValue, text: &str, by: ContinueBy, input: &str) -> Option<Vec<Edit>> {
        let all: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
        let last = all.last().map(|last| serde_json::from_str(last.get())).transpose().ok()?;
        let last: Message<'_> = last.unwrap_or_default();
        let mut edits = Vec::new();
        let mut more = String::new();
        if matches!(&*last.role, "assistant" | "model") {
            // The caller has begun the answer, and this is the same message.
            let content = last.content.filter(|_| self == Form::Messages && last.tool_calls.is_none())?;
            let begun: String = serde_json::from_str(content.get()).ok()?;
            edits.push(Edit { place: place(input, content), with: quoted(&joined(&begun, text, by)?) });
        } else {
            more.push_str(&self.message(true, text));
        }
        if by == ContinueBy::Turn || by == ContinueBy::Prefill(Prefill::No) {
            more.push_str(&self.message(false, &plea(text)));
        }
        if all.is_empty() {
            // The first element has none before it.
            more.remove(0);
        }
        let end = place(input, list).end - 1;
        edits.push(Edit { place: end..end, with: more });
        Some(edits)
    }

    /// Writes a message of the model or of the user, after others.
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
                // The long form, which every server accepts.
                let content = format!(r#"[{{"type":"{kind}","text":{text}}}]"#);
                format!(r#",{{"type":"message","role":"{role}","content":{content}}}"#)
            }
        }
    }
}

/// Joins what the caller had begun with the text so far, which contains it where the provider repeats it.
fn joined<'a>(begun: &str, text: &'a str, by: ContinueBy) -> Option<Cow<'a, str>> {
    let repeats = by == ContinueBy::Prefill(Prefill::Repeats);
    let is_held = text.starts_with(begun.trim_end()) && (repeats || begun.len() >= BEGUN_BYTES_MIN);
    match is_held {
        true => Some(text.into()),
        // It would come back with what is not part of the text so far.
        false if repeats && !begun.is_empty() => None,
        false => Some(format!("{begun}{text}").into()),
    }
}

/// The turn that asks a model to continue when it does not do so by itself.
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
