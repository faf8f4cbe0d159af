//! What a model's name tells: where it is, and how it wants to be told to think.

use crate::job::Failure;

/// What thinking is asked for, and how this model takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Thinking {
    /// So many tokens of thought (2.5).
    Budget(i64),
    /// A level (3 and later).
    Level(&'static str),
}

/// The path of a model below the address of its publisher: `models/gemini-2.5-flash`; names with a
/// slash (`tunedModels/x`, `models/x`) are paths already.
///
/// # Errors
/// `invalid`, for a name that would lead elsewhere.
pub fn path(model: &str) -> Result<String, Failure> {
    let leads_elsewhere = |segment: &str| matches!(segment, "" | "." | "..");
    if model.split('/').any(leads_elsewhere) || model.contains(['?', '#', '%', '\\', ':']) {
        return Err(Failure::invalid("model", "is not the name of a model"));
    }
    Ok(if model.contains('/') { model.to_owned() } else { format!("models/{model}") })
}

/// The generation of a Gemini: `(2, 5)` of `gemini-2.5-flash`. Names without a number
/// (`gemini-flash-latest`) are of the newest; whatever is no Gemini has none.
fn generation(model: &str) -> Option<(u32, u32)> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let rest = name.strip_prefix("gemini-")?;
    let Some(number) = rest.split('-').find(|word| word.starts_with(|c: char| c.is_ascii_digit())) else {
        return Some((u32::MAX, 0));
    };
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().unwrap_or(0)))
}

/// Whether the model refuses a tool call of the history that has no signature, and bills every
/// search by itself.
pub(super) fn is_third_generation(model: &str) -> bool {
    generation(model).is_some_and(|generation| generation >= (3, 0))
}

/// Whether the model has thoughts.
pub(super) fn can_think(model: &str) -> bool {
    generation(model).is_some_and(|generation| generation >= (2, 5))
}

/// What the OpenAI dialect's effort means to this model: Google's own table. `None` where it cannot
/// think, or cannot but think and shall not.
pub(super) fn thinking(effort: &str, model: &str) -> Option<Thinking> {
    let generation = generation(model)?;
    let is_pro = model.contains("-pro");
    if generation >= (3, 0) {
        return Some(Thinking::Level(match effort {
            // The nearest that there is; a Pro thinks at least a little.
            "none" | "minimal" if !is_pro => "minimal",
            "minimal" | "low" => "low",
            "medium" => "medium",
            "high" | "xhigh" | "max" => "high",
            _ => return None,
        }));
    }
    if generation < (2, 5) {
        return None;
    }
    Some(Thinking::Budget(match effort {
        "none" if !is_pro => 0,
        "minimal" | "low" => 1024,
        "medium" => 8192,
        "high" | "xhigh" | "max" => 24_576,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effort_is_a_budget_or_a_level_as_the_model_takes_it() {
        use Thinking::{Budget, Level};
        for (model, effort, expected) in [
            ("gemini-2.5-flash", "none", Some(Budget(0))),
            ("gemini-2.5-pro", "none", None),
            ("gemini-2.5-pro", "low", Some(Budget(1024))),
            ("models/gemini-2.5-flash-lite", "high", Some(Budget(24_576))),
            ("gemini-3-pro-preview", "minimal", Some(Level("low"))),
            ("gemini-3-pro-preview", "none", None),
            ("gemini-3-flash-preview", "minimal", Some(Level("minimal"))),
            ("gemini-3.5-flash", "none", Some(Level("minimal"))),
            ("gemini-3.1-pro", "xhigh", Some(Level("high"))),
            ("gemini-flash-latest", "medium", Some(Level("medium"))),
            ("gemini-2.0-flash", "low", None),
            ("gemma-3-27b-it", "low", None),
            ("gemini-2.5-flash", "much", None),
        ] {
            assert_eq!(thinking(effort, model), expected, "{model} {effort}");
        }
    }

    #[test]
    fn a_model_is_a_path_that_leads_nowhere_else() {
        for (model, expected) in [
            ("gemini-2.5-flash", Some("models/gemini-2.5-flash")),
            ("models/gemini-2.5-flash", Some("models/gemini-2.5-flash")),
            ("tunedModels/x", Some("tunedModels/x")),
            ("../x", None),
            ("x?alt=json", None),
            ("a//b", None),
            ("x:countTokens", None),
        ] {
            assert_eq!(path(model).ok().as_deref(), expected, "{model}");
        }
    }
}
