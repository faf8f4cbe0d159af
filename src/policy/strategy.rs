//! In which order a model's targets are tried.
//!
//! | strategy | who comes first |
//! | --- | --- |
//! | `failover` | as the configuration lists them |
//! | `weighted` | by chance, each as often as its weight says; so is who comes second |
//! | `fastest` | who was not measured yet, then by time to first token |
//! | `cheapest` | by the price of such a job; unknown prices last |
//!
//! A model with a `sticky` tag whose job has that tag: by rendezvous hashing, so that a value stays
//! with its target whatever others come and go, and a lost target's values spread over all others.

use std::time::Duration;

use crate::config::{ModelConfig, Strategy};
use crate::job::{Job, Target, Usd};

/// What an order depends on beyond the configuration.
pub struct Measures<'a> {
    /// A fresh number in 0..1 at each call.
    pub random: &'a mut dyn FnMut() -> f64,
    /// Recent time to the first token, where it was measured.
    pub first_token: &'a dyn Fn(&Target) -> Option<Duration>,
    /// What such a job costs there, where that is known.
    pub price: &'a dyn Fn(&Target) -> Option<Usd>,
}

/// A target that may serve a model, and its weight against the others.
pub(super) struct Candidate {
    pub(super) target: Target,
    pub(super) weight: f64,
}

/// Puts the targets of `model` into the order in which `job` tries them.
pub(super) fn order(candidates: &mut [Candidate], model: &ModelConfig, job: &Job, measures: &mut Measures<'_>) {
    if candidates.len() < 2 {
        return;
    }
    let tag = model.sticky.as_deref().and_then(|sticky| job.metadata.get(sticky.strip_prefix("metadata.")?));
    if let Some(value) = tag {
        let (gateway, value) = (job.gateway.as_str(), value.to_string());
        candidates.sort_by_cached_key(|Candidate { target, weight }| {
            place(share([gateway, &value, &target.provider, &target.model]), *weight)
        });
        return;
    }
    match model.strategy {
        Strategy::Failover => {}
        Strategy::Weighted => candidates.sort_by_cached_key(|candidate| place((measures.random)(), candidate.weight)),
        // Nothing measured sorts before anything measured.
        Strategy::Fastest => candidates.sort_by_cached_key(|candidate| (measures.first_token)(&candidate.target)),
        Strategy::Cheapest => candidates.sort_by_cached_key(|candidate| {
            let price = (measures.price)(&candidate.target);
            (price.is_none(), price)
        }),
    }
}

/// Where `uniform` (in 0..1) puts a target: the lowest place is its own as often as its weight's share
/// of all weights, and so on among the rest (Efraimidis and Spirakis). The bits of a float that is not
/// negative sort as it does.
fn place(uniform: f64, weight: f64) -> u64 {
    ((0.0 - uniform.ln()) / weight).to_bits()
}

/// A number between 0 and 1, always the same for the same words, and for all others another: FNV-1a,
/// whose upper bits SplitMix64's last steps make as good as its lower ones.
fn share(words: [&str; 4]) -> f64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for word in words {
        // No word holds this byte, so it tells where one ends.
        for byte in word.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    const STEPS: f64 = (1_u64 << 53) as f64;
    ((hash >> 11) as f64 + 0.5) / STEPS
}

#[cfg(test)]
#[path = "strategy_tests.rs"]
mod tests;
