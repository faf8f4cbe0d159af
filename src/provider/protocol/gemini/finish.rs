//! Why an answer ended, in one vocabulary.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::{Code, Failure};

/// The reason in our vocabulary.
///
/// # Errors
/// `provider_unavailable` where the model itself broke off: asked again it may do better.
pub(super) fn meaning(native: &str, message: Option<&str>) -> Result<&'static str, Failure> {
    Ok(match native {
        "STOP" => "stop",
        "MAX_TOKENS" => "length",
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => "content_filter",
        "MALFORMED_FUNCTION_CALL"
        | "MALFORMED_RESPONSE"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE" => {
            let detail = message.map(|message| format!(": {message}")).unwrap_or_default();
            let mut failure =
                Failure::new(Code::ProviderUnavailable, format!("the model broke off with {native}{detail}"));
            failure.provider_code = Some(native.into());
            return Err(failure.of_the_target());
        }
        // LANGUAGE, OTHER, IMAGE_OTHER, NO_IMAGE, and what comes to Google's mind next.
        _ => "other",
    })
}

/// The prompt was not let through.
pub(super) fn blocked(feedback: &RawValue) -> Option<Failure> {
    let raw: Value = serde_json::from_str(feedback.get()).ok()?;
    let reason = raw["blockReason"].as_str()?;
    let detail = raw["blockReasonMessage"].as_str().map(|message| format!(": {message}")).unwrap_or_default();
    let mut failure = Failure::new(Code::ContentFiltered, format!("the prompt was blocked for {reason}{detail}"));
    failure.provider_code = Some(reason.into());
    Some(failure)
}
