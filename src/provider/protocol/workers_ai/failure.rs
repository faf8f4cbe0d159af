//! Cloudflare's errors, by their numbers.

use serde::Deserialize;
use serde_json::json;

use crate::job::{Code, Failure};
use crate::provider::Headers;
use crate::provider::protocol::error;

/// The prompt and its answer are more than the model's window.
const OVERFLOW: u64 = 5021;

/// What a number means: the code, whether waiting helps, whether another target may do better, and
/// the status that it comes with, for those that come inside a 200.
const NUMBERS: &[(u64, Code, bool, bool, u16)] = &[
    // No such model.
    (5007, Code::ProviderRejected, false, true, 400),
    (3042, Code::ProviderRejected, false, true, 404),
    // The request is wrong, or larger than the model's window, or than anything (3006).
    (5004, Code::ProviderRejected, false, false, 400),
    (3003, Code::ProviderRejected, false, false, 400),
    (OVERFLOW, Code::ProviderRejected, false, false, 400),
    (3006, Code::ProviderRejected, false, false, 413),
    // What this model or this account cannot do.
    (3039, Code::ProviderRejected, false, true, 400),
    (5005, Code::ProviderRejected, false, true, 405),
    (5019, Code::ProviderRejected, false, true, 405),
    (7000, Code::ProviderRejected, false, true, 400),
    (7003, Code::ProviderRejected, false, true, 404),
    // Not allowed: a private model, terms not accepted, a blocked account, a wrong key.
    (5018, Code::ProviderAuth, false, true, 403),
    (3041, Code::ProviderAuth, false, true, 403),
    (5016, Code::ProviderAuth, false, true, 403),
    (3023, Code::ProviderAuth, false, true, 403),
    (10000, Code::ProviderAuth, false, true, 401),
    (10001, Code::ProviderAuth, false, true, 401),
    (9109, Code::ProviderAuth, false, true, 403),
    // In time, or never.
    (3007, Code::ProviderTimeout, true, true, 408),
    (3008, Code::ProviderUnavailable, true, true, 408),
    // Out of capacity: elsewhere or later.
    (3040, Code::ProviderUnavailable, true, true, 429),
    // The day's free neurons are used up: nothing helps before midnight UTC.
    (3036, Code::ProviderRateLimited, false, true, 429),
    (4006, Code::ProviderRateLimited, false, true, 429),
];

#[derive(Deserialize)]
struct RawEnvelope {
    #[serde(default)]
    errors: Vec<RawError>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    message: String,
}

/// What an error answer means.
#[must_use]
pub fn classify(status: u16, headers: &Headers, body: &[u8]) -> Failure {
    let Some(raw) = first(body) else { return numbered(error::classify(status, headers, body)) };
    let plain = json!({"error": {"message": raw.message, "code": raw.code.to_string()}}).to_string();
    judged(error::classify(status, headers, plain.as_bytes()), raw.code)
}

/// An error inside a reply whose status was fine.
pub(super) fn in_reply(body: &[u8]) -> Failure {
    let Some(raw) = first(body) else { return numbered(error::in_reply(body)) };
    let status = NUMBERS.iter().find(|row| row.0 == raw.code).map_or(503, |row| row.4);
    let plain = json!({"error": {"message": raw.message, "status_code": status, "code": raw.code.to_string()}});
    judged(error::in_reply(plain.to_string().as_bytes()), raw.code)
}

fn first(body: &[u8]) -> Option<RawError> {
    serde_json::from_slice::<RawEnvelope>(body).ok()?.errors.into_iter().next()
}

/// OpenAI's envelope can hold Cloudflare's number, as the code or in words (`5007: No such model`).
fn numbered(failure: Failure) -> Failure {
    let digits = |text: &str| text.split(':').next().and_then(|head| head.trim().parse().ok());
    let number = failure.provider_code.as_deref().and_then(digits).or_else(|| {
        let words = failure.message.split_whitespace();
        words.filter(|word| word.ends_with(':')).find_map(digits)
    });
    match number.filter(|number| NUMBERS.iter().any(|row| row.0 == *number)) {
        Some(number) => judged(failure, number),
        None => failure,
    }
}

fn judged(mut failure: Failure, number: u64) -> Failure {
    if let Some((_, code, retryable, of_the_target, _)) = NUMBERS.iter().find(|row| row.0 == number) {
        failure.code = *code;
        failure.fault = code.fault();
        failure.retryable = *retryable;
        failure.belongs_to_target = *of_the_target;
    }
    failure.overflows |= number == OVERFLOW;
    if number != 0 {
        failure.provider_code = Some(number.to_string().into());
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_mean_what_the_table_says() {
        let check = |status, body: &str, expected: (Code, bool, bool, &str)| {
            let failure = classify(status, &Headers::new(), body.as_bytes());
            let code = failure.provider_code.as_deref().unwrap_or("");
            assert_eq!((failure.code, failure.retryable, failure.belongs_to_target, code), expected, "{body}");
        };
        for (number, code, retryable, of_the_target, status) in NUMBERS {
            let body = json!({"success": false, "errors": [{"code": number, "message": "no"}], "result": {}});
            check(*status, &body.to_string(), (*code, *retryable, *of_the_target, &number.to_string()));
        }
        let no_model = r#"{"errors":[{"message":"AiError: No such model @cf/x","code":5007}],"success":false}"#;
        check(400, no_model, (Code::ProviderRejected, false, true, "5007"));
        let compat = r#"{"error":{"message":"AiError: 3040: Capacity temporarily exceeded","type":"x","code":null}}"#;
        check(429, compat, (Code::ProviderUnavailable, true, true, "3040"));
        check(429, r#"{"error":{"message":"slow down"}}"#, (Code::ProviderRateLimited, true, true, ""));
        check(
            500,
            r#"{"success":false,"errors":[{"code":9999,"message":"x"}]}"#,
            (Code::ProviderUnavailable, true, true, "9999"),
        );
        check(502, "<html>", (Code::ProviderUnavailable, true, true, ""));
    }
}
