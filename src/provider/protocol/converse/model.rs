//! What the maker of a model decides: where its own parameters go, and the address of a model.

use serde_json::{Value, json};

/// Who made a model. They differ in what `additionalModelRequestFields` may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Maker {
    Claude,
    Nova,
    Cohere,
    Mistral,
    OpenAi,
    /// Also a model behind an ARN that does not name it.
    Other,
}

impl Maker {
    /// By the model's id: `anthropic.claude-…`, `us.amazon.nova-…`, an ARN with one of these in it.
    pub(super) fn of(model: &str) -> Maker {
        let makers = [
            ("claude", Maker::Claude),
            ("amazon.nova", Maker::Nova),
            ("cohere.", Maker::Cohere),
            ("mistral.", Maker::Mistral),
            ("openai.", Maker::OpenAi),
        ];
        makers.into_iter().find(|(name, _)| model.contains(name)).map_or(Maker::Other, |(_, maker)| maker)
    }

    /// `top_k` in the model's own words.
    pub(super) fn top_k(self, count: Value) -> Option<(&'static str, Value)> {
        match self {
            Maker::Claude | Maker::Mistral => Some(("top_k", count)),
            Maker::Nova => Some(("inferenceConfig", json!({"topK": count}))),
            Maker::Cohere => Some(("k", count)),
            Maker::OpenAi | Maker::Other => None,
        }
    }

    /// An effort of reasoning in the model's own words.
    pub(super) fn reasoning(
        self,
        model: &str,
        effort: &str,
        tokens_max: Option<u64>,
    ) -> Option<Vec<(&'static str, Value)>> {
        match self {
            Maker::Claude => claude_reasoning(model, effort, tokens_max),
            Maker::Nova => match effort {
                "none" => Some(vec![("reasoningConfig", json!({"type": "disabled"}))]),
                "low" | "medium" | "high" => {
                    Some(vec![("reasoningConfig", json!({"type": "enabled", "maxReasoningEffort": effort}))])
                }
                _ => None,
            },
            Maker::OpenAi => {
                matches!(effort, "low" | "medium" | "high").then(|| vec![("reasoning_effort", json!(effort))])
            }
            Maker::Cohere | Maker::Mistral | Maker::Other => None,
        }
    }
}

/// Claude models that are told a budget of thinking tokens. Later ones are told an effort.
const CLAUDE_WITH_BUDGET: &[&str] = &[
    "claude-3-7",
    "claude-sonnet-4-2",
    "claude-opus-4-2",
    "claude-opus-4-1",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "claude-opus-4-5",
];
/// Claude models from before thinking.
const CLAUDE_WITHOUT: &[&str] =
    &["claude-v2", "claude-instant", "claude-3-haiku", "claude-3-sonnet", "claude-3-opus", "claude-3-5"];
/// The least budget that Claude takes.
const BUDGET_MIN: u64 = 1024;

fn claude_reasoning(model: &str, effort: &str, tokens_max: Option<u64>) -> Option<Vec<(&'static str, Value)>> {
    let is_one_of = |names: &[&str]| names.iter().any(|name| model.contains(name));
    if effort == "none" {
        return Some(Vec::new());
    }
    if is_one_of(CLAUDE_WITHOUT) {
        return None;
    }
    if !is_one_of(CLAUDE_WITH_BUDGET) {
        let effort = if effort == "minimal" { "low" } else { effort };
        let known = matches!(effort, "low" | "medium" | "high" | "xhigh" | "max");
        return known.then(|| {
            vec![
                ("thinking", json!({"type": "adaptive", "display": "summarized"})),
                ("output_config", json!({"effort": effort})),
            ]
        });
    }
    let budget: u64 = match effort {
        "minimal" => BUDGET_MIN,
        "low" => 2048,
        "medium" => 8192,
        "high" => 16_384,
        "xhigh" | "max" => 32_768,
        _ => return None,
    };
    // The budget is a part of the answer's tokens and must be less.
    let budget = tokens_max.map_or(budget, |max| budget.min(max.saturating_sub(1)));
    (budget >= BUDGET_MIN).then(|| vec![("thinking", json!({"type": "enabled", "budget_tokens": budget}))])
}

/// A model's id as one segment of a path: everything but letters, digits and `-._~` is encoded.
pub(super) fn segment(model: &str) -> String {
    let mut out = String::with_capacity(model.len() + 16);
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
            out.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_one_segment_of_the_path() {
        for (model, expected) in [
            ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1%3A0"),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x:0",
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x%3A0",
            ),
            ("../../x", "..%2F..%2Fx"),
            ("ä", "%C3%A4"),
        ] {
            assert_eq!(segment(model), expected);
        }
    }
}
