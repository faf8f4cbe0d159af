//! What is said about usage, in our terms.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::job::{Bill, Usage, UsageSource};

/// The latest that was said, field by field.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct RawUsage {
    #[serde(deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_read_input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    output_tokens_details: Option<OutputDetails>,
    server_tool_use: Option<ServerTools>,
    service_tier: Option<Box<str>>,
    speed: Option<Box<str>>,
    iterations: Option<Vec<Iteration>>,
    /// Whether the end has said it: until then `output_tokens` is but a beginning.
    #[serde(skip)]
    is_final: bool,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct CacheCreation {
    #[serde(deserialize_with = "count")]
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "count")]
    thinking_tokens: Option<u64>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct ServerTools {
    #[serde(deserialize_with = "count")]
    web_search_requests: Option<u64>,
}

/// One call of the model, where one answer took several. Those that compact the context are not in
/// the totals, but billed.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Iteration {
    #[serde(rename = "type")]
    kind: Option<Box<str>>,
    #[serde(deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<u64>,
}

/// A count that may be missing, null, or of another shape altogether.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Whole(u64),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Shape::deserialize(deserializer)? {
        Shape::Whole(count) => Some(count),
        Shape::Other(_) => None,
    })
}

impl RawUsage {
    /// Takes what is said later: it replaces, it does not add. A nought after a number is a server
    /// that has nothing to say at that place.
    pub(super) fn update(&mut self, value: &RawValue, is_final: bool) {
        let Ok(later) = serde_json::from_str::<RawUsage>(value.get()) else { return };
        let latest = |later: Option<u64>, earlier: Option<u64>| match (later, earlier) {
            (Some(0) | None, Some(count)) => Some(count),
            (later, _) => later,
        };
        self.input_tokens = latest(later.input_tokens, self.input_tokens);
        self.output_tokens = latest(later.output_tokens, self.output_tokens);
        self.cache_read_input_tokens = latest(later.cache_read_input_tokens, self.cache_read_input_tokens);
        self.cache_creation_input_tokens = latest(later.cache_creation_input_tokens, self.cache_creation_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation.take());
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details.take());
        self.server_tool_use = later.server_tool_use.or(self.server_tool_use.take());
        self.service_tier = later.service_tier.or(self.service_tier.take());
        self.speed = later.speed.or(self.speed.take());
        self.iterations = later.iterations.or(self.iterations.take());
        self.is_final |= is_final;
    }

    /// The usage in our terms; `None` when nothing was said. Before the end the output is at least
    /// `output_estimate`.
    pub(super) fn usage(&self, output_estimate: u64) -> Option<Usage> {
        if self.input_tokens.is_none() && self.output_tokens.is_none() {
            return None;
        }
        let cached = self.cache_read_input_tokens;
        let written = self.cache_creation_input_tokens;
        let (compacted_in, compacted_out) = self.compactions();
        let sum = |parts: [Option<u64>; 3], more: u64| {
            parts.into_iter().flatten().fold(more, |sum: u64, part| sum.saturating_add(part))
        };
        let output = match (self.output_tokens, self.is_final) {
            (counted, false) => Some(counted.unwrap_or(0).max(output_estimate)),
            (counted, true) => counted.map(|counted| counted.saturating_add(compacted_out)),
        };
        Some(Usage {
            input_tokens: self.input_tokens.map(|new| sum([Some(new), cached, written], compacted_in)),
            output_tokens: output,
            cached_input_tokens: cached,
            cache_write_tokens: written,
            reasoning_tokens: self.output_tokens_details.as_ref().and_then(|details| details.thinking_tokens),
            source: if self.is_final { UsageSource::Provider } else { UsageSource::Estimate },
            ..Usage::default()
        })
    }

    fn compactions(&self) -> (u64, u64) {
        let compactions = self.iterations.iter().flatten().filter(|one| one.kind.as_deref() == Some("compaction"));
        compactions.fold((0, 0), |(input, output), one| {
            (
                u64::saturating_add(input, one.input_tokens.unwrap_or(0)),
                u64::saturating_add(output, one.output_tokens.unwrap_or(0)),
            )
        })
    }

    /// What else the price depends on. Fast mode is a tier of its own.
    pub(super) fn bill(&self) -> Bill {
        let tier = self.speed.clone().filter(|speed| **speed == *"fast").or_else(|| self.service_tier.clone());
        let some = |count: Option<u64>| count.filter(|count| *count > 0);
        Bill {
            service_tier: tier,
            cache_write_1h_tokens: some(self.cache_creation.as_ref().and_then(|raw| raw.ephemeral_1h_input_tokens)),
            searches: some(self.server_tool_use.as_ref().and_then(|raw| raw.web_search_requests)),
            ..Bill::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[&str], expected: [Option<u64>; 5]) -> RawUsage {
        let mut usage = RawUsage::default();
        for (at, json) in raw.iter().enumerate() {
            let value = RawValue::from_string((*json).to_owned()).expect("JSON");
            usage.update(&value, at + 1 == raw.len());
        }
        let sum = usage.usage(0).expect("something was said");
        let got = [
            sum.input_tokens,
            sum.output_tokens,
            sum.cached_input_tokens,
            sum.cache_write_tokens,
            sum.reasoning_tokens,
        ];
        assert_eq!(got, expected, "{raw:?}");
        usage
    }

    #[test]
    fn the_last_word_counts_and_the_input_is_the_sum_of_its_kinds() {
        check(
            &[r#"{"input_tokens":9,"output_tokens":1}"#, r#"{"output_tokens":20}"#],
            [Some(9), Some(20), None, None, None],
        );
        check(
            &[
                r#"{"input_tokens":4,"cache_read_input_tokens":100,"cache_creation_input_tokens":7,"output_tokens":1}"#,
                r#"{"input_tokens":0,"cache_read_input_tokens":null,"output_tokens":30,"output_tokens_details":{"thinking_tokens":12}}"#,
            ],
            [Some(111), Some(30), Some(100), Some(7), Some(12)],
        );
        check(
            &[r#"{"input_tokens":9,"output_tokens":0}"#, r#"{"input_tokens":26,"output_tokens":40}"#],
            [Some(26), Some(40), None, None, None],
        );
        let compacted = r#"{"input_tokens":10,"output_tokens":5,"iterations":[{"type":"compaction","input_tokens":100,"output_tokens":50},{"type":"message","input_tokens":10,"output_tokens":5}]}"#;
        check(&[compacted], [Some(110), Some(55), None, None, None]);
        check(&[r#"{"input_tokens":"many","output_tokens":5}"#], [None, Some(5), None, None, None]);
    }

    #[test]
    fn before_the_end_the_output_is_an_estimate() {
        let mut usage = RawUsage::default();
        assert!(usage.usage(50).is_none(), "nothing was said");
        usage.update(&RawValue::from_string(r#"{"input_tokens":9,"output_tokens":1}"#.into()).expect("JSON"), false);
        let so_far = usage.usage(50).expect("the input was said");
        assert_eq!((so_far.input_tokens, so_far.output_tokens), (Some(9), Some(50)));
        assert_eq!(so_far.source, UsageSource::Estimate);
    }

    #[test]
    fn the_bill_says_what_the_price_depends_on() {
        let raw = check(
            &[
                r#"{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":5},"server_tool_use":{"web_search_requests":3},"service_tier":"priority"}"#,
            ],
            [Some(10), Some(2), None, Some(9), None],
        );
        let bill = raw.bill();
        assert_eq!(bill.service_tier.as_deref(), Some("priority"));
        assert_eq!((bill.cache_write_1h_tokens, bill.searches), (Some(5), Some(3)));
    }
}
