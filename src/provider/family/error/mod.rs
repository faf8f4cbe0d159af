//! What an error answer means, whoever speaks.
//!
//! Owns the reading of error bodies in all the shapes that providers use, and the mapping of status,
//! code, type and words to a `Failure`. Promises one clean line without secrets. Does not read
//! clocks: a wait until a date counts from the answer's own `date`.

use serde_json::Value;

use crate::job::{Code, Failure};
use crate::provider::Headers;

mod wait;
mod words;

/// What an error body says.
#[derive(Default, Debug)]
struct Said {
    message: Option<String>,
    kind: Option<String>,
    code: Option<String>,
    param: Option<String>,
    /// A status inside the body.
    status: Option<u16>,
}

/// An answer with an error status.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8]) -> Failure {
    let said = read(body);
    let mut failure = judge(status, &said).with_status(status);
    if let Some(should) = headers.get("x-should-retry").and_then(|value| value.to_str().ok()) {
        failure.retryable = match should {
            "true" => true,
            "false" => false,
            _ => failure.retryable,
        };
    }
    failure.retry_after_ms = wait::from_headers(headers).or_else(|| said.message.as_deref().and_then(wait::from_words));
    if let Some(id) = request_id(headers) {
        failure.message = format!("{} (request {id})", failure.message).into();
    }
    failure
}

/// An error inside a reply whose status was fine.
#[must_use]
pub fn in_reply(body: &[u8]) -> Failure {
    let said = read(body);
    let status = said.status.filter(|status| (400..600).contains(status)).unwrap_or_else(|| said.guess_status());
    let mut failure = judge(status, &said);
    failure.retry_after_ms = said.message.as_deref().and_then(wait::from_words);
    failure
}

impl Said {
    fn has(&self, words: &[&str]) -> bool {
        let fields = [&self.code, &self.kind, &self.message];
        fields.into_iter().flatten().any(|text| {
            let text = text.to_ascii_lowercase();
            words.iter().any(|word| text.contains(word))
        })
    }

    /// The status that this error would have had. A server's trouble unless it says otherwise.
    fn guess_status(&self) -> u16 {
        let named = |words: &[&str]| {
            [&self.code, &self.kind].into_iter().flatten().any(|name| {
                let name = name.to_ascii_lowercase();
                words.iter().any(|word| name.contains(word))
            })
        };
        if named(&["rate_limit", "too_many_requests", "quota"]) {
            429
        } else if named(&["authentication", "invalid_api_key", "unauthorized"]) {
            401
        } else if named(&["permission", "forbidden"]) {
            403
        } else if named(&["not_found"]) {
            404
        } else if named(&["invalid_request", "tool_use_failed", "context_length", "badrequest", "validation"]) {
            400
        } else {
            503
        }
    }
}

fn judge(status: u16, said: &Said) -> Failure {
    let quota = said.has(&["insufficient_quota", "billing", "exceeded your current quota", "insufficient balance"]);
    let no_model = said.has(&["model_not_found", "invalid_model", "model not found", "model_not_available"])
        || (said.has(&["model"]) && said.has(&["does not exist", "not exist", "unknown model", "not a valid model"]));
    let bad_key = said.has(&["invalid_api_key", "wrong_api_key", "incorrect api key", "api key not valid"]);
    let filtered = said.has(&["content_filter", "content_policy", "moderation", "content policy", "flagged"]);
    let overflow = said.has(words::OVERFLOW);
    let (code, retryable, of_the_target) = match status {
        401 | 402 | 407 | 412 => (Code::ProviderAuth, false, true),
        400 | 403 | 422 if filtered => (Code::ContentFiltered, false, false),
        403 => (Code::ProviderAuth, false, true),
        400 if bad_key => (Code::ProviderAuth, false, true),
        408 => (Code::ProviderTimeout, true, true),
        409 | 425 | 498 => (Code::ProviderUnavailable, true, true),
        429 => (Code::ProviderRateLimited, !quota, true),
        404 => (Code::ProviderRejected, false, true),
        // Groq's and Azure's word for a request that is larger than a minute's tokens of this tier.
        413 => (Code::ProviderRejected, false, said.has(&["rate_limit", "tokens per minute"])),
        400..=499 => (Code::ProviderRejected, false, no_model),
        501 => (Code::ProviderRejected, false, true),
        500.. => (Code::ProviderUnavailable, true, true),
        // A redirect would carry the key elsewhere; anything else is not this protocol.
        _ => (Code::ProviderUnavailable, false, true),
    };
    let message = said.message.clone().unwrap_or_else(|| match status {
        300..=399 => format!("HTTP {status}: the provider redirects; is its base_url right?"),
        _ => format!("HTTP {status} without an explanation"),
    });
    let mut failure = Failure::new(code, words::clean(&message, code == Code::ProviderAuth));
    failure.retryable = retryable;
    failure.belongs_to_target = of_the_target;
    // Many repeat the status as the code, which says nothing.
    failure.provider_code = short(said.code.as_deref().filter(|code| *code != status.to_string()));
    failure.kind = short(said.kind.as_deref());
    failure.param = short(said.param.as_deref());
    if overflow && (400..=422).contains(&status) && failure.provider_code.is_none() {
        failure.provider_code = Some("context_length_exceeded".into());
    }
    failure
}

/// A name from outside, if it is one.
fn short(name: Option<&str>) -> Option<Box<str>> {
    name.filter(|name| !name.is_empty() && name.len() <= 128).map(Into::into)
}

/// Reads every shape in use: `{"error": {…}}`, `{"error": "…", "code": …}`, the fields at the top,
/// `{"detail": …}`, `{"fault": {…}}`, a page of HTML, plain text.
fn read(body: &[u8]) -> Said {
    let text = String::from_utf8_lossy(body);
    let Ok(value) = serde_json::from_str::<Value>(&text) else {
        return Said { message: words::of_text(&text), ..Said::default() };
    };
    let first_choice = &value["choices"][0]["error"];
    let candidates = [&value["error"], first_choice, &value["fault"], &value["x_groq"]["error"], &value["detail"]];
    let inner = candidates.into_iter().find(|inner| !inner.is_null()).unwrap_or(&value);
    let text_of = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let of = |name: &str| text_of(&inner[name]).or_else(|| text_of(&value[name]));
    let message = match inner {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) => Some(inner.to_string()),
        _ => text_of(&inner["message"])
            .or_else(|| text_of(&inner["Message"]))
            .or_else(|| text_of(&inner["faultstring"]))
            .or_else(|| (!inner["message"].is_null()).then(|| inner["message"].to_string())),
    };
    let status = [&inner["status_code"], &inner["code"], &value["status_code"], &value["code"]]
        .into_iter()
        .find_map(Value::as_u64)
        .and_then(|status| u16::try_from(status).ok());
    // OpenRouter wraps what its upstream said.
    let upstream = text_of(&inner["metadata"]["raw"]).filter(|raw| !raw.is_empty());
    Said {
        message: match (message, upstream) {
            (Some(message), Some(raw)) => Some(format!("{message}: {raw}")),
            (message, upstream) => message.or(upstream),
        },
        kind: of("type").or_else(|| of("error_type")),
        code: of("code"),
        param: of("param"),
        status,
    }
}

/// The provider's own id of the request, where it is short enough to be worth a person's reading.
fn request_id(headers: &Headers) -> Option<&str> {
    const NAMES: [&str; 7] = [
        "x-request-id",
        "request-id",
        "x-amzn-requestid",
        "mistral-correlation-id",
        "x-ds-trace-id",
        "x-generation-id",
        "x-log-id",
    ];
    NAMES
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic()))
}
