//! What an attempt costs.
//!
//! Owns the arithmetic: prices are pico-dollars per million tokens, products are added up exactly
//! and the sum is rounded half up, once, to whole pico-dollars. Promises `priced: false` whenever a
//! price or a count that matters is not known; `usd` is then the part that is known.

use std::collections::HashMap;

use crate::config::{Config, PriceConfig};
use crate::job::{Bill, Cost, CostOverride, Job, ModelName, Target, Task, Usage, Usd};

/// Prices are per so many tokens.
const MTOK: i128 = 1_000_000;

/// All prices of one generation of configuration.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    /// By provider, then by the provider's model id: looked up per attempt without allocation.
    prices: HashMap<Box<str>, HashMap<Box<str>, Rates>>,
}

impl PriceBook {
    /// The prices that `config` names by `provider/model`.
    #[must_use]
    pub fn from_config(config: &Config) -> PriceBook {
        let mut book = PriceBook::default();
        for (name, price) in &config.prices {
            let Ok(name) = name.parse::<ModelName>() else { continue };
            if let Some((provider, model)) = name.split() {
                book.prices.entry(provider.into()).or_default().insert(model.into(), Rates::from(*price));
            }
        }
        book
    }

    /// What an attempt of `job` at `target` costs that consumed `usage`. The job's own prices
    /// (`options.cost`) win. An attempt whose `usage.requests` is 0 was never taken on by the
    /// provider: it is free, and that is known.
    #[must_use]
    pub fn cost(&self, job: &Job, target: &Target, usage: &Usage, _bill: &Bill) -> Cost {
        if usage.requests == Some(0) {
            return Cost::FREE;
        }
        let configured = || self.prices.get(&target.provider)?.get(&target.model).copied();
        match job.options.cost.map(Rates::from).or_else(configured) {
            Some(rates) => rates.cost(usage, job.task),
            None => Cost { usd: Usd::ZERO, priced: false },
        }
    }
}

/// Pico-dollars per million tokens, and per request.
#[derive(Clone, Copy, Debug)]
struct Rates {
    input: Option<i128>,
    output: Option<i128>,
    cached_input: Option<i128>,
    cache_write: Option<i128>,
    request: Option<i128>,
}

impl From<PriceConfig> for Rates {
    fn from(price: PriceConfig) -> Rates {
        let pico = |usd: Option<Usd>| usd.map(Usd::pico);
        Rates {
            input: pico(price.input_per_mtok_usd),
            output: pico(price.output_per_mtok_usd),
            cached_input: pico(price.cached_input_per_mtok_usd),
            cache_write: pico(price.cache_write_per_mtok_usd),
            request: pico(price.request_usd),
        }
    }
}

impl From<CostOverride> for Rates {
    fn from(price: CostOverride) -> Rates {
        let per_mtok = |usd: Usd| Some(usd.pico().saturating_mul(MTOK));
        Rates {
            input: per_mtok(price.per_token_in),
            output: per_mtok(price.per_token_out),
            cached_input: None,
            cache_write: None,
            request: None,
        }
    }
}

impl Rates {
    fn cost(self, usage: &Usage, task: Task) -> Cost {
        // Who names a price per request and none per token means that tokens are included.
        let tokens_are_included = self.request.is_some() && self.input.is_none() && self.output.is_none();
        let mut sum = Tally::default();
        sum.add(self.request.map(|price| price.saturating_mul(MTOK)).or(Some(0)), usage.requests.or(Some(1)));
        if !tokens_are_included {
            self.add_input(usage, &mut sum);
            let nothing_to_price = usage.output_tokens.is_none() && !makes_tokens(task);
            if !nothing_to_price {
                sum.add(self.output, usage.output_tokens);
            }
        }
        Cost { usd: Usd::from_pico(sum.total.saturating_add(MTOK / 2) / MTOK), priced: !sum.incomplete }
    }

    /// Cached and written tokens are parts of the input count. A provider that does not report them
    /// is billed at the input price.
    fn add_input(self, usage: &Usage, sum: &mut Tally) {
        let Some(all) = usage.input_tokens else {
            sum.add(self.input, None);
            return;
        };
        let cached = usage.cached_input_tokens.unwrap_or(0).min(all);
        let written = usage.cache_write_tokens.unwrap_or(0).min(all - cached);
        sum.add(self.input, Some(all - cached - written));
        sum.add(self.cached_input.or(self.input), Some(cached));
        sum.add(self.cache_write.or(self.input), Some(written));
    }
}

/// Whether an answer to this task consists of output tokens, so that their absence is a gap.
fn makes_tokens(task: Task) -> bool {
    match task {
        Task::Chat | Task::Prediction => true,
        Task::Embedding
        | Task::Image
        | Task::Speech
        | Task::Transcription
        | Task::Video
        | Task::Music
        | Task::Rerank
        | Task::Moderation => false,
    }
}

/// A sum of products in pico-dollars per million, and whether a factor was missing.
#[derive(Default)]
struct Tally {
    total: i128,
    incomplete: bool,
}

impl Tally {
    fn add(&mut self, price: Option<i128>, count: Option<u64>) {
        match (price, count) {
            (Some(0), _) | (_, Some(0)) => {}
            (Some(price), Some(count)) => {
                self.total = self.total.saturating_add(price.saturating_mul(i128::from(count)));
            }
            _ => self.incomplete = true,
        }
    }
}

#[cfg(test)]
#[path = "price_tests.rs"]
mod tests;
