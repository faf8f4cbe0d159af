//! What an error answer means, in any protocol.
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
struct RawError {
    message: Option<String>,
    kind: Option<String>,
    code: Option<String>,
    param: Option<String>,
    /// A status inside the body.
    status: Option<u16>,
    /// Seconds until a model is loaded.
    estimated_time: Option<f64>,
}

/// A vendor's own meaning of a code or type that means something else elsewhere, or nothing.
pub type Quirk = (&'static str, Meaning);

/// What an error means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// It passes: ask again after a wait.
    Wait,
    /// The account must pay, or be allowed more: asking again does not help.
    AttemptRecord,
    /// The key is wrong.
    BadKey,
    /// The model is not there.
    NoModel,
    /// The provider's safety filter stopped it.
    Filtered,
    /// The prompt is too long for the model.
    Overflow,
    /// The provider, or what its model made, is broken: another try may be better.
    Broken,
}

/// An answer with an error status.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8]) -> Failure {
    classify_by(&[], status, headers, body)
}

/// An answer with an error status, from a vendor with these meanings of its own.
#[must_use]
pub fn classify_by(quirks: &[Quirk], status: u16, headers: &Headers, body: &[u8]) -> Failure {
    let parsed = read(body);
    let mut failure = judge(quirks, status, &parsed).with_status(status);
    if let Some(should) = headers.get("x-should-retry").and_then(|value| value.to_str().ok()) {
        failure.retryable = match should {
            "true" => true,
            "false" => false,
            _ => failure.retryable,
        };
    }
    failure.retry_after_ms = wait::from_headers(headers).or_else(|| parsed.wait_ms());
    if let Some(id) = request_id(headers) {
        failure.message = format!("{} (request {id})", failure.message).into();
    }
    failure
}

/// An error inside a reply whose status was fine.
#[must_use]
pub fn in_reply(body: &[u8]) -> Failure {
    in_reply_by(&[], body)
}

/// An error inside a reply, from a vendor with these meanings of its own.
#[must_use]
pub fn in_reply_by(quirks: &[Quirk], body: &[u8]) -> Failure {
    let parsed = read(body);
    let status = parsed.status.filter(|status| (400..600).contains(status)).unwrap_or_else(|| parsed.guess_status());
    let mut failure = judge(quirks, status, &parsed);
    failure.retry_after_ms = parsed.wait_ms();
    failure
}

/// Codes of requests that are wrong, in replies that come without a status.
const BAD_REQUEST: &[&str] = &[
    "invalid_request",
    "invalid_prompt",
    "invalid_image",
    "image_",
    "tool_use_failed",
    "context_length",
    "badrequest",
    "validation",
];

impl RawError {
    fn wait_ms(&self) -> Option<u64> {
        let by_words = self.message.as_deref().and_then(wait::from_words);
        by_words.or_else(|| self.estimated_time.and_then(|seconds| wait::capped(seconds * 1000.0)))
    }

    /// What the error means, if a code or a type of it says so.
    fn meaning(&self, quirks: &[Quirk]) -> Option<Meaning> {
        let named = |name: &str| {
            let names = [&self.code, &self.kind];
            names.into_iter().flatten().any(|parsed| parsed.eq_ignore_ascii_case(name))
        };
        if let Some((_, meaning)) = quirks.iter().find(|(name, _)| named(name)) {
            return Some(*meaning);
        }
        words::MEANINGS.iter().find(|(words, _)| self.has(words)).map(|(_, meaning)| *meaning)
    }

    fn has(&self, words: &[&str]) -> bool {
        let fields = [&self.code, &self.kind, &self.message];
        fields.into_iter().flatten().any(|text| {
            let text = text.to_ascii_lowercase();
            words.iter().any(|word| text.contains(word))
        })
    }

    fn is_named(&self, words: &[&str]) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|name| {
            let name = name.to_ascii_lowercase();
            words.iter().any(|word| name.contains(word))
        })
    }

    /// The status that this error would have had. A server's trouble unless it says otherwise.
    fn guess_status(&self) -> u16 {
        let named = |words: &[&str]| self.is_named(words);
        if named(&["rate_limit", "too_many_requests", "quota"]) {
            429
        } else if named(&["authentication", "invalid_api_key", "unauthorized"]) {
            401
        } else if named(&["permission", "forbidden"]) {
            403
        } else if named(&["not_found"]) {
            404
        } else if named(BAD_REQUEST) {
            400
        } else {
            503
        }
    }
}

