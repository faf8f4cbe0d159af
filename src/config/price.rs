//! `[prices."provider/model"]`: prices that an operator names, in US dollars.
//!
//! Owns the keys and which of them are prices of tokens. What a price is that is not named, the
//! fields say.

use serde::Deserialize;

use crate::job::Usd;

macro_rules! prices {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// The prices of one model. They stand alone: what they leave out is not asked of the catalog.
        #[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct PriceConfig {
            $($(#[$doc])* #[serde(deserialize_with = "some_usd")] pub $field: Option<Usd>,)*
            /// Other prices of tokens for requests with a longer input.
            pub tiers: Vec<TierConfig>,
            /// Per request; alone, it includes the tokens.
            #[serde(deserialize_with = "some_usd")]
            pub request_usd: Option<Usd>,
            /// Per search that the provider makes.
            #[serde(deserialize_with = "some_usd")]
            pub search_usd: Option<Usd>,
            /// Per image that comes out.
            #[serde(deserialize_with = "some_usd")]
            pub image_usd: Option<Usd>,
            /// Per second of audio or video.
            #[serde(deserialize_with = "some_usd")]
            pub second_usd: Option<Usd>,
            /// Per character that is spoken.
            #[serde(deserialize_with = "some_usd")]
            pub character_usd: Option<Usd>,
        }

        /// Prices of tokens for requests with more input than so much: of the whole request.
        #[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct TierConfig {
            /// Input tokens above which they hold.
            pub above_input_tokens: u64,
            $($(#[$doc])* #[serde(default, deserialize_with = "some_usd")] pub $field: Option<Usd>,)*
        }

        impl PriceConfig {
            /// The prices of tokens by key, those that are not named as well.
            #[must_use]
            pub fn of_tokens(&self) -> Vec<(&'static str, Option<Usd>)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }

        impl TierConfig {
            /// The prices of tokens by key, those that are not named as well.
            #[must_use]
            pub fn of_tokens(&self) -> Vec<(&'static str, Option<Usd>)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }
    };
}

prices! {
    /// Per million input tokens.
    input_per_mtok_usd,
    /// Per million output tokens.
    output_per_mtok_usd,
    /// Per million input tokens read from the provider's cache. Absent = as input.
    cached_input_per_mtok_usd,
    /// Per million input tokens written to the provider's cache. Absent = as input.
    cache_write_per_mtok_usd,
    /// The same, kept for an hour. Absent = as other writes.
    cache_write_1h_per_mtok_usd,
    /// Per million output tokens spent on reasoning. Absent = as output.
    reasoning_per_mtok_usd,
    /// Per million input tokens that are audio. Absent = as input.
    audio_input_per_mtok_usd,
    /// Per million output tokens that are audio. Absent = as output.
    audio_output_per_mtok_usd,
    /// Per million input tokens that are images. Absent = as input.
    image_input_per_mtok_usd,
    /// Per million output tokens that are images. Absent = as output.
    image_output_per_mtok_usd,
}

impl PriceConfig {
    /// The prices of other things by key.
    #[must_use]
    pub fn of_others(&self) -> [(&'static str, Option<Usd>); 5] {
        [
            ("request_usd", self.request_usd),
            ("search_usd", self.search_usd),
            ("image_usd", self.image_usd),
            ("second_usd", self.second_usd),
            ("character_usd", self.character_usd),
        ]
    }
}

fn some_usd<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Usd>, D::Error> {
    crate::job::usd_of_number(deserializer).map(Some)
}
