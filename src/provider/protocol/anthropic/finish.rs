//! Why an answer ended, in our vocabulary.

/// The reason, and the provider's own word where that is another.
///
/// `refusal` is the provider's own filter, not the model's choice; its category is in the extra
/// fields. `pause_turn` is no end: the answer goes on when it is sent back as it is.
pub(super) fn meaning(native: Box<str>, has_calls: bool) -> (Box<str>, Option<Box<str>>) {
    let reason = match &*native {
        "end_turn" | "stop_sequence" | "stop" if has_calls => "tool_calls",
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => other,
    };
    let reason: Box<str> = reason.into();
    let native = (reason != native).then_some(native);
    (reason, native)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_in_one_vocabulary_and_the_own_word_is_kept() {
        for (native, has_calls, reason, kept) in [
            ("end_turn", false, "stop", Some("end_turn")),
            ("end_turn", true, "tool_calls", Some("end_turn")),
            ("stop_sequence", false, "stop", Some("stop_sequence")),
            ("max_tokens", true, "length", Some("max_tokens")),
            ("model_context_window_exceeded", false, "length", Some("model_context_window_exceeded")),
            ("tool_use", true, "tool_calls", Some("tool_use")),
            ("refusal", false, "content_filter", Some("refusal")),
            ("pause_turn", false, "pause_turn", None),
            ("unknown", false, "unknown", None),
        ] {
            let (got, own) = meaning(native.into(), has_calls);
            assert_eq!((&*got, own.as_deref()), (reason, kept), "{native}");
        }
    }
}
