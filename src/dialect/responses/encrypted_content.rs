//! Reasoning that must come back as it was: `reasoning_details` inside `encrypted_content`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Prefix of content that this broker encoded; any other is OpenAI's own.
const OURS: &str = "forebay.1.";
/// Whose a seal is that is not ours: what clients of this dialect bring along is OpenAI's.
const OPENAI: &str = "openai-responses-v1";

/// Encodes the details of an answer; `None` if its text has all that they contain.
pub(super) fn seal(details: &[Value]) -> Option<String> {
    let is_secret = |detail: &Value| detail["signature"].is_string() || detail["data"].is_string();
    if !details.iter().any(is_secret) {
        return None;
    }
    let json = serde_json::to_vec(details).expect("values are JSON");
    Some(format!("{OURS}{}", URL_SAFE_NO_PAD.encode(json)))
}

/// The details of a reasoning item that comes back: its id, its summaries, its seal.
pub(super) fn open(id: Option<&str>, summaries: &[String], seal: &str) -> Vec<Value> {
    let ours = seal.strip_prefix(OURS).and_then(|sealed| URL_SAFE_NO_PAD.decode(sealed).ok());
    if let Some(details) = ours.and_then(|json| serde_json::from_slice(&json).ok()) {
        return details;
    }
    let summaries = summaries.iter().map(|text| json!({"type": "reasoning.summary", "summary": text}));
    let data = json!({"type": "reasoning.encrypted", "data": seal});
    let mut details: Vec<Value> = summaries.chain([data]).collect();
    for (number, detail) in details.iter_mut().enumerate() {
        detail["format"] = OPENAI.into();
        detail["index"] = number.into();
        if let Some(id) = id {
            detail["id"] = id.into();
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_comes_back_as_it_was_and_open_text_needs_no_seal() {
        let details = vec![json!({"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1"})];
        assert_eq!(open(Some("rs_1"), &[], &seal(&details).expect("a secret")), details);
        assert_eq!(seal(&[json!({"type": "reasoning.summary", "summary": "x", "signature": null})]), None);
        for theirs in ["gAAAA", "forebay.1.!", "forebay.1.e30"] {
            let foreign = open(Some("rs_1"), &["a".into()], theirs);
            assert_eq!(foreign[0]["summary"], "a");
            assert_eq!((&foreign[1]["data"], &foreign[1]["id"]), (&json!(theirs), &json!("rs_1")));
        }
    }
}
