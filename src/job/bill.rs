//! What a price may depend on beside the usage.

use std::borrow::Cow;

use super::{Usage, Usd};

/// Details of an attempt that only its price reads: they are not part of the public usage.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Bill {
    /// The tier that the provider reports, else the one that was requested: `priority`, `flex`,
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
    /// Cost of the attempt as the provider itself reports it.
    pub provider_usd: Option<Usd>,
    /// Input tokens that are charged, where the provider reports another number than it read (Cohere does not charge for the template that it puts around a prompt).
    pub billed_input_tokens: Option<u64>,
    /// Output tokens that are charged, where the provider reports another number than it wrote.
    pub billed_output_tokens: Option<u64>,
}

impl Bill {
    /// Returns the usage that prices apply to. Where the provider reports the tokens that it charges, that
    /// count has no cached part: any discount is in it already.
    #[must_use]
    pub fn charged<'a>(&self, usage: &'a Usage) -> Cow<'a, Usage> {
        if self.billed_input_tokens.is_none() && self.billed_output_tokens.is_none() {
            return Cow::Borrowed(usage);
        }
        let mut charged = usage.clone();
        if let Some(input) = self.billed_input_tokens {
            charged.input_tokens = Some(input);
            (charged.cached_input_tokens, charged.cache_write_tokens) = (None, None);
        }
        if let Some(output) = self.billed_output_tokens {
            charged.output_tokens = Some(output);
            charged.reasoning_tokens = charged.reasoning_tokens.map(|reasoning| reasoning.min(output));
        }
        Cow::Owned(charged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_what_the_provider_reports() {
        let read = Usage {
            input_tokens: Some(503),
            output_tokens: Some(91),
            cached_input_tokens: Some(448),
            reasoning_tokens: Some(70),
            ..Usage::default()
        };
        assert_eq!(*Bill::default().charged(&read), read);
        let bill = Bill { billed_input_tokens: Some(8), billed_output_tokens: Some(66), ..Bill::default() };
        let charged = bill.charged(&read);
        let counts = (charged.input_tokens, charged.output_tokens, charged.reasoning_tokens);
        assert_eq!((counts, charged.cached_input_tokens), ((Some(8), Some(66), Some(66)), None));
    }
}
