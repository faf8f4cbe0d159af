//! The cost of an attempt: which prices hold.
//!
//! The job's own (`options.cost`), else the configuration's, else the cost that the provider itself reported, else the
//! catalog's. Owns that order and the configured prices; `tariff.rs` computes money from prices, counts and services.
//! Promises `priced: false` whenever a price or a count that matters is not known; `usd` is then the part that is known.

use std::collections::HashMap;

use super::tariff::{Gaps, Tariff};
use crate::catalog::{self, Price, Service, Unit};
use crate::config::{Config, PriceConfig};
use crate::job::{Bill, Cost, CostOverride, Job, ModelName, Target, Timestamp, Usage, Usd};

/// Number of units that a price is for.
const MILLION: i128 = 1_000_000;

/// An attempt that is to be priced.
#[derive(Clone, Copy, Debug)]
pub struct Sale<'a> {
    /// The job of the attempt.
    pub job: &'a Job,
    /// The target that was tried.
    pub target: &'a Target,
    /// The kind of that provider, by which the catalog knows it.
    pub kind: &'a str,
    /// The region of the provider, if it is known.
    pub region: Option<&'a str>,
    /// The usage that the provider reported.
    pub usage: &'a Usage,
    /// The other facts on which the price depends.
    pub bill: &'a Bill,
    /// When the answer ended: some prices depend on the hour.
    pub at: Timestamp,
}

/// All prices of one generation of configuration.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    /// By provider, then by the provider's model id: looked up per attempt without allocation.
    prices: HashMap<Box<str>, HashMap<Box<str>, Vec<Price>>>,
}

impl PriceBook {
    /// Reads the prices that `config` names by `provider/model`.
    #[must_use]
    pub fn from_config(config: &Config) -> PriceBook {
        let mut book = PriceBook::default();
        for (name, price) in &config.prices {
            let Ok(name) = name.parse::<ModelName>() else { continue };
            if let Some((provider, model)) = name.split() {
                book.prices.entry(provider.into()).or_default().insert(model.into(), configured(price));
            }
        }
        book
    }

    /// Returns the cost of an attempt. One whose `usage.requests` is 0 was never taken on by the provider: it is free,
    /// and that is known.
    #[must_use]
    pub fn cost(&self, sale: &Sale<'_>) -> Cost {
        if sale.usage.requests == Some(0) {
            return Cost::FREE;
        }
        let charged = sale.bill.charged(sale.usage);
        let sale = &Sale { usage: &charged, ..*sale };
        if let Some(own) = &sale.job.options.cost {
            return Tariff::new(&overriding(own), Gaps::AsTheNext, sale).cost();
        }
        if let Some(prices) = self.prices.get(&sale.target.provider).and_then(|models| models.get(&sale.target.model)) {
            return Tariff::new(prices, Gaps::AsTheNext, sale).cost();
        }
        if let Some(usd) = sale.bill.provider_usd {
            return Cost { usd, priced: true };
        }
        let Some(entry) = catalog::find_in(sale.kind, &sale.target.model, sale.region) else {
            return Cost { usd: Usd::ZERO, priced: false };
        };
        let prices: Vec<Price> = entry.prices.iter().collect();
        let mut tariff = Tariff::new(&prices, Gaps::Unknown, sale);
        tariff.off_peak = is_off_peak(entry.prices, sale.at);
        let cost = tariff.cost();
        // The prices of another region are a guess.
        let is_of_place = entry.region.is_none() || entry.region == sale.region;
        Cost { usd: cost.usd, priced: cost.priced && is_of_place }
    }
}

fn is_off_peak(prices: catalog::Prices, at: Timestamp) -> bool {
    const HOUR_MS: u64 = 3_600_000;
    let hours = at.0 / HOUR_MS;
    // The first of January 1970 was a Thursday.
    let day = usize::try_from((hours / 24 + 3) % 7).expect("below seven");
    prices.off_peak(day, u32::try_from(hours % 24).expect("below 24"))
}

fn price(unit: Unit, above: u64, pico: i128) -> Price {
    Price { unit, variant: "".into(), service: Service::Standard, above, pico }
}

fn configured(said: &PriceConfig) -> Vec<Price> {
    let tiers = said.tiers.iter().map(|tier| (tier.above_input_tokens, tier.of_tokens()));
    let mut prices = Vec::new();
    for (above, of_tokens) in std::iter::once((0, said.of_tokens())).chain(tiers) {
        let named = of_tokens.into_iter().filter_map(|(key, usd)| Some((unit_of(key)?, usd?)));
        prices.extend(named.map(|(unit, usd)| price(unit, above, usd.pico())));
    }
    for (unit, usd) in [
        (Unit::Request, said.request_usd),
        (Unit::Search, said.search_usd),
        (Unit::Image, said.image_usd),
        (Unit::Second, said.second_usd),
        (Unit::Character, said.character_usd),
    ] {
        prices.extend(usd.map(|usd| price(unit, 0, usd.pico().saturating_mul(MILLION))));
    }
    prices
}

/// Returns the unit of a price key for tokens.
fn unit_of(key: &str) -> Option<Unit> {
    Some(match key.strip_suffix("_per_mtok_usd")? {
        "input" => Unit::Input,
        "output" => Unit::Output,
        "cached_input" => Unit::Cached,
        "cache_write" => Unit::Write,
        "cache_write_1h" => Unit::Write1h,
        "reasoning" => Unit::Reasoning,
        "audio_input" => Unit::AudioIn,
        "audio_output" => Unit::AudioOut,
        "image_input" => Unit::ImageTokenIn,
        "image_output" => Unit::ImageTokenOut,
        _ => return None,
    })
}

fn overriding(own: &CostOverride) -> Vec<Price> {
    let said = [
        (Unit::Input, Some(own.per_token_in)),
        (Unit::Output, Some(own.per_token_out)),
        (Unit::Cached, own.per_cache_read_token),
        (Unit::Write, own.per_cache_write_token),
    ];
    let each = said.into_iter().filter_map(|(unit, usd)| Some((unit, usd?)));
    each.map(|(unit, usd)| price(unit, 0, usd.pico().saturating_mul(MILLION))).collect()
}

#[cfg(test)]
#[path = "price_tests.rs"]
mod tests;
