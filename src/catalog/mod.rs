//! The models of the world as far as their makers publish them: what they can do and what they cost.
//!
//! Owns the embedded catalog (`models.tsv`, written by `scripts/catalog.py`, and `providers.tsv`), the finding of a model
//! by any of its names, and which entries are the same model. Promises that it is read once, when
//! it is first used, and that its texts are never copied. Does not know which providers are on.

mod ability;
mod name;
mod price;
mod provider;
mod read;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

pub use ability::Abilities;
pub use name::Name;
pub use price::{Price, Prices, Service, Unit};

use provider::IdForm;

use crate::job::Task;

/// A model at a provider.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The provider's kind, as in its card.
    pub provider: &'static str,
    /// The provider's own id of the model.
    pub id: &'static str,
    /// The only region for which this holds; none = wherever no entry of its own is.
    pub region: Option<&'static str>,
    /// Task that the model serves.
    pub task: Task,
    /// The most tokens that go in.
    pub input_tokens_max: Option<u64>,
    /// The most tokens that come out.
    pub output_tokens_max: Option<u64>,
    /// The length of its vectors, for embeddings.
    pub dimensions: Option<u64>,
    /// The day (`2026-11-30`) from which it may be gone.
    pub deprecated: Option<&'static str>,
    /// What it can do: names as in the listing (`tools`, `vision`, `reasoning`, `prefill`,
    /// `structured_output`, `streaming`, `responses_only`, …).
    pub abilities: Abilities,
    /// Prices of the model.
    pub prices: Prices,
    /// Name that the model has everywhere.
    pub name: Name<'static>,
}

impl Entry {
    /// Whether it is the one that stands for its id: of entries for several regions, only one does.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.region.is_none() || find(self.provider, self.id).is_some_and(|first| first.region == self.region)
    }
}

struct Catalog {
    date: &'static str,
    entries: Vec<Entry>,
    /// By kind of provider, then by the provider's id; entries of one region only where there is no
    /// other.
    by_id: HashMap<&'static str, HashMap<&'static str, usize>>,
    /// By name without date.
    by_name: HashMap<Cow<'static, str>, Vec<usize>>,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let (date, entries) = read::all(include_str!("models.tsv"));
    let mut catalog = Catalog { date, entries, by_id: HashMap::new(), by_name: HashMap::new() };
    for (at, entry) in catalog.entries.iter().enumerate() {
        // The file is sorted, and a region's line stands after the one for all.
        catalog.by_id.entry(entry.provider).or_default().entry(entry.id).or_insert(at);
        let same: &mut Vec<usize> = catalog.by_name.entry(entry.name.base.clone()).or_default();
        same.push(at);
    }
    for same in catalog.by_name.values_mut() {
        same.sort_by_key(|at| provider::facts(catalog.entries[*at].provider).rank);
    }
    catalog
});

/// Whether every answer of the provider of that kind has a fee that the catalog has no price for.
#[must_use]
pub fn has_unlisted_fee(provider: &str) -> bool {
    provider::facts(provider).has_search_fee
}

/// Returns the month in which the prices held: `2026-11`.
#[must_use]
pub fn date() -> &'static str {
    CATALOG.date
}

/// Every entry, by provider and id.
#[must_use]
pub fn all() -> &'static [Entry] {
    &CATALOG.entries
}

/// The entry of `model` at the provider of kind `provider`, by its exact id or any spelling of it:
/// dots or dashes, with or without a date (none means the entry without one, else the newest).
#[must_use]
pub fn find(provider: &str, model: &str) -> Option<&'static Entry> {
    let by_id = CATALOG.by_id.get(provider)?;
    if let Some(at) = by_id.get(plain_id(model)) {
        return Some(&CATALOG.entries[*at]);
    }
    let name = Name::of(provider, plain_id(model));
    best(provider, model, &name)
}

/// As [`find`], of the entries for one region where there is one.
#[must_use]
pub fn find_in(provider: &str, model: &str, region: Option<&str>) -> Option<&'static Entry> {
    let found = find(provider, model)?;
    let of_region = |entry: &&Entry| {
        (entry.provider, entry.id) == (found.provider, found.id) && entry.region.is_some() && entry.region == region
    };
    let same = CATALOG.by_name.get(&found.name.base)?;
    same.iter().map(|at| &CATALOG.entries[*at]).find(of_region).or(Some(found))
}

