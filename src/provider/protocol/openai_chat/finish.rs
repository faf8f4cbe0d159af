//! Why an answer ended, in one vocabulary.

use crate::job::{Code, Failure};

/// One vocabulary for why an answer ended.
pub(super) fn meaning(native: &str) -> Result<&str, Failure> {
    Ok(match native {
        "stop" | "eos" | "stop_sequence" | "end_turn" => "stop",
        "length" | "max_tokens" | "model_length" => "length",
        "tool_calls" | "tool_call" | "function_call" | "tool_use" => "tool_calls",
        "content_filter" | "sensitive" => "content_filter",
        // The provider gave up in mid-answer and says so politely.
        "error" | "insufficient_system_resource" | "network_error" => {
            let mut failure = Failure::new(Code::ProviderUnavailable, format!("the provider gave up: {native}"));
            failure.provider_code = Some(native.into());
            return Err(failure.of_the_target());
        }
        other => other,
    })
}
