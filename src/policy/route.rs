//! Which targets may serve a job, in order.

use crate::config::Config;
use crate::job::{Code, Failure, Job, ModelName, Target};

/// The targets of `job`: those of its model, then those of its fallbacks, each once.
///
/// # Errors
/// `unknown_model`, naming `model` or `options.fallbacks`.
pub fn targets(job: &Job, config: &Config, has_provider: &dyn Fn(&str) -> bool) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    let models =
        std::iter::once(("model", &job.model)).chain(job.options.fallbacks.iter().map(|m| ("options.fallbacks", m)));
    for (param, model) in models {
        for target in of_model(model, config, has_provider).map_err(|failure| failure.with_param(param))? {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    Ok(targets)
}

fn of_model(model: &ModelName, config: &Config, has_provider: &dyn Fn(&str) -> bool) -> Result<Vec<Target>, Failure> {
    if let Some(alias) = config.models.get(model.as_str()) {
        let target = |text: &str| {
            let (provider, model) = text.split_once('/')?;
            has_provider(provider).then(|| Target { provider: provider.into(), model: model.into() })
        };
        let targets: Vec<Target> = alias.targets.iter().filter_map(|text| target(text)).collect();
        if targets.is_empty() {
            return Err(unknown(format!("none of the providers of `{model}` is configured")));
        }
        return Ok(targets);
    }
    match model.split() {
        Some((provider, id)) if has_provider(provider) && !id.is_empty() => {
            Ok(vec![Target { provider: provider.into(), model: id.into() }])
        }
        Some((provider, _)) => Err(unknown(format!("no provider `{provider}` is configured"))),
        None => Err(unknown(format!("`{model}` is neither an alias nor `provider/model`"))),
    }
}

fn unknown(message: String) -> Failure {
    Failure::new(Code::UnknownModel, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Timestamp;
    use crate::wire::submit::{Door, from_json};

    fn check(model: &str, fallbacks: &str, expected: Result<&[&str], &str>) {
        let config: Config = toml::from_str(
            r#"
            [models.smart]
            targets = ["gone/x", "local/a", "openai/b/c"]
            [models.orphan]
            targets = ["gone/x"]
            "#,
        )
        .unwrap();
        let json = format!(r#"{{"model":"{model}","input":"x","options":{{"fallbacks":{fallbacks}}}}}"#);
        let job = from_json(json.as_bytes()).unwrap().into_job(&Door::default(), Timestamp(0)).unwrap();
        let found = targets(&job, &config, &|name| name == "local" || name == "openai");
        let names = found.map(|all| all.iter().map(|t| format!("{}/{}", t.provider, t.model)).collect::<Vec<_>>());
        let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
        assert_eq!(
            names.map_err(|f| f.param.clone().unwrap_or_default().into_string()),
            expected.map_err(String::from)
        );
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
}