fn judge(quirks: &[Quirk], status: u16, parsed: &RawError) -> Failure {
    let meaning = parsed.meaning(quirks);
    let no_model = meaning == Some(Meaning::NoModel)
        || (parsed.has(&["model"])
            && parsed.has(&["does not exist", "not exist", "unknown model", "not a valid model"]));
    let (code, retryable, of_the_target) = match (status, meaning) {
        (400 | 403 | 422, Some(Meaning::Filtered)) => (Code::ContentFiltered, false, false),
        (400..=499, Some(Meaning::BadKey)) => (Code::ProviderAuth, false, true),
        (400..=499, Some(Meaning::Broken)) => (Code::ProviderUnavailable, true, true),
        // Only a name counts: a message may quote what was asked.
        (400, Some(Meaning::AttemptRecord)) if parsed.is_named(words::SPENT) => (Code::ProviderAuth, false, true),
        (403 | 413, Some(Meaning::Overflow)) => (Code::ProviderRejected, false, false),
        (400..=499, Some(Meaning::Wait)) => (Code::ProviderRateLimited, true, true),
        (401..=403 | 407 | 412, _) => (Code::ProviderAuth, false, true),
        (408, _) => (Code::ProviderTimeout, true, true),
        // 424: an upstream of theirs failed; 498: no capacity at this tier; 499: it gave up on us.
        (409 | 424 | 425 | 498 | 499, _) => (Code::ProviderUnavailable, true, true),
        (429, meaning) => (Code::ProviderRateLimited, meaning != Some(Meaning::AttemptRecord), true),
        (404, _) => (Code::ProviderRejected, false, true),
        // Groq's and Azure's word for a request that is larger than a minute's tokens of this tier.
        (413, _) => (Code::ProviderRejected, false, parsed.has(&["rate_limit", "tokens per minute"])),
        (400..=499, _) => (Code::ProviderRejected, false, no_model),
        // Some count a prompt that is too long as a trouble of their server; it will be so again.
        (500.., Some(Meaning::Overflow)) => (Code::ProviderRejected, false, false),
        (501, _) => (Code::ProviderRejected, false, true),
        (500.., _) => (Code::ProviderUnavailable, true, true),
        // A redirect would carry the key elsewhere; anything else is not this protocol.
        _ => (Code::ProviderUnavailable, false, true),
    };
    let message = parsed.message.clone().unwrap_or_else(|| match status {
        300..=399 => format!("HTTP {status}: the provider redirects; is its base_url right?"),
        _ => format!("HTTP {status} without an explanation"),
    });
    let mut failure = Failure::new(code, words::clean(&message, code == Code::ProviderAuth));
    failure.retryable = retryable;
    failure.belongs_to_target = of_the_target;
    failure.overflows = meaning == Some(Meaning::Overflow) && code == Code::ProviderRejected;
    // Many repeat the status as the code, which says nothing.
    failure.provider_code = short(parsed.code.as_deref().filter(|code| *code != status.to_string()));
    failure.kind = short(parsed.kind.as_deref());
    failure.param = short(parsed.param.as_deref());
    let says_nothing = failure.provider_code.as_deref().is_none_or(|code| words::GENERAL.contains(&code));
    if failure.overflows && says_nothing {
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
fn read(body: &[u8]) -> RawError {
    let text = String::from_utf8_lossy(body);
    let Ok(value) = serde_json::from_str::<Value>(&text) else {
        return RawError { message: words::of_text(&text), ..RawError::default() };
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
            .or_else(|| (!inner["message"].is_null()).then(|| inner["message"].to_string()))
            .or_else(|| text_of(&inner["error"]))
            .or_else(|| text_of(&inner["title"])),
    };
    let status = [&inner["status_code"], &inner["code"], &value["status_code"], &value["code"]]
        .into_iter()
        .find_map(Value::as_u64)
        .and_then(|status| u16::try_from(status).ok());
    // OpenRouter wraps what its upstream said.
    let upstream = text_of(&inner["metadata"]["raw"]).filter(|raw| !raw.is_empty());
    RawError {
        message: match (message, upstream) {
            (Some(message), Some(raw)) => Some(format!("{message}: {raw}")),
            (message, upstream) => message.or(upstream),
        },
        kind: of("type").or_else(|| of("error_type")),
        code: of("code"),
        param: of("param"),
        status,
        estimated_time: value["estimated_time"].as_f64(),
    }
}

/// The provider's own id of the request, where it is short enough to be worth a person's reading.
fn request_id(headers: &Headers) -> Option<&str> {
    const NAMES: [&str; 10] = [
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-amzn-requestid",
        "mistral-correlation-id",
        "x-ds-trace-id",
        "x-generation-id",
        "x-log-id",
        "x-debug-trace-id",
        // Every server behind Cloudflare has it as well, so it is the last resort.
        "cf-ray",
    ];
    NAMES
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic()))
}
