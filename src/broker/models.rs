//! The list of models that can be asked, the same at every entrance.
//!
//! Owns the query and the shape of a row: OpenAI's fields (`id`, `object`, `created`, `owned_by`) and ours.
//! The configuration's own models come first, then those of the catalog whose providers are on, by provider
//! and id. Prices are US dollars: of tokens per million, of anything else per one.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ConfigSnapshot;
use crate::catalog::{self, Entry, Price};
use crate::config::ModelConfig;
use crate::job::{Code, Failure, ModelName, Target, Task, Usd};
use crate::policy::route;
use crate::provider::registry;

/// A query that selects models.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsQuery {
    /// Selects models whose name contains this text, in any spelling.
    pub q: Option<String>,
    /// Selects models of this provider.
    pub provider: Option<String>,
    /// Selects models for this task.
    pub task: Option<Task>,
    /// Selects the whole catalog, whichever providers are on.
    pub all: bool,
}

impl ModelsQuery {
    /// Reads the pairs of a URL's query; an empty value counts as absent.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn parse<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<ModelsQuery, Failure> {
        let mut query = ModelsQuery::default();
        for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            match name {
                "q" => query.q = Some(value.to_owned()),
                "provider" => query.provider = Some(value.to_owned()),
                "task" => {
                    let task = serde_json::from_value(value.into());
                    query.task = Some(task.map_err(|_| Failure::invalid("task", "is no task"))?);
                }
                "all" => {
                    let all = value.parse();
                    query.all = all.map_err(|_| Failure::invalid("all", "must be true or false"))?;
                }
                _ => {
                    let cut = &name[..name.floor_char_boundary(64)];
                    return Err(Failure::invalid(cut, "must be q, provider, task or all"));
                }
            }
        }
        Ok(query)
    }

    fn takes(&self, id: &str, name: &str, provider: &str, task: Option<Task>) -> bool {
        let spelled = |text: &str| text.to_ascii_lowercase().replace(['.', '_', '@'], "-");
        let is_named = self.q.as_deref().is_none_or(|part| {
            let part = spelled(part);
            spelled(id).contains(&part) || name.contains(&part)
        });
        is_named
            && self.provider.as_deref().is_none_or(|wanted| wanted == provider)
            && self.task.is_none_or(|wanted| Some(wanted) == task)
    }
}

impl ConfigSnapshot {
    /// Lists the models that `query` selects, as many as fit into `bytes_max` bytes of JSON; `cut` then
    /// says how many there are.
    #[must_use]
    pub fn models(&self, query: &ModelsQuery, bytes_max: Option<usize>) -> Value {
        let rows = self.aliases(query).chain(self.served(query)).chain(self.elsewhere(query));
        let (mut data, mut bytes, mut left_out) = (Vec::new(), 0, 0);
        for row in rows {
            bytes += bytes_max.map_or(0, |_| row.to_string().len() + 1);
            match bytes_max {
                Some(most) if bytes > most => left_out += 1,
                _ => data.push(row),
            }
        }
        let mut listed = json!({"object": "list", "data": data, "prices_date": catalog::date(),
            "providers": self.registry.names().collect::<Vec<_>>()});
        if left_out > 0 {
            listed["cut"] = json!({"left_out": left_out, "message": "narrow it by q, provider or task"});
        }
        listed
    }

    /// Describes one model, by any name that a job may use.
    ///
    /// # Errors
    /// `unknown_model`.
    pub fn model(&self, name: &ModelName) -> Result<Value, Failure> {
        if let Some(alias) = self.config.models.get(name.as_str()) {
            return Ok(self.alias(name.as_str(), alias));
        }
        let target = match route::of_model(name, &self.config, &self.on) {
            Ok(targets) => targets.into_iter().next(),
            Err(failure) => {
                let (kind, id) = name.split().ok_or_else(|| failure.clone())?;
                let entry = catalog::find(kind, id).ok_or(failure)?;
                return Ok(self.row(entry, entry.provider));
            }
        };
        let target = target.ok_or_else(|| Failure::internal("a route without targets"))?;
        match self.entry_of(&target) {
            Some(entry) => Ok(self.row(entry, &target.provider)),
            None => Err(Failure::new(Code::UnknownModel, format!("the catalog does not know `{name}`"))),
        }
    }

    fn aliases(&self, query: &ModelsQuery) -> impl Iterator<Item = Value> {
        let mut rows = Vec::new();
        for (name, model) in &self.config.models {
            let owner = owner_of(model).unwrap_or_default();
            if query.takes(name, name, owner, self.task_of_alias(name, model)) {
                rows.push(self.alias(name, model));
            }
        }
        rows.into_iter()
    }

    fn task_of_alias(&self, name: &str, model: &ModelConfig) -> Option<Task> {
        model.task.or_else(|| self.task_of(&name.parse().ok()?)).or(Some(Task::default()))
    }