/// What to send to the provider of kind `provider` for `model`: its real id, if `model` is only a
/// spelling of one. An id that looks like the provider's own goes out as it is written.
#[must_use]
pub fn id_of(provider: &str, model: &str) -> Option<&'static str> {
    let has_makers = provider::facts(provider).ids == IdForm::Bedrock;
    let is_own = has_makers && (model.contains(':') || name::maker_of(model).is_some());
    if is_own { None } else { find(provider, model).map(|entry| entry.id) }
}

/// Every provider's entry of the model that is called `model` everywhere, first party first.
#[must_use]
pub fn resolve(model: &str) -> Vec<&'static Entry> {
    let name = Name::of("", model);
    let mut found: Vec<&'static Entry> = Vec::new();
    for entry in same_as(&name) {
        if found.iter().all(|known| known.provider != entry.provider) {
            found.extend(best(entry.provider, model, &name));
        }
    }
    found
}

/// Entries that are the same model as `entry`, one a provider, itself included.
#[must_use]
pub fn targets_of(entry: &Entry) -> Vec<&'static Entry> {
    let mut found: Vec<&'static Entry> = Vec::new();
    for other in same_as(&entry.name).filter(|other| other.task == entry.task) {
        let model = if other.provider == entry.provider { entry.id } else { "" };
        if found.iter().all(|known| known.provider != other.provider) {
            let chosen = CATALOG.by_id.get(other.provider).and_then(|ids| ids.get(model));
            let chosen = chosen.map(|at| &CATALOG.entries[*at]);
            found.extend(chosen.or_else(|| best(other.provider, model, &entry.name)));
        }
    }
    found
}

/// Ids whose names share most of their pairs of letters with `model`, the likeliest first, of entries
/// that `is_on`.
#[must_use]
pub fn near(model: &str, count_max: usize, is_on: impl Fn(&Entry) -> bool) -> Vec<&'static str> {
    let request = Name::of("", model);
    let pairs: Vec<&[u8]> = request.base.as_bytes().windows(2).collect();
    let mut found: Vec<(usize, &'static str)> = Vec::new();
    for (base, same) in &CATALOG.by_name {
        let shared = base.as_bytes().windows(2).filter(|pair| pairs.contains(pair)).count();
        let (enough, odd) = (shared * 2 >= pairs.len(), pairs.len().max(base.len()) - shared.min(base.len()));
        if enough && let Some(at) = same.iter().find(|at| is_on(&CATALOG.entries[**at])) {
            found.push((odd, CATALOG.entries[*at].id));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(count_max).map(|(_, id)| id).collect()
}

/// All entries of that name without date, first party first.
fn same_as(name: &Name<'_>) -> impl Iterator<Item = &'static Entry> + use<> {
    let same = CATALOG.by_name.get(&*name.base).map_or(&[][..], Vec::as_slice);
    same.iter().map(|at| &CATALOG.entries[*at])
}

/// Of entries of one name, the one that `provider` should be asked for.
fn best(provider: &str, model: &str, name: &Name<'_>) -> Option<&'static Entry> {
    let place = name::place_of(provider, model);
    // A day that was asked for is also the one of entries without a date, where there is no other.
    let only_day = same_as(name).all(|entry| entry.name.date == 0 || entry.name.date == name.date)
        && same_as(name).any(|entry| entry.name.date == name.date);
    same_as(name)
        .filter(|entry| entry.provider == provider)
        .filter(|entry| place.is_none_or(|place| name::place_of(provider, entry.id) == Some(place)))
        .filter(|entry| name.date == 0 || entry.name.date == name.date || (only_day && entry.name.date == 0))
        .max_by_key(|entry| {
            let newest = if entry.name.date == 0 { u32::MAX } else { entry.name.date };
            let newest = if name.date == 0 { newest } else { u32::from(entry.name.date == name.date) };
            let place = name::place_of(provider, entry.id).map_or(0, name::preference);
            (entry.region.is_none(), newest, place, std::cmp::Reverse(entry.id))
        })
}

/// The id within what may stand around it: a fine-tuned model's base, a profile's resource name.
fn plain_id(model: &str) -> &str {
    if model.starts_with("arn:") {
        return model.rsplit('/').next().unwrap_or(model);
    }
    match model.strip_prefix("ft:").and_then(|rest| rest.find(':')) {
        Some(end) => &model[..end + 3],
        None => model,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
