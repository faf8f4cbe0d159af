//! What other providers' models need back in the next turn, where this dialect has but one seal.
//!
//! Owns the form in which a piece of `reasoning_details`, or the `extra_content` of a call, travels
//! through a client of this dialect: inside the signature of a thinking block, or as the data of a
//! redacted one, both of which clients send back as they are. Anthropic's own seals travel unwrapped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Whose seals these are.
pub(super) const FORMAT: &str = "anthropic-claude-v1";
/// What a wrapped one begins with: no base64 does.
const MARK: &str = "forebay-1:";

pub(super) fn wrap(detail: &Map<String, Value>) -> String {
    let json = serde_json::to_vec(detail).expect("an object has string keys");
    format!("{MARK}{}", STANDARD.encode(json))
}

/// What was wrapped; `None` for Anthropic's own, and for what is no longer whole.
pub(super) fn unwrap(seal: &str) -> Option<Map<String, Value>> {
    let json = STANDARD.decode(seal.strip_prefix(MARK)?).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Whether this was wrapped here, whole or not.
pub(super) fn is_wrapped(seal: &str) -> bool {
    seal.starts_with(MARK)
}
