//! `[prices."provider/model"]`: prices that an operator names, in US dollars.
//!
//! Owns the keys and which of them are prices of tokens. The fields say which price holds where one is not named.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::job::Usd;

/// An amount of US dollars, as a number or as a decimal text.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum Dollars {
    Number(#[schemars(range(min = 0))] f64),
    Decimal(String),
}

macro_rules! prices {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// The prices of one model at one provider, for example `[prices."openai/gpt-5"]`, in US dollars. They replace all
        /// prices of the catalog for it.
        #[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct PriceConfig {
            $($(#[$doc])* #[serde(deserialize_with = "some_usd")] #[schemars(with = "Option<Dollars>")] pub $field: Option<Usd>,)*
            /// Other prices of tokens for requests with a longer input, for example
            /// `[{ above_input_tokens = 200000, input_per_mtok_usd = 6 }]`.
            pub tiers: Vec<TierConfig>,
            /// The price of a request. Where it is the only price, it includes the tokens.
            #[serde(deserialize_with = "some_usd")]
            #[schemars(with = "Option<Dollars>")]
            pub request_usd: Option<Usd>,
            /// The price of a search that the provider makes.
            #[serde(deserialize_with = "some_usd")]
            #[schemars(with = "Option<Dollars>")]
            pub search_usd: Option<Usd>,
            /// The price of an image that the model makes.
            #[serde(deserialize_with = "some_usd")]
            #[schemars(with = "Option<Dollars>")]
            pub image_usd: Option<Usd>,
            /// The price of a second of audio or video.
            #[serde(deserialize_with = "some_usd")]
            #[schemars(with = "Option<Dollars>")]
            pub second_usd: Option<Usd>,
            /// The price of a character that is spoken.
            #[serde(deserialize_with = "some_usd")]
            #[schemars(with = "Option<Dollars>")]
            pub character_usd: Option<Usd>,
        }

        /// The prices of all tokens of a request whose input is longer than a bound.
        #[derive(Clone, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct TierConfig {
            /// The number of input tokens above which these prices hold.
            pub above_input_tokens: u64,
            $($(#[$doc])* #[serde(default, deserialize_with = "some_usd")] #[schemars(with = "Option<Dollars>")] pub $field: Option<Usd>,)*
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
    /// The price of a million input tokens.
    input_per_mtok_usd,
    /// The price of a million output tokens.
    output_per_mtok_usd,
    /// The price of a million input tokens that are read from the provider's cache. Without it, that of input.
    cached_input_per_mtok_usd,
    /// The price of a million input tokens that are written to the provider's cache. Without it, that of input.
    cache_write_per_mtok_usd,
    /// The price of a million input tokens that are written to the provider's cache for an hour. Without it, that of other
    /// writes.
    cache_write_1h_per_mtok_usd,
    /// The price of a million output tokens of reasoning. Without it, that of output.
    reasoning_per_mtok_usd,
    /// The price of a million input tokens of audio. Without it, that of input.
    audio_input_per_mtok_usd,
    /// The price of a million output tokens of audio. Without it, that of output.
    audio_output_per_mtok_usd,
    /// The price of a million input tokens of images. Without it, that of input.
    image_input_per_mtok_usd,
    /// The price of a million output tokens of images. Without it, that of output.
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
