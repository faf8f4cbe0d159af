//! What providers of this dialect say about usage, in our terms.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::money;
use super::rules::ReplyRules;
use crate::job::{Bill, Usage, UsageSource};
use crate::provider::protocol::emit;

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawUsage {
    #[serde(deserialize_with = "emit::count", alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count", alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    total_tokens: Option<u64>,
    /// Cached tokens at DeepSeek.
    #[serde(deserialize_with = "emit::count")]
    prompt_cache_hit_tokens: Option<u64>,
    /// Cached tokens at Together and Moonshot.
    #[serde(deserialize_with = "emit::count")]
    cached_tokens: Option<u64>,
    /// Cached tokens at Mistral.
    #[serde(deserialize_with = "emit::count")]
    num_cached_tokens: Option<u64>,
    /// Perplexity's, and the two below.
    #[serde(deserialize_with = "emit::count")]
    reasoning_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    citation_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    num_search_queries: Option<u64>,
    /// Seconds of audio at Mistral.
    #[serde(deserialize_with = "emit::count")]
    prompt_audio_seconds: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(alias = "output_tokens_details")]
    completion_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InputDetails {
    #[serde(deserialize_with = "emit::count")]
    cached_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    cache_write_tokens: Option<u64>,
    /// Tokens written to the cache at Alibaba.
    #[serde(deserialize_with = "emit::count")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    audio_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    image_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "emit::count")]
    reasoning_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    image_tokens: Option<u64>,
    #[serde(deserialize_with = "emit::count")]
    audio_tokens: Option<u64>,
}

/// The usage in our terms: cached inside the input, reasoning inside the output. Where the total is
/// more than its parts the rest is reasoning that the output does not count (xAI), or sound that the
/// input does not (Mistral); where the vendor counts reasoning and citations beside its totals they
/// are added. `None` when it says no count.
/// What else the price depends on goes to `bill`.
#[must_use]
pub fn read(value: &RawValue, rules: &ReplyRules, bill: &mut Bill) -> Option<Usage> {
    let parsed: RawUsage = serde_json::from_str(value.get()).ok()?;
    parsed.prompt_tokens.or(parsed.completion_tokens)?;
    let input = parsed.prompt_tokens_details.unwrap_or_default();
    let output = parsed.completion_tokens_details.unwrap_or_default();
    bill.searches = parsed.num_search_queries.or(bill.searches);
    bill.image_input_tokens = input.image_tokens.or(bill.image_input_tokens);
    bill.image_output_tokens = output.image_tokens.or(bill.image_output_tokens);
    bill.provider_usd = money::read(rules.money, value).or(bill.provider_usd);
    let beside = |count: Option<u64>| count.filter(|_| rules.counts_beside).unwrap_or(0);
    let parts = parsed.prompt_tokens.unwrap_or(0).saturating_add(parsed.completion_tokens.unwrap_or(0));
    let more = match (parsed.prompt_tokens, parsed.total_tokens) {
        (Some(_), Some(total)) => total.saturating_sub(parts),
        _ => 0,
    };
    let reasoning = output.reasoning_tokens.or(parsed.reasoning_tokens);
    // Mistral leaves sound out of the prompt's tokens.
    let sound = input.audio_tokens.filter(|sound| *sound == more && reasoning.unwrap_or(0) == 0).unwrap_or(0);
    let uncounted = (more - sound).saturating_add(beside(parsed.reasoning_tokens));
    Some(Usage {
        input_tokens: parsed.prompt_tokens.map(|count| count.saturating_add(beside(parsed.citation_tokens) + sound)),
        output_tokens: match (parsed.completion_tokens, uncounted) {
            (None, 0) => None,
            (count, uncounted) => Some(count.unwrap_or(0).saturating_add(uncounted)),
        },
        cached_input_tokens: input
            .cached_tokens
            .or(parsed.prompt_cache_hit_tokens)
            .or(parsed.cached_tokens)
            .or(parsed.num_cached_tokens),
        cache_write_tokens: input.cache_write_tokens.or(input.cache_creation_input_tokens),
        reasoning_tokens: reasoning.filter(|count| *count > 0).or((uncounted > 0).then_some(uncounted)).or(reasoning),
        audio_input_tokens: input.audio_tokens,
        audio_output_tokens: output.audio_tokens,
        audio_seconds: parsed.prompt_audio_seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds as f64),
        source: UsageSource::Provider,
        ..Usage::default()
    })
}

/// The usage of another answer of this dialect, in our terms.
#[must_use]
pub fn of(value: &RawValue) -> Option<Usage> {
    read(value, &ReplyRules::PLAIN, &mut Bill::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::protocol::openai_chat::Money;

    /// Input, output, reasoning; and the bill as it prints.
    fn check(rules: &ReplyRules, usage: &str, counts: [u64; 3], bill: &Bill) {
        let raw = RawValue::from_string(usage.to_owned()).unwrap();
        let mut got = Bill::default();
        let usage = read(&raw, rules, &mut got).unwrap();
        let read = [usage.input_tokens, usage.output_tokens, usage.reasoning_tokens].map(Option::unwrap_or_default);
        assert_eq!((read, &got), (counts, bill), "{raw}");
    }

    #[test]
    fn what_stands_beside_the_totals_is_added_once() {
        let perplexity = ReplyRules { money: Money::Dollars("cost"), counts_beside: true, ..ReplyRules::PLAIN };
        let xai = ReplyRules { money: Money::Ticks, ..ReplyRules::PLAIN };
        let research = r#"{"prompt_tokens":33,"completion_tokens":71,"total_tokens":104,"citation_tokens":200,
            "num_search_queries":18,"reasoning_tokens":700,"cost":{"total_cost":0.0551}}"#;
        let dollars = |text: &str| Some(text.parse().unwrap());
        let bill = Bill { searches: Some(18), provider_usd: dollars("0.0551"), ..Bill::default() };
        check(&perplexity, research, [233, 771, 700], &bill);
        check(&ReplyRules::PLAIN, research, [33, 71, 700], &Bill { provider_usd: None, ..bill });
        let spoken = r#"{"prompt_tokens":9,"completion_tokens":20,"total_tokens":59,"prompt_audio_seconds":4,
            "prompt_tokens_details":{"audio_tokens":30}}"#;
        check(&ReplyRules::PLAIN, spoken, [39, 20, 0], &Bill::default());
        let outside = r#"{"prompt_tokens":10,"completion_tokens":6,"total_tokens":20,"cost_in_usd_ticks":0,
            "prompt_tokens_details":{"image_tokens":3},"completion_tokens_details":{"reasoning_tokens":4}}"#;
        let bill = Bill { image_input_tokens: Some(3), provider_usd: dollars("0"), ..Bill::default() };
        check(&xai, outside, [10, 10, 4], &bill);
        // The same model at another provider says that it costs nothing: that is not to be believed.
        check(&ReplyRules::PLAIN, outside, [10, 10, 4], &Bill { provider_usd: None, ..bill });
    }
}
