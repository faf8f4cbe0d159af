//! What an attempt consumed, as far as it is known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Source of the numbers of a usage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider reported the numbers.
    Provider,
    /// Forebay counted them in what was sent and received.
    Estimate,
    /// The numbers are not known.
    #[default]
    None,
}

macro_rules! usage {
    ($($(#[$doc:meta])* $field:ident: $kind:ty,)*) => {
        /// Usage of an attempt or a job. Absent = not known; cached and reasoning tokens are
        /// parts of the input and output counts, never beside them.
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct Usage {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$kind>,)*
            /// Source of these numbers.
            pub source: UsageSource,
        }

        impl Usage {
            /// Adds field by field; what is absent on both sides stays absent. The source of the
            /// sum is the weaker of the two.
            pub fn add(&mut self, other: &Usage) {
                $(if let Some(more) = other.$field {
                    self.$field = Some(self.$field.unwrap_or_default() + more);
                })*
                self.source = match (self.source, other.source) {
                    (UsageSource::Provider, UsageSource::Provider) => UsageSource::Provider,
                    (UsageSource::None, only) | (only, UsageSource::None) => only,
                    _ => UsageSource::Estimate,
                };
            }
        }
    };
}

usage! {
    /// All input tokens, cached ones included.
    input_tokens: u64,
    /// All output tokens, reasoning included.
    output_tokens: u64,
    /// Input tokens read from the provider's prompt cache.
    cached_input_tokens: u64,
    /// Input tokens written to the provider's prompt cache.
    cache_write_tokens: u64,
    /// Output tokens spent on reasoning.
    reasoning_tokens: u64,
    /// Input tokens that were audio.
    audio_input_tokens: u64,
    /// Output tokens that were audio.
    audio_output_tokens: u64,
    /// Number of images that were made.
    images: u64,
    /// Seconds of audio that were made or read.
    audio_seconds: f64,
    /// Seconds of video that were made.
    video_seconds: f64,
    /// Characters of text, where the provider bills them.
    characters: u64,
    /// Requests, where the provider bills them.
    requests: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_stays_absent_in_a_sum() {
        let mut sum = Usage { input_tokens: Some(3), source: UsageSource::Provider, ..Usage::default() };
        sum.add(&Usage {
            input_tokens: Some(4),
            output_tokens: Some(0),
            source: UsageSource::Estimate,
            ..Usage::default()
        });
        assert_eq!((sum.input_tokens, sum.output_tokens, sum.reasoning_tokens), (Some(7), Some(0), None));
        assert_eq!(sum.source, UsageSource::Estimate);
    }
}
