//! How much a model is to think.
//!
//! | model | `reasoning_effort` becomes |
//! | --- | --- |
//! | Claude 4.6 and later | `thinking` adaptive with summaries shown, and `output_config.effort` |
//! | Claude 3.7 to 4.5, other servers | `thinking` enabled with a budget that leaves tokens for the answer |
//! | MiniMax M3 | `thinking` adaptive |
//! | older Claude, MiniMax M2 | refused |
//!
//! `none` is `disabled` where thinking could be on; models that cannot stop thinking refuse it.

use super::encode::Refusals;
use super::model::{Model, Thinking};
use super::turns;
use crate::job::Failure;
use crate::provider::chat::{Chat, Choice};

/// The smallest budget that the API takes.
const BUDGET_TOKENS_MIN: u64 = 1024;

/// What is said of thinking.
#[derive(Default)]
pub(super) struct Plan {
    /// JSON of the field `thinking`.
    pub(super) thinking: Option<String>,
    /// Text of the field `output_config.effort`.
    pub(super) effort: Option<String>,
    /// Whether sampling is bound to what thinking allows.
    pub(super) is_on: bool,
}

/// Takes the effort, or the dialect's own `thinking`.
pub(super) fn plan(
    chat: &mut Chat<'_>,
    model: Model<'_>,
    max_tokens: u64,
    refusals: &mut Refusals<'_>,
) -> Result<Plan, Failure> {
    let param = if chat.params.has("reasoning_effort") { "input.reasoning_effort" } else { "input.reasoning" };
    let effort = chat.params.take_effort()?;
    if let Some(own) = chat.params.take("thinking") {
        let effort = effort.filter(|_| model.thinking() == Thinking::Adaptive);
        let effort = effort.map(|effort| model.effort(&effort).to_owned());
        return Ok(Plan { thinking: Some(own.get().to_owned()), effort, is_on: false });
    }
    let Some(effort) = effort else { return Ok(Plan::default()) };
    let off = || Plan { thinking: Some(r#"{"type":"disabled"}"#.into()), ..Plan::default() };
    let is_forced = matches!(chat.tool_choice, Some(Choice::Required | Choice::Named(_)));
    let plan = match (model.thinking(), &*effort) {
        (Thinking::Never, "none") if model.is_claude() => Some(Plan::default()),
        (Thinking::Never, _) => None,
        (Thinking::Budget, "none") if model.is_claude() => Some(Plan::default()),
        (_, "none") => (!model.always_thinks()).then(off),
        // A tool that must be called leaves no tokens for thoughts.
        _ if is_forced => None,
        (Thinking::OnOff, _) => {
            Some(Plan { thinking: Some(r#"{"type":"adaptive"}"#.into()), effort: None, is_on: false })
        }
        (Thinking::Adaptive, effort) => Some(Plan {
            // Newer models show nothing of what they think unless they are asked.
            thinking: Some(r#"{"type":"adaptive","display":"summarized"}"#.into()),
            effort: Some(model.effort(effort).to_owned()),
            is_on: true,
        }),
        (Thinking::Budget, effort) => {
            let tokens = budget_tokens(effort, max_tokens)?;
            tokens.filter(|_| !turns::lacks_thoughts(&chat.messages, model)).map(|tokens| Plan {
                thinking: Some(format!(r#"{{"type":"enabled","budget_tokens":{tokens}}}"#)),
                effort: None,
                is_on: true,
            })
        }
    };
    match plan {
        Some(plan) => Ok(plan),
        None => refusals.refuse(param).map(|()| Plan::default()),
    }
}

/// How many tokens of `max_tokens` may be thoughts; `None` if none are left.
fn budget_tokens(effort: &str, max_tokens: u64) -> Result<Option<u64>, Failure> {
    let wanted = match effort {
        "minimal" => BUDGET_TOKENS_MIN,
        "low" => 2048,
        "medium" => 8192,
        "high" => 24_576,
        "xhigh" | "max" => 49_152,
        _ => {
            let message = "must be none, minimal, low, medium, high, xhigh or max";
            return Err(Failure::invalid("input.reasoning_effort", message));
        }
    };
    // A fifth is left to the answer.
    let room = max_tokens / 5 * 4;
    Ok((max_tokens > BUDGET_TOKENS_MIN).then(|| wanted.min(room).max(BUDGET_TOKENS_MIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_leaves_room_for_the_answer() {
        for (effort, max_tokens, expected) in [
            ("low", 32_000, Some(2048)),
            ("high", 32_000, Some(24_576)),
            ("high", 8192, Some(6552)),
            ("max", 64_000, Some(49_152)),
            ("medium", 1200, Some(1024)),
            ("minimal", 1025, Some(1024)),
            ("minimal", 1024, None),
            ("high", 10, None),
        ] {
            assert_eq!(budget_tokens(effort, max_tokens).expect("known"), expected, "{effort} of {max_tokens}");
        }
        assert_eq!(budget_tokens("much", 9000).expect_err("unknown").param.as_deref(), Some("input.reasoning_effort"));
    }
}
