//! The configuration in force and what was built from it.

use std::collections::HashSet;

use crate::config::Config;
use crate::job::{Job, ModelName, Target, Task};
use crate::provider::registry::Registry;
use crate::provider::remote::Remote;
use crate::telemetry::Labels;

/// One generation of configuration. Swapped as a whole.
pub struct Live {
    /// What the operator said.
    pub config: Config,
    /// The providers that are on.
    pub registry: Registry,
    /// `provider/model` that may be a metric label: what the configuration names, so that users'
    /// model names cannot make the number of time series grow.
    labelled: HashSet<Box<str>>,
    /// Fetches the files that jobs name by their addresses.
    pub remote: Remote,
}

impl Live {
    /// Builds what follows from `config`; `env` reads well-known key variables.
    ///
    /// # Errors
    /// Every problem, for the operator.
    pub fn build(config: Config, env: &dyn Fn(&str) -> Option<String>) -> Result<Live, Vec<String>> {
        let (registry, problems) = Registry::build(&config, env);
        if !problems.is_empty() {
            return Err(problems);
        }
        let targets = config.models.values().flat_map(|model| model.targets.iter());
        let labelled = targets.chain(config.prices.keys()).cloned().collect();
        let remote = Remote::new(config.egress.allow_hosts.iter().cloned());
        Ok(Live { config, registry, labelled, remote })
    }

    /// The task of a model that the configuration knows.
    #[must_use]
    pub fn task_of(&self, model: &ModelName) -> Option<Task> {
        self.config.models.get(model.as_str()).map(|model| model.task)
    }

    /// The metric labels of a job, at a target if there is one.
    #[must_use]
    pub fn labels(&self, job: &Job, target: Option<&Target>) -> Labels {
        let gateway = job.gateway.as_str();
        let known_gateway = gateway == "default" || self.config.gateways.contains_key(gateway);
        let model =
            target.filter(|target| self.labelled.contains(format!("{}/{}", target.provider, target.model).as_str()));
        Labels {
            gateway: if known_gateway { gateway.into() } else { "other".into() },
            task: job.task,
            provider: target.map_or("none".into(), |target| target.provider.clone()),
            model: model.map_or("other".into(), |target| target.model.clone()),
        }
    }
}
