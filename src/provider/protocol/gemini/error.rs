//! What Google's errors mean: `google.rpc.Status`, alone or wrapped in a list.

use serde_json::Value;

use crate::job::{Code, Failure};
use crate::provider::Headers;
use crate::provider::protocol::error;

/// Words of a 429 that no wait of ours will heal: money, or a limit of none at all.
const SPENT: &[&str] = &["prepayment credits", "spending cap", "limit: 0,", "limit: 0\n"];
/// The longest wait that is believed: an hour.
const WAIT_MS_MAX: f64 = 3_600_000.0;

/// An answer with an error status.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8]) -> Failure {
    match unwrapped(body) {
        Some(body) => refine(error::classify(status, headers, body.to_string().as_bytes()), status, &body),
        None => error::classify(status, headers, body),
    }
}

/// An error inside a reply whose status was fine.
pub(super) fn in_reply(body: &[u8]) -> Failure {
    match unwrapped(body) {
        Some(body) => {
            let status = body["error"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let failure = error::in_reply(body.to_string().as_bytes());
            refine(failure, status.unwrap_or(0), &body)
        }
        None => error::in_reply(body),
    }
}

/// The error object, without the list that streams without `alt=sse` put around it; text stays text.
fn unwrapped(body: &[u8]) -> Option<Value> {
    match serde_json::from_slice(body) {
        Ok(Value::Array(list)) => list.into_iter().next(),
        Ok(value) => Some(value),
        Err(_) => None,
    }
}

fn refine(mut failure: Failure, status: u16, body: &Value) -> Failure {
    let raw = &body["error"];
    if !raw.is_object() {
        return failure;
    }
    let details = raw["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let detail = |kind: &str| {
        let is_it = |detail: &&Value| detail["@type"].as_str().is_some_and(|name| name.ends_with(kind));
        details.iter().find(is_it).unwrap_or(&Value::Null)
    };
    let word = raw["status"].as_str().filter(|word| word.len() <= 64);
    let reason = detail("google.rpc.ErrorInfo")["reason"].as_str().filter(|reason| reason.len() <= 64);
    failure.kind = word.map(Into::into).or(failure.kind.take());
    failure.provider_code = reason.map(Into::into).or(failure.provider_code.take()).or(word.map(Into::into));
    match (status, word.unwrap_or("")) {
        _ if reason.is_some_and(|reason| reason.starts_with("API_KEY_")) => {
            failure.code = Code::ProviderAuth;
            (failure.retryable, failure.belongs_to_target) = (false, true);
        }
        // A country, an account or a key that may not: elsewhere the same request may be welcome.
        (400, "FAILED_PRECONDITION") => failure.belongs_to_target = true,
        (429, _) => {
            let quota = &detail("google.rpc.QuotaFailure")["violations"];
            let is_daily = |violation: &Value| violation["quotaId"].as_str().is_some_and(|id| id.contains("PerDay"));
            let today = quota.as_array().is_some_and(|violations| violations.iter().any(is_daily));
            let message = raw["message"].as_str().unwrap_or("").to_ascii_lowercase();
            // Every 429 of Google speaks of quota and billing; only these are final.
            failure.retryable = !today && !SPENT.iter().any(|words| message.contains(words));
        }
        (499, _) => {
            failure.code = Code::ProviderUnavailable;
            (failure.retryable, failure.belongs_to_target) = (true, true);
        }
        (504, _) => failure.code = Code::ProviderTimeout,
        _ => {}
    }
    // The message names the wait to the nanosecond, the detail in whole seconds rounded down.
    let delay = detail("google.rpc.RetryInfo")["retryDelay"].as_str().and_then(wait_ms);
    failure.retry_after_ms = failure.retry_after_ms.max(delay);
    failure
}

/// Parses a wait such as `34.4s` into milliseconds.
fn wait_ms(text: &str) -> Option<u64> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    let ms = seconds * 1000.0;
    (ms.is_finite() && ms >= 0.0).then(|| ms.ceil().min(WAIT_MS_MAX) as u64)
}
