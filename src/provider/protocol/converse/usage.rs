//! What Converse says about usage, in our terms.

use serde::Deserialize;

use crate::job::{Usage, UsageSource};

/// As it stands on the wire. `…TokenCount` repeats the cache's numbers and is not read.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_details: Option<Vec<CacheDetail>>,
}

/// Tokens that were written to the prompt cache, and for how long.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct CacheDetail {
    ttl: Option<Box<str>>,
    input_tokens: Option<u64>,
}

impl RawUsage {
    /// Cached tokens inside the input. `None` when it says no count.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.input_tokens.or(self.output_tokens)?;
        let cached =
            self.cache_read_input_tokens.unwrap_or(0).saturating_add(self.cache_write_input_tokens.unwrap_or(0));
        Some(Usage {
            input_tokens: self.input_tokens.map(|count| count.saturating_add(cached)),
            output_tokens: self.output_tokens,
            cached_input_tokens: self.cache_read_input_tokens,
            cache_write_tokens: self.cache_write_input_tokens,
            source: UsageSource::Provider,
            ..Usage::default()
        })
    }

    /// The part of what was written to the cache that is kept for an hour.
    pub(super) fn kept_an_hour(&self) -> Option<u64> {
        let hour = |kept: &&CacheDetail| kept.ttl.as_deref() == Some("1h");
        let counts = self.cache_details.iter().flatten().filter(hour).filter_map(|kept| kept.input_tokens);
        counts.reduce(u64::saturating_add)
    }
}
