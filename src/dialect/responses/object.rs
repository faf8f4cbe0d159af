//! The response object: what is known of a job, in OpenAI's terms.
//!
//! Owns what is repeated of the request (as its client wrote it), the status, and why there is no
//! whole answer. Of a job whose payload is not kept nothing is repeated, from its first event on.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::PREFIX;
use super::answer::{Item, Progress};
use crate::job::{Code, Event, Failure, Fields, JobId, Timestamp, Usage};
use crate::wire::collect::failure_of;

/// Fields that a response repeats, and their defaults. Optional fields for which OpenAI
/// itself has none have no default.
const REPEATED: &[(&str, Option<&str>)] = &[
    ("background", Some("false")),
    ("conversation", None),
    ("instructions", Some("null")),
    ("max_output_tokens", Some("null")),
    ("max_tool_calls", None),
    ("metadata", Some("{}")),
    ("parallel_tool_calls", Some("true")),
    ("previous_response_id", Some("null")),
    ("prompt", None),
    ("prompt_cache_key", None),
    ("prompt_cache_retention", None),
    ("reasoning", Some(r#"{"effort":null,"summary":null}"#)),
    ("safety_identifier", None),
    ("service_tier", None),
    ("store", None),
    ("temperature", Some("null")),
    ("text", Some(r#"{"format":{"type":"text"}}"#)),
    ("tool_choice", Some("\"auto\"")),
    ("tools", Some("[]")),
    ("top_logprobs", None),
    ("top_p", Some("null")),
    ("truncation", Some("\"disabled\"")),
    ("user", None),
];

/// Whether answers repeat this field of a request.
pub(super) fn is_repeated(name: &str) -> bool {
    REPEATED.iter().any(|(known, _)| *known == name)
}

/// Which job it is.
#[derive(Clone, Debug)]
pub struct ResponseMeta {
    /// Id of the job.
    pub job: JobId,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// [`crate::job::Job::echo`]; `None` unless the job's payload is kept.
    pub echo: Option<Box<RawValue>>,
    /// Whether the job's payload is kept.
    pub is_kept: bool,
}

/// A response as far as it has come.
pub(super) struct Response<'a> {
    pub(super) about: &'a ResponseMeta,
    pub(super) model: &'a str,
    pub(super) items: &'a [Item],
    /// Whether an attempt was made.
    pub(super) is_begun: bool,
    pub(super) end: Option<&'a Event>,
}

impl ResponseMeta {
    /// Returns whether the response runs in the background, so that no client waits for it.
    pub(super) fn is_in_background(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Peek {
            #[serde(default)]
            background: Option<bool>,
        }
        let peek = self.echo.as_ref().and_then(|echo| serde_json::from_str::<Peek>(echo.get()).ok());
        peek.and_then(|peek| peek.background).unwrap_or(false)
    }
}

impl Response<'_> {
    /// Where it stands: `queued`, `in_progress`, `completed`, `incomplete`, `failed`, `cancelled`.
    pub(super) fn status(&self) -> &'static str {
        match self.end {
            Some(Event::Completed(end)) if why_incomplete(&end.finish_reason).is_some() => "incomplete",
            Some(Event::Completed(_)) => "completed",
            Some(Event::Cancelled(_)) => "cancelled",
            Some(_) => "failed",
            None if self.is_begun || !self.about.is_in_background() => "in_progress",
            None => "queued",
        }
    }

    /// Appends it as JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let job = &self.about.job;
        let progress = if self.end.is_some() { Progress::BrokenOff } else { Progress::Sent };
        let output: Vec<Value> = (0..).zip(self.items).map(|(at, item)| item.json(job, at, progress)).collect();
        let why = match self.end {
            Some(Event::Completed(end)) => why_incomplete(&end.finish_reason),
            _ => None,
        };
        out.extend_from_slice(b"{\"id\":");
        write(&format!("{PREFIX}{job}"), out);
        for (name, value) in [
            ("object", json!("response")),
            ("created_at", json!(self.about.submitted_at.0 / 1000)),
            ("status", self.status().into()),
            ("error", self.end.and_then(failure_of).map(|failure| error(&failure)).into()),
            ("incomplete_details", why.map(|reason| json!({"reason": reason})).into()),
            ("model", self.model.into()),
            ("output", output.into()),
            ("usage", self.end.and_then(usage_of).and_then(usage).into()),
        ] {
            field(name, out);
            write(&value, out);
        }
        self.repeat(out);
        out.push(b'}');
    }

    fn repeat(&self, out: &mut Vec<u8>) {
        let echo = self.about.echo.as_ref().and_then(|echo| serde_json::from_str::<Fields<'_>>(echo.get()).ok());
        let repeated = echo.unwrap_or_default().0;
        for (name, default) in REPEATED {
            let repeated = repeated.iter().find(|(known, _)| known == name).map(|(_, value)| value.get());
            let kept = if self.about.is_kept { "true" } else { "false" };
            let default = if *name == "store" { Some(kept) } else { *default };
            if let Some(value) = repeated.or(default) {
                field(name, out);
                out.extend_from_slice(value.as_bytes());
            }
        }
    }
}

/// Why an answer is not whole, if it is not.
fn why_incomplete(finish_reason: &str) -> Option<&'static str> {
    match finish_reason {
        "length" => Some("max_output_tokens"),
        "content_filter" => Some("content_filter"),
        _ => None,
    }
}

/// A failure in the terms of a response; `type` is our own code.
fn error(failure: &Failure) -> Value {
    let code = match (failure.code, failure.http_status()) {
        (Code::RateLimited | Code::OverBudget | Code::ProviderRateLimited, _) => "rate_limit_exceeded",
        (Code::Cancelled, _) | (_, 500..) => "server_error",
        _ => "invalid_prompt",
    };
    json!({"code": code, "message": failure.message, "type": failure.code})
}

fn usage_of(end: &Event) -> Option<&Usage> {
    match end {
        Event::Completed(end) => Some(&end.usage),
        Event::Failed(end) => Some(&end.usage),
        Event::Cancelled(end) => Some(&end.usage),
        Event::Interrupted(end) => Some(&end.usage),
        _ => None,
    }
}

/// `None` where nothing is known; otherwise no count is left out, so one that is not known is 0.
fn usage(usage: &Usage) -> Option<Value> {
    if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
        return None;
    }
    let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
    Some(json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens.unwrap_or(0),
            "cache_write_tokens": usage.cache_write_tokens.unwrap_or(0),
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens.unwrap_or(0)},
        "total_tokens": input.saturating_add(output),
    }))
}

fn field(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends plain data as JSON.
pub(super) fn write(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("plain data is JSON, and a Vec takes every byte");
}
