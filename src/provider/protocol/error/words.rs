//! The words of errors: what they mean, and what must not be passed on.

use super::Meaning;

/// What codes, types and messages mean wherever they come from; the first that fits counts.
pub(super) const MEANINGS: &[(&[&str], Meaning)] = &[
    (OVERFLOW, Meaning::Overflow),
    (&["invalid_api_key", "wrong_api_key", "incorrect api key", "api key not valid"], Meaning::BadKey),
    (FILTERED, Meaning::Filtered),
    (SPENT, Meaning::AttemptRecord),
    // What the model made was not what it was held to; the next try is another throw.
    (&["tool_use_failed", "json_validate_failed", "output_parse_failed"], Meaning::Broken),
    (NO_MODEL, Meaning::NoModel),
];

/// Codes that only say that the request is wrong.
pub(super) const GENERAL: &[&str] = &[
    "invalid_request_error",
    "invalid_parameter_error",
    "invalid-argument",
    "Client specified an invalid argument",
    "InvalidParameter",
];

/// How providers say that a prompt is too long for the model.
const OVERFLOW: &[&str] = &[
    "context_length_exceeded",
    "maximum context length",
    "maximum prompt length",
    "exceed_context_size",
    "exceeded model token limit",
    "exceed max message tokens",
    "range of input length",
    "prompt exceeds max length",
    "too_many_tokens",
    "too_many_prompt_tokens",
    "prompt is too long",
    "prompt too long",
    "input tokens exceeded",
    "input is too long for requested model",
    "input token count",
    "`inputs` tokens + `max_new_tokens`",
];

/// How they say that their safety filter stopped it.
const FILTERED: &[&str] = &[
    "content_filter",
    "content_policy",
    "content policy",
    "moderation",
    "flagged",
    "violates usage guidelines",
    "data_inspection_failed",
    "datainspectionfailed",
    "sensitivecontentdetected",
];

/// How they say that the account must pay, or is allowed no more.
pub(super) const SPENT: &[&str] = &[
    "insufficient_quota",
    "billing",
    "exceeded your current quota",
    "exceeded_current_quota",
    "insufficient balance",
    "arrearage",
    "billoverdue",
    "accountoverdue",
    "quotaexceeded",
    "setlimitexceeded",
];

/// How they say that they have no such model.
const NO_MODEL: &[&str] = &[
    "model_not_found",
    "modelnotfound",
    "model_not_supported",
    "invalid_model",
    "model not found",
    "model_not_available",
    "not supported by any provider",
];

/// Beginnings of keys, which are cut out of messages. A provider that quotes our key back must not make us print it.
const KEY_BEGINNINGS: &[&str] = &["sk-", "sk_", "gsk_", "xai-", "hf_", "fw_", "csk-", "pplx-", "AIza", "r8_", "nvapi-"];

/// One line, without what looks like a key. Messages about keys are searched more strictly.
pub(super) fn clean(message: &str, about_keys: bool) -> String {
    let mut out = String::with_capacity(message.len());
    for word in message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '*');
        if is_key(bare, about_keys) {
            out.push_str("[key]");
        } else {
            out.push_str(word);
        }
    }
    out
}

fn is_key(word: &str, about_keys: bool) -> bool {
    let known = KEY_BEGINNINGS.iter().any(|start| {
        word.match_indices(start).any(|(at, _)| {
            let before = word[..at].bytes().next_back();
            word.len() - at >= start.len() + 8 && !before.is_some_and(|byte| byte.is_ascii_alphanumeric())
        })
    });
    let masked = word.contains("**");
    let mixed = word.bytes().any(|byte| byte.is_ascii_digit()) && word.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_time = word.bytes().all(|byte| byte.is_ascii_digit() || b"TZ:-+.".contains(&byte));
    known || masked || (about_keys && mixed && !is_time && word.len() >= 16 && !word.contains("://"))
}

/// What a body that is not JSON says: the title of a page, or the beginning of a text.
pub(super) fn of_text(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.starts_with('<') {
        let end = text.floor_char_boundary(300);
        return (!text.is_empty()).then(|| text[..end].to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|from| {
        let from = from + "<title>".len();
        let to = from + lower[from..].find('<')?;
        let title = text[from..to].trim();
        (!title.is_empty()).then(|| title[..title.floor_char_boundary(120)].to_owned())
    });
    Some(match title {
        Some(title) => format!("a page instead of an answer: {title}"),
        None => "a page instead of an answer".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_passed_on() {
        for (message, about_keys, expected) in [
            ("Incorrect API key provided: sk-proj-abc1234567890.", true, "Incorrect API key provided: [key]"),
            ("bad key 'gsk_0123456789abc'", false, "bad key [key]"),
            ("Incorrect API key provided: ab****yz.", false, "Incorrect API key provided: [key]"),
            ("key 0123456789abcdef0123 unknown", true, "key [key] unknown"),
            ("expired: 20261121T090000Z is now", true, "expired: 20261121T090000Z is now"),
            ("model claude-sonnet-4-5-20250929 not found", false, "model claude-sonnet-4-5-20250929 not found"),
            ("two\r\nlines\there", false, "two lines here"),
            ("ask-for-something-longer", false, "ask-for-something-longer"),
        ] {
            assert_eq!(clean(message, about_keys), expected);
        }
    }

    #[test]
    fn a_page_becomes_one_line() {
        assert_eq!(
            of_text("<html><head><title>502 Bad Gateway</title></head>").as_deref(),
            Some("a page instead of an answer: 502 Bad Gateway")
        );
        assert_eq!(of_text("<!doctype html>").as_deref(), Some("a page instead of an answer"));
        assert_eq!(of_text("  upstream connect error "), Some("upstream connect error".into()));
        assert_eq!(of_text(""), None);
    }
}
