//! The configuration in force and what was built from it, which a reload replaces as a whole.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::catalog::{self, Entry};
use crate::config::{Config, TlsConfig};
use crate::egress::files::FileFetcher;
use crate::egress::webhook::WebhookSender;
use crate::job::{Job, ModelName, Target, Task};
use crate::policy::route::{self, EnabledProviders};
use crate::provider::registry::Registry;
use crate::telemetry::{self, Labels};

/// One generation of the configuration.
pub struct ConfigSnapshot {
    /// The configuration as the operator wrote it.
    pub config: Config,
    /// The providers that are on.
    pub registry: Registry,
    /// Names of the providers that are on, sorted, with the kind of each.
    pub on: Box<EnabledProviders>,
    /// The targets (`provider/model`) that are metric labels in any case: those that the configuration
    /// names. Models of the catalog become labels as they are used, up to a number, so that users' model
    /// names cannot make the time series grow without end.
    labelled: HashSet<Box<str>>,
    /// Fetches the files that jobs name by their addresses.
    pub remote: FileFetcher,
    /// Sender of webhooks with the present settings.
    pub webhooks: WebhookSender,
    /// The TLS settings of the main port, if it speaks TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

impl ConfigSnapshot {
    /// Builds everything that follows from `config`; `env` reads well-known variables of keys.
    ///
    /// # Errors
    /// Every problem, for the operator.
    pub fn build(config: Config, env: &dyn Fn(&str) -> Option<String>) -> Result<ConfigSnapshot, Vec<String>> {
        let (registry, problems) = Registry::build(&config, env);
        if !problems.is_empty() {
            return Err(problems);
        }
        let targets = config.models.values().flat_map(|model| model.targets.iter());
        let labelled = targets.chain(config.prices.keys()).cloned().collect();
        let tls = config.server.tls.as_ref().map(TlsConfig::acceptor).transpose();
        let tls = tls.map_err(|(key, message)| vec![format!("server.tls.{key}: {message}")])?;
        let webhooks = webhooks(&config, env).map_err(|problem| vec![problem])?;
        let remote = FileFetcher::new(config.egress.allow_hosts.iter().cloned());
        // The catalog is read now rather than on the first job's path.
        tracing::debug!(date = catalog::date(), "the catalog of models and prices");
        let kind = |name: &str| registry.get(name).map(|entry| (name.into(), entry.provider.card().id));
        let on = registry.names().filter_map(kind).collect();
        Ok(ConfigSnapshot { config, registry, on, labelled, remote, webhooks, tls })
    }

    /// Returns the task of a model that the configuration or the catalog knows.
    #[must_use]
    pub fn task_of(&self, model: &ModelName) -> Option<Task> {
        let alias = self.config.models.get(model.as_str());
        if let Some(task) = alias.and_then(|alias| alias.task) {
            return Some(task);
        }
        let entry = match route::of_model(model, &self.config, &self.on) {
            Ok(targets) => self.entry_of(targets.first()?),
            // `options.provider` may ask for the model at another provider than the one that the name
            // says.
            Err(_) => model.split().and_then(|(kind, id)| catalog::find(kind, id)),
        };
        entry.map(|entry| entry.task)
    }

    /// Returns the catalog's entry of a target.
    #[must_use]
    pub fn entry_of(&self, target: &Target) -> Option<&'static Entry> {
        catalog::find(route::kind_of(&target.provider, &self.on)?, &target.model)
    }

    /// Returns the metric labels of a job, at a target if there is one.
    #[must_use]
    pub fn labels(&self, job: &Job, target: Option<&Target>) -> Labels {
        let gateway = job.gateway.as_str();
        let known_gateway = gateway == "default" || self.config.gateways.contains_key(gateway);
        let model = target.filter(|target| self.has_series(target));
        Labels {
            gateway: if known_gateway { gateway.into() } else { "other".into() },
            task: job.task,
            provider: target.map_or("none".into(), |target| target.provider.clone()),
            model: model.map_or("other".into(), |target| target.model.clone()),
        }
    }

    /// Returns whether a target's model is a metric label.
    #[must_use]
    pub fn has_series(&self, target: &Target) -> bool {
        let name = format!("{}/{}", target.provider, target.model);
        let is_said = self.labelled.contains(name.as_str());
        is_said || self.entry_of(target).is_some_and(|entry| *entry.id == *target.model && telemetry::is_series(&name))
    }
}

/// Builds the sender of webhooks, and checks that the gateways' own addresses are allowed.
fn webhooks(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Result<WebhookSender, String> {
    let webhooks = WebhookSender::build(&config.webhooks, env)?;
    for (name, gateway) in &config.gateways {
        if let Some(url) = &gateway.webhook {
            webhooks.check(url).map_err(|failure| format!("gateways.{name}.webhook: {}", failure.message))?;
        }
    }
    Ok(webhooks)
}
