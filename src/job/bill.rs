//! What a price may depend on beside the usage.

use super::Usd;

/// Details of an attempt that only its price reads: they are not part of the public usage.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Bill {
    /// The tier that the provider says it served, else the one asked for: `priority`, `flex`,
    /// `batch`; `None` or anything else is the standard one.
    pub service_tier: Option<Box<str>>,
    /// The part of `cache_write_tokens` that is kept for an hour instead of five minutes.
    pub cache_write_1h_tokens: Option<u64>,
    /// The part of `input_tokens` that was images.
    pub image_input_tokens: Option<u64>,
    /// The part of `output_tokens` that was images.
    pub image_output_tokens: Option<u64>,
    /// Searches that the provider made and bills one by one.
    pub searches: Option<u64>,
    /// What the provider itself says the attempt cost.
    pub provider_usd: Option<Usd>,
}
