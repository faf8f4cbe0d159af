//! Which targets may serve a job, in order.
//!
//! | the model's name | its targets |
//! | --- | --- |
//! | an alias of the configuration | those that it lists, whose providers are on, by its strategy |
//! | `provider/model` | that; a spelling that the catalog knows becomes the provider's own id |
//! | the same, and the job has `options.provider` | that, then the same model wherever it is served |
//! | a name that only the catalog knows | that model at every provider that is on, its maker first |
//!
//! Then those of the job's fallbacks. `options.provider` filters all of them, and orders those of
//! each model.

use crate::catalog::{self, Entry};
use crate::config::{Config, ModelConfig};
use crate::job::caps::TARGETS_MAX;
use crate::job::{Code, Failure, Job, ModelName, ProviderChoice, Target};

use super::strategy::{self, Candidate};

pub use super::strategy::Measures;

/// Names that an error suggests for a model that no provider has.
const NEAR_MAX: usize = 5;

/// The providers that are on: their names, sorted, and the kind of each.
pub type EnabledProviders = [(Box<str>, &'static str)];

/// The targets of `job` in the order in which they are to be tried: those of its model, then those of
/// its fallbacks, each once.
///
/// # Errors
/// `unknown_model`, naming `model`, `options.fallbacks` or `options.provider`.
pub fn plan(
    job: &Job,
    config: &Config,
    on: &EnabledProviders,
    measures: &mut Measures<'_>,
) -> Result<Vec<Target>, Failure> {
    gather(job, config, on, |candidates, model| strategy::order(candidates, model, job, measures))
}

/// Returns the targets of `job` before any strategy orders them: enough to know whether any provider serves it.
///
/// # Errors
/// As [`plan`].
pub fn targets(job: &Job, config: &Config, on: &EnabledProviders) -> Result<Vec<Target>, Failure> {
    gather(job, config, on, |_, _| {})
}

fn gather(
    job: &Job,
    config: &Config,
    on: &EnabledProviders,
    mut order: impl FnMut(&mut [Candidate], &ModelConfig),
) -> Result<Vec<Target>, Failure> {
    let choice = job.options.provider.as_ref();
    let mut targets = Vec::new();
    let mut refused = Vec::new();
    let models =
        std::iter::once(("model", &job.model)).chain(job.options.fallbacks.iter().map(|m| ("options.fallbacks", m)));
    for (param, model) in models {
        let found = candidates(model, choice.is_some(), config, on);
        let mut candidates = found.map_err(|failure| failure.with_param(param))?;
        if let Some(choice) = choice {
            candidates.retain(|Candidate { target, .. }| {
                let allowed = allows(choice, target, on);
                if !allowed && !refused.contains(&target.provider) {
                    refused.push(target.provider.clone());
                }
                allowed
            });
        }
        if let Some(model) = config.models.get(model.as_str()) {
            order(&mut candidates, model);
        }
        if let Some(choice) = choice {
            candidates.sort_by_key(|Candidate { target, .. }| {
                let place = choice.order.iter().position(|name| is_called(name, target, on));
                // Of a kind, the one that is simply called by it is what most people mean.
                (place.unwrap_or(usize::MAX), place.is_some_and(|place| choice.order[place] != target.provider))
            });
        }
        for Candidate { target, .. } in candidates {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    targets.truncate(TARGETS_MAX);
    if targets.is_empty() {
        let message = format!("options.provider leaves no provider; the model is served by `{}`", refused.join("`, `"));
        return Err(unknown(message).with_param("options.provider"));
    }
    Ok(targets)
}

fn allows(choice: &ProviderChoice, target: &Target, on: &EnabledProviders) -> bool {
    let named = |names: &[Box<str>]| names.iter().any(|name| is_called(name, target, on));
    (choice.only.is_empty() || named(&choice.only)) && !named(&choice.ignore)
}

/// Whether the provider of `target` has that name, or is of that kind.
fn is_called(name: &str, target: &Target, on: &EnabledProviders) -> bool {
    *name == *target.provider || kind_of(&target.provider, on) == Some(name)
}

/// The targets of one model, as they are listed.
///
/// # Errors
/// `unknown_model`.
pub fn of_model(model: &ModelName, config: &Config, on: &EnabledProviders) -> Result<Vec<Target>, Failure> {
    let candidates = candidates(model, false, config, on)?;
    Ok(candidates.into_iter().map(|candidate| candidate.target).take(TARGETS_MAX).collect())
}

/// Returns the targets that may serve one model: at least one.
fn candidates(
    model: &ModelName,
    elsewhere: bool,
    config: &Config,
    on: &EnabledProviders,
) -> Result<Vec<Candidate>, Failure> {
    if let Some(alias) = config.models.get(model.as_str()) {
        let weights = alias.weights.iter().copied().chain(std::iter::repeat(1.0));
        let candidate = |(text, weight): (&str, f64)| {
            let name = text.parse::<ModelName>().ok()?;
            let (provider, id) = name.split()?;
            Some(Candidate { target: at(provider, id, on)?, weight })
        };
        let candidates: Vec<Candidate> =
            alias.targets.iter().map(|text| &**text).zip(weights).filter_map(candidate).collect();
        if candidates.is_empty() {
            return Err(unknown(format!("none of the providers of `{model}` is configured")));
        }
        return Ok(candidates);
    }
    let targets = match model.split() {
        Some((provider, id)) => {
            let mut targets: Vec<Target> = at(provider, id, on).into_iter().collect();
            if elsewhere {
                add_same(&mut targets, provider, id, on);
            }
            if targets.is_empty() {
                return Err(unknown(format!("no provider `{provider}` is configured")));
            }
            targets
        }
        None => everywhere(model, on)?,
    };
    Ok(targets.into_iter().map(|target| Candidate { target, weight: 1.0 }).collect())
}

/// `id` at `provider`, if that is on: the provider's real id, if the catalog knows which one is meant.
fn at(provider: &str, id: &str, on: &EnabledProviders) -> Option<Target> {
    let kind = kind_of(provider, on).filter(|_| !id.is_empty())?;
    let id = catalog::id_of(kind, id).unwrap_or(id);
    Some(Target { provider: provider.into(), model: id.into() })
}

/// The kind of the provider of that name, if it is on.
#[must_use]
pub fn kind_of(provider: &str, on: &EnabledProviders) -> Option<&'static str> {
    on.binary_search_by(|(name, _)| (**name).cmp(provider)).ok().map(|at| on[at].1)
}

/// Adds all other providers that serve the model that `provider` calls `id`. A provider that is off still
/// says by its kind which model is meant.
fn add_same(targets: &mut Vec<Target>, provider: &str, id: &str, on: &EnabledProviders) {
    let kind = kind_of(provider, on).unwrap_or(provider);
    let Some(entry) = catalog::find(kind, id) else { return };
    for other in catalog::targets_of(entry) {
        for target in serving(other, on) {
            if targets.iter().all(|known| known.provider != target.provider) {
                targets.push(target);
            }
        }
    }
}

/// A model of one kind of provider, at every provider of that kind that is on.
fn serving(entry: &Entry, on: &EnabledProviders) -> impl Iterator<Item = Target> {
    let mut names: Vec<&str> = on.iter().filter(|(_, kind)| *kind == entry.provider).map(|(name, _)| &**name).collect();
    // The one that is simply called by its kind is what most people mean.
    names.sort_by_key(|name| *name != entry.provider);
    let id = entry.id;
    names.into_iter().map(move |name| Target { provider: name.into(), model: id.into() })
}

/// A model by its name alone, at every provider that is on.
fn everywhere(model: &ModelName, on: &EnabledProviders) -> Result<Vec<Target>, Failure> {
    let known = catalog::resolve(model.as_str());
    let targets: Vec<Target> = known.iter().flat_map(|entry| serving(entry, on)).collect();
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

/// Whether `of` may take a longer prompt than `than`, for which one was too long: by the catalog, where
/// it knows both; where it does not, another model may.
#[must_use]
pub fn larger_window(than: &Target, of: &Target, on: &EnabledProviders) -> bool {
    let entry = |target: &Target| catalog::find(kind_of(&target.provider, on)?, &target.model);
    let (theirs, ours) = (entry(than), entry(of));
    let window = |entry: Option<&Entry>| entry.and_then(|entry| entry.input_tokens_max);
    match (window(theirs), window(ours)) {
        (Some(theirs), Some(ours)) => ours > theirs,
        _ => {
            let is_same = theirs.zip(ours).is_some_and(|(theirs, ours)| theirs.name.base == ours.name.base);
            than.model != of.model && !is_same
        }
    }
}

fn unknown(message: String) -> Failure {
    Failure::new(Code::UnknownModel, message)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
