//! Which targets may serve a job, in order.
//!
//! | the model's name | its targets |
//! | --- | --- |
//! | an alias of the configuration | those that it lists, whose providers are on |
//! | `provider/model` | that; a spelling that the catalog knows becomes the provider's own id |
//! | a name that only the catalog knows | that model at every provider that is on, its maker first |

use crate::catalog;
use crate::config::Config;
use crate::job::caps::TARGETS_MAX;
use crate::job::{Code, Failure, Job, ModelName, Target};

/// Names that are told to whoever asks for a model that nobody knows.
const NEAR_MAX: usize = 5;

/// The providers that are on: their names, sorted, and the kind of each.
pub type On = [(Box<str>, &'static str)];

/// The targets of `job`: those of its model, then those of its fallbacks, each once.
///
/// # Errors
/// `unknown_model`, naming `model` or `options.fallbacks`.
pub fn targets(job: &Job, config: &Config, on: &On) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    let models =
        std::iter::once(("model", &job.model)).chain(job.options.fallbacks.iter().map(|m| ("options.fallbacks", m)));
    for (param, model) in models {
        for target in of_model(model, config, on).map_err(|failure| failure.with_param(param))? {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    Ok(targets)
}

/// The targets of one model.
///
/// # Errors
/// `unknown_model`.
pub fn of_model(model: &ModelName, config: &Config, on: &On) -> Result<Vec<Target>, Failure> {
    if let Some(alias) = config.models.get(model.as_str()) {
        let targets: Vec<Target> = alias
            .targets
            .iter()
            .filter_map(|text| text.parse::<ModelName>().ok())
            .filter_map(|name| name.split().and_then(|(provider, id)| at(provider, id, on)))
            .collect();
        if targets.is_empty() {
            return Err(unknown(format!("none of the providers of `{model}` is configured")));
        }
        return Ok(targets);
    }
    match model.split() {
        Some((provider, id)) => match at(provider, id, on) {
            Some(target) => Ok(vec![target]),
            None => Err(unknown(format!("no provider `{provider}` is configured"))),
        },
        None => everywhere(model, on),
    }
}

/// `id` at `provider`, if that is on: the provider's real id, if the catalog knows which one is meant.
fn at(provider: &str, id: &str, on: &On) -> Option<Target> {
    let kind = kind_of(provider, on).filter(|_| !id.is_empty())?;
    let id = catalog::id_of(kind, id).unwrap_or(id);
    Some(Target { provider: provider.into(), model: id.into() })
}

/// The kind of the provider of that name, if it is on.
#[must_use]
pub fn kind_of(provider: &str, on: &On) -> Option<&'static str> {
    on.binary_search_by(|(name, _)| (**name).cmp(provider)).ok().map(|at| on[at].1)
}

/// A model by its name alone, at every provider that is on.
fn everywhere(model: &ModelName, on: &On) -> Result<Vec<Target>, Failure> {
    let known = catalog::resolve(model.as_str());
    let mut targets = Vec::new();
    for entry in &known {
        let mut serving: Vec<&str> =
            on.iter().filter(|(_, kind)| *kind == entry.provider).map(|(name, _)| &**name).collect();
        // The one that is simply called by its kind is what most people mean.
        serving.sort_by_key(|name| *name != entry.provider);
        targets.extend(serving.into_iter().map(|name| Target { provider: name.into(), model: entry.id.into() }));
    }
    targets.truncate(TARGETS_MAX);
    if !targets.is_empty() {
        return Ok(targets);
    }
    if !known.is_empty() {
        let all: Vec<&str> = known.iter().map(|entry| entry.provider).collect();
        return Err(unknown(format!("`{model}` is at {}, and none of them is configured", all.join(", "))));
    }
    let near = catalog::near(model.as_str(), NEAR_MAX, |entry| on.iter().any(|(_, kind)| *kind == entry.provider));
    let hint = if near.is_empty() { String::new() } else { format!("; near: `{}`", near.join("`, `")) };
    Err(unknown(format!("`{model}` is neither an alias nor `provider/model` nor in the catalog{hint}")))
}

fn unknown(message: String) -> Failure {
    Failure::new(Code::UnknownModel, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Timestamp;
    use crate::wire::submit::{Door, from_json};

    /// Checks with `local` and these providers on.
    fn check_on(on: &[(&str, &'static str)], model: &str, fallbacks: &str, expected: Result<&[&str], &str>) {
        let config: Config = toml::from_str(
            r#"
            [models.smart]
            targets = ["gone/x", "local/a", "openai/b/c"]
            [models.spelled]
            targets = ["anthropic/claude-sonnet-4.5"]
            [models.orphan]
            targets = ["gone/x"]
            "#,
        )
        .unwrap();
        let json = format!(r#"{{"model":"{model}","input":"x","options":{{"fallbacks":{fallbacks}}}}}"#);
        let job = from_json(json.as_bytes()).unwrap().into_job(&Door::default(), Timestamp(0)).unwrap();
        let mut all: Vec<(Box<str>, &'static str)> = on.iter().map(|(name, kind)| ((*name).into(), *kind)).collect();
        all.push(("local".into(), "openai-compatible"));
        all.sort();
        let found = targets(&job, &config, &all);
        let names = found.map(|all| all.iter().map(|t| format!("{}/{}", t.provider, t.model)).collect::<Vec<_>>());
        let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
        assert_eq!(
            names.map_err(|f| f.param.clone().unwrap_or_default().into_string()),
            expected.map_err(String::from)
        );
    }

    fn check(model: &str, fallbacks: &str, expected: Result<&[&str], &str>) {
        check_on(&[("openai", "openai")], model, fallbacks, expected);
    }

    #[test]
    fn a_route_is_the_models_targets_and_then_its_fallbacks() {
        check("local/x/y", "[]", Ok(&["local/x/y"]));
        check("smart", r#"["openai/z","local/a"]"#, Ok(&["local/a", "openai/b/c", "openai/z"]));
        check("nobody/x", "[]", Err("model"));
        check("alias", "[]", Err("model"));
        check("local/", "[]", Err("model"));
        check("orphan", "[]", Err("model"));
        check("local/x", r#"["nobody/x"]"#, Err("options.fallbacks"));
    }

    #[test]
    fn a_spelling_becomes_the_providers_own_id() {
        let on = &[("anthropic", "anthropic"), ("aws", "aws-bedrock"), ("work", "anthropic")];
        for (model, expected) in [
            ("anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4-5"),
            ("anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929"),
            ("anthropic/claude-of-tomorrow-1.0", "anthropic/claude-of-tomorrow-1.0"),
            ("work/Claude-Sonnet-4.5", "work/claude-sonnet-4-5"),
            ("aws/claude-sonnet-4.5", "aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            ("aws/us.anthropic.claude-sonnet-4-5", "aws/us.anthropic.claude-sonnet-4-5"),
            ("local/claude-sonnet-4.5", "local/claude-sonnet-4.5"),
            ("spelled", "anthropic/claude-sonnet-4-5"),
        ] {
            check_on(on, model, "[]", Ok(&[expected]));
        }
    }

    #[test]
    fn a_bare_name_is_a_model_wherever_it_is_served() {
        let on = &[("anthropic", "anthropic"), ("aws", "aws-bedrock"), ("a-friend", "anthropic")];
        let expected = [
            "anthropic/claude-sonnet-4-5",
            "a-friend/claude-sonnet-4-5",
            "aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ];
        check_on(on, "claude-sonnet-4.5", "[]", Ok(&expected));
        check_on(&[], "claude-sonnet-4.5", "[]", Err("model"));
    }

    #[test]
    fn who_asks_for_an_unknown_model_is_told_what_is_near() {
        let said = |model: &str, on: &On| {
            let failure = of_model(&model.parse().unwrap(), &Config::default(), on).unwrap_err();
            assert_eq!(failure.code, Code::UnknownModel);
            failure.message.to_string()
        };
        let on: &On = &[("anthropic".into(), "anthropic")];
        assert!(said("claude-sonet-4.5", on).contains("near: `claude-sonnet-4-"), "{}", said("claude-sonet-4.5", on));
        assert!(said("claude-sonnet-4.5", &[]).contains("is at anthropic, google-vertex-ai"));
        assert!(!said("claude-sonet-4.5", &[]).contains("near"));
    }
}