    /// Lists the catalog's models at each provider that is on.
    fn served(&self, query: &ModelsQuery) -> impl Iterator<Item = Value> {
        // A server on this machine knows by itself which models it has.
        let is_named = |name: &str| {
            let needs_key = |entry: &registry::Entry| !entry.provider.card().key_variables.is_empty();
            self.config.providers.contains_key(name) || self.registry.get(name).is_some_and(needs_key)
        };
        let named = self.on.iter().filter(move |(name, _)| is_named(name));
        named.flat_map(move |(name, kind)| {
            let of_kind = listed(kind).filter(|entry| query.takes(entry.id, &entry.name.base, name, Some(entry.task)));
            of_kind.map(|entry| self.row(entry, name))
        })
    }

    /// Lists the rest of the catalog, if the query asks for it.
    fn elsewhere(&self, query: &ModelsQuery) -> impl Iterator<Item = Value> {
        let is_off = |entry: &&Entry| self.on.iter().all(|(_, kind)| *kind != entry.provider);
        let rest = catalog::all().iter().filter(move |entry| query.all && entry.is_first() && is_off(entry));
        let takes = |entry: &&Entry| query.takes(entry.id, &entry.name.base, entry.provider, Some(entry.task));
        rest.filter(takes).map(|entry| self.row(entry, entry.provider))
    }

    fn alias(&self, name: &str, model: &ModelConfig) -> Value {
        let targets = name.parse().ok().and_then(|name| route::of_model(&name, &self.config, &self.on).ok());
        let entry = targets.as_ref().and_then(|all| self.entry_of(all.first()?));
        let mut row = match (entry, &targets) {
            (Some(entry), Some(all)) => self.row(entry, all.first().map_or("", |target| &target.provider)),
            _ => json!({"object": "model", "created": 0}),
        };
        row["id"] = json!(name);
        row["owned_by"] = json!(owner_of(model).unwrap_or("forebay"));
        row["task"] = json!(self.task_of_alias(name, model));
        row["targets"] = json!(model.targets);
        row["on"] = json!(targets.is_some());
        for (key, value) in
            [("input_tokens_max", model.input_tokens_max), ("output_tokens_max", model.output_tokens_max)]
        {
            if let Some(value) = value {
                row[key] = json!(value);
            }
        }
        if !model.abilities.is_empty() {
            row["abilities"] = json!(model.abilities);
        }
        row
    }

    fn row(&self, entry: &Entry, provider: &str) -> Value {
        let target = Target { provider: provider.into(), model: entry.id.into() };
        let mut row = json!({
            "id": id_of(&target),
            "object": "model",
            "created": 0,
            "owned_by": provider,
            "provider": provider,
            "name": entry.name.base,
            "task": entry.task,
            "on": route::kind_of(provider, &self.on).is_some(),
            "targets": self.targets(entry, &target),
            "abilities": entry.abilities.names().collect::<Vec<_>>(),
        });
        for (key, number) in [
            ("input_tokens_max", entry.input_tokens_max),
            ("output_tokens_max", entry.output_tokens_max),
            ("dimensions", entry.dimensions),
        ] {
            if let Some(number) = number {
                row[key] = json!(number);
            }
        }
        if let Some(day) = entry.deprecated {
            row["deprecated"] = json!(day);
        }
        if !entry.prices.is_empty() {
            row["prices"] = Value::Object(prices(entry));
        }
        row
    }

    /// Lists the targets that serve the same model: this one, then every other whose provider is on.
    fn targets(&self, entry: &Entry, target: &Target) -> Vec<String> {
        let mut targets = vec![id_of(target)];
        for other in catalog::targets_of(entry) {
            for (name, _) in self.on.iter().filter(|(_, kind)| *kind == other.provider) {
                if **name != *target.provider {
                    targets.push(id_of(&Target { provider: name.clone(), model: other.id.into() }));
                }
            }
        }
        targets
    }
}

/// Returns the provider of a model's first target.
fn owner_of(model: &ModelConfig) -> Option<&str> {
    model.targets.first()?.split_once('/').map(|(provider, _)| provider)
}

/// Returns the catalog's entries of one kind of provider, each model once.
fn listed(kind: &str) -> impl Iterator<Item = &'static Entry> {
    catalog::all().iter().filter(move |entry| entry.provider == kind && entry.is_first())
}

/// Returns the name that a job uses: `@cf/…` names its provider by itself.
fn id_of(target: &Target) -> String {
    match &*target.provider {
        "workers-ai" if target.model.starts_with("@cf/") => target.model.to_string(),
        provider => format!("{provider}/{}", target.model),
    }
}

/// Returns prices under the catalog's names.
fn prices(entry: &Entry) -> Map<String, Value> {
    const MILLION: i128 = 1_000_000;
    let each = entry.prices.texts().zip(entry.prices.iter());
    let shown = |((name, per_million), price): ((&str, &str), Price)| {
        let is_per_million = price.unit.is_of_tokens() || price.unit.is_factor();
        let usd =
            if is_per_million { per_million.to_owned() } else { Usd::from_pico(price.pico / MILLION).to_string() };
        (name.to_owned(), Value::String(usd))
    };
    each.map(shown).collect()
}
