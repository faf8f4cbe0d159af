//! What providers of this dialect say about usage, in our terms.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::money;
use super::rules::ReplyRules;
use crate::job::{Bill, Usage, UsageSource};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    #[serde(deserialize_with = "count", alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "count", alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    total_tokens: Option<u64>,
    /// DeepSeek's.
    #[serde(deserialize_with = "count")]
    prompt_cache_hit_tokens: Option<u64>,
    /// Together's and Moonshot's.
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<u64>,
    /// Mistral's.
    #[serde(deserialize_with = "count")]
    num_cached_tokens: Option<u64>,
    /// Perplexity's, and the two below.
    #[serde(deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    citation_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    num_search_queries: Option<u64>,
    /// Mistral's.
    #[serde(deserialize_with = "count")]
    prompt_audio_seconds: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(alias = "output_tokens_details")]
    completion_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InputDetails {
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_write_tokens: Option<u64>,
    /// Alibaba's.
    #[serde(deserialize_with = "count")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    audio_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    image_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    image_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    audio_tokens: Option<u64>,
}

/// A count that may be missing, null, fractional or of another shape altogether.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Whole(u64),
        Real(f64),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Shape::deserialize(deserializer)? {
        Shape::Whole(count) => Some(count),
        Shape::Real(count) if (0.0..9.0e15).contains(&count) => Some(count as u64),
        Shape::Real(_) | Shape::Other(_) => None,
    })
}

/// The usage in our terms: cached inside the input, reasoning inside the output. Where the total is
/// more than its parts the rest is reasoning that the output does not count (xAI); where the vendor
/// counts reasoning and citations beside its totals they are added. `None` when it says no count.
/// What else the price depends on goes to `bill`.
pub(super) fn read(value: &RawValue, rules: &ReplyRules, bill: &mut Bill) -> Option<Usage> {
    let said: Said = serde_json::from_str(value.get()).ok()?;
    said.prompt_tokens.or(said.completion_tokens)?;
    let input = said.prompt_tokens_details.unwrap_or_default();
    let output = said.completion_tokens_details.unwrap_or_default();
    bill.searches = said.num_search_queries.or(bill.searches);
    bill.image_input_tokens = input.image_tokens.or(bill.image_input_tokens);
    bill.image_output_tokens = output.image_tokens.or(bill.image_output_tokens);
    bill.provider_usd = money::read(rules.money, value).or(bill.provider_usd);
    let beside = |count: Option<u64>| count.filter(|_| rules.counts_beside).unwrap_or(0);
    let parts = said.prompt_tokens.unwrap_or(0).saturating_add(said.completion_tokens.unwrap_or(0));
    let uncounted = match (said.prompt_tokens, said.total_tokens) {
        (Some(_), Some(total)) => total.saturating_sub(parts),
        _ => 0,
    }
    .saturating_add(beside(said.reasoning_tokens));
    let reasoning = output.reasoning_tokens.or(said.reasoning_tokens);
    Some(Usage {
        input_tokens: said.prompt_tokens.map(|count| count.saturating_add(beside(said.citation_tokens))),
        output_tokens: match (said.completion_tokens, uncounted) {
            (None, 0) => None,
            (count, uncounted) => Some(count.unwrap_or(0).saturating_add(uncounted)),
        },
        cached_input_tokens: input
            .cached_tokens
            .or(said.prompt_cache_hit_tokens)
            .or(said.cached_tokens)
            .or(said.num_cached_tokens),
        cache_write_tokens: input.cache_write_tokens.or(input.cache_creation_input_tokens),
        reasoning_tokens: reasoning.filter(|count| *count > 0).or((uncounted > 0).then_some(uncounted)).or(reasoning),
        audio_input_tokens: input.audio_tokens,
        audio_output_tokens: output.audio_tokens,
        audio_seconds: said.prompt_audio_seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds as f64),
        source: UsageSource::Provider,
        ..Usage::default()
    })
}

/// The usage of another answer of this dialect, in our terms.
#[must_use]
pub fn of(value: &RawValue) -> Option<Usage> {
    read(value, &ReplyRules::PLAIN, &mut Bill::default())
}
