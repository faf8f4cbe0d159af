//! Labels under which a charge is counted in metrics.
//!
//! Owns the closed sets of values: what the configuration does not name is `other`, and of an allow-listed tag only the
//! first values get a time series of their own.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog;
use crate::config::Config;
use crate::job::caps::TAG_LABEL_VALUES_MAX;
use crate::job::{Charge, Task};
use crate::telemetry::{self, Labels};

/// Labels of the metrics, kept to closed sets of values.
#[derive(Debug, Default)]
pub(super) struct Labelling {
    gateways: BTreeSet<Box<str>>,
    models: BTreeSet<Box<str>>,
    /// The values that were seen, by the key of an allow-listed tag.
    tags: BTreeMap<Box<str>, BTreeSet<String>>,
}

impl Labelling {
    /// Makes the sets of `config`. Values of tags that were seen before stay known.
    pub(super) fn from_config(config: &Config, before: Labelling) -> Labelling {
        let targets = config.models.values().flat_map(|model| model.targets.iter());
        let mut seen = before.tags;
        let tags = config.metrics.tag_labels.iter().map(|key| (key.clone(), seen.remove(key).unwrap_or_default()));
        Labelling {
            gateways: config.gateways.keys().cloned().chain(["default".into()]).collect(),
            models: targets.chain(config.prices.keys()).cloned().collect(),
            tags: tags.collect(),
        }
    }

    /// Returns the labels of `charge`.
    pub(super) fn labels(&self, charge: &Charge) -> Labels {
        let model = format!("{}/{}", charge.provider, charge.provider_model);
        let is_said = self.models.contains(model.as_str()) || self.models.contains(&charge.provider_model);
        let is_of_catalog = || {
            let entry = catalog::find(&charge.provider, &charge.provider_model);
            entry.is_some_and(|entry| *entry.id == *charge.provider_model)
        };
        let is_known = is_said || is_of_catalog() && telemetry::is_series(&model);
        let gateway = charge.gateway.as_str();
        Labels {
            gateway: if self.gateways.contains(gateway) { gateway.into() } else { "other".into() },
            task: Task::default(),
            provider: charge.provider.clone(),
            model: if is_known { charge.provider_model.clone() } else { "other".into() },
        }
    }

    /// Returns the allow-listed tags of `charge`, one pair per key that is allow-listed.
    pub(super) fn tags(&mut self, charge: &Charge) -> Vec<(String, String)> {
        let mut pairs = Vec::with_capacity(self.tags.len());
        for (key, seen) in &mut self.tags {
            let value = charge.metadata.get(key).map(ToString::to_string).unwrap_or_default();
            if !seen.contains(&value) {
                if seen.len() >= TAG_LABEL_VALUES_MAX {
                    pairs.push((label_name(key), "other".to_owned()));
                    continue;
                }
                seen.insert(value.clone());
            }
            pairs.push((label_name(key), value));
        }
        pairs
    }
}

/// Returns `tag_` and the key, in which characters that Prometheus does not take are replaced.
fn label_name(key: &str) -> String {
    let safe = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    "tag_".chars().chain(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{AttemptOutcome, Cost, Timestamp, Usage};

    fn charge(gateway: &str, target: &str, team: &str) -> Charge {
        let (provider, model) = target.split_once('/').unwrap();
        Charge {
            job: "a".parse().unwrap(),
            attempt: 1,
            at: Timestamp(0),
            gateway: gateway.parse().unwrap(),
            model: "m".parse().unwrap(),
            provider: provider.into(),
            provider_model: model.into(),
            metadata: serde_json::from_str(&format!(r#"{{"team.id":"{team}"}}"#)).unwrap(),
            outcome: AttemptOutcome::Completed,
            usage: Usage::default(),
            cost: Cost::FREE,
            closes_job: true,
            unpriced_job: false,
        }
    }

    #[test]
    fn only_what_the_configuration_names_is_a_label() {
        let config = r#"
            [models.smart]
            targets = ["openai/gpt"]
            [prices."local/smol"]
            request_usd = 1
            [prices."@cf/meta/llama"]
            request_usd = 1
            [gateways.team]
        "#;
        let labelling = Labelling::from_config(&toml::from_str(config).unwrap(), Labelling::default());
        for (gateway, target, expected) in [
            ("default", "openai/gpt", ("default", "openai", "gpt")),
            ("team", "local/smol", ("team", "local", "smol")),
            ("team", "workers-ai/@cf/meta/llama", ("team", "workers-ai", "@cf/meta/llama")),
            ("guest", "openai/user-made", ("other", "openai", "other")),
        ] {
            let labels = labelling.labels(&charge(gateway, target, "x"));
            assert_eq!((&*labels.gateway, &*labels.provider, &*labels.model), expected);
        }
    }

    #[test]
    fn a_tag_has_so_many_values_and_no_more() {
        let config = |keys: &str| toml::from_str(&format!("metrics.tag_labels = [{keys}]")).unwrap();
        let mut labelling = Labelling::from_config(&config(r#""team.id""#), Labelling::default());
        let mut tag = |team: &str| labelling.tags(&charge("default", "a/b", team)).remove(0);
        for team in 0..TAG_LABEL_VALUES_MAX {
            assert_eq!(tag(&team.to_string()), ("tag_team_id".to_owned(), team.to_string()));
        }
        assert_eq!(tag("one more").1, "other");
        assert_eq!(tag("0").1, "0", "a value that was seen keeps its series");
        let mut labelling = Labelling::from_config(&config(r#""team.id", "b""#), labelling);
        assert_eq!(labelling.tags(&charge("default", "a/b", "0")).len(), 2);
        assert_eq!(labelling.tags(&charge("default", "a/b", "later"))[1].1, "other", "a reload does not forget");
        assert!(Labelling::from_config(&config(""), labelling).tags(&charge("default", "a/b", "0")).is_empty());
    }
}
