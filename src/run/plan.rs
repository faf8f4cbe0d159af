//! Plans which targets a job tries, and in which order: collects what `policy/route.rs` decides by.
//!
//! Owns the guess of what a job will cost before it ran. A model with one target, or with the order of its
//! list, measures nothing.

use std::cell::OnceCell;

use serde::Deserialize;

use super::job_run::JobRun;
use crate::job::{Bill, Failure, Job, Target, Task, Timestamp, Usage, UsageSource, Usd};
use crate::meter::{PriceBook, Sale};
use crate::policy::route::{self, Measures};
use crate::provider;
use crate::snapshot::ConfigSnapshot;

/// Number of output tokens that are assumed for the comparison of prices when a job does not limit them.
const OUTPUT_TOKENS_TYPICAL: u64 = 500;

/// Returns the targets of a job, in the order in which they are tried.
///
/// # Errors
/// `unknown_model`.
pub(crate) fn plan(run: &JobRun) -> Result<Vec<Target>, Failure> {
    let JobRun { job, snapshot, env, .. } = run;
    // Only `cheapest` asks for a price.
    let likely = OnceCell::new();
    let price = |target: &Target| {
        let (likely, book) = likely
            .get_or_init(|| (Likely { job, snapshot, usage: typical(job), now: env.clock.now() }, env.meter.book()));
        price(likely, book, target)
    };
    let first_token = |target: &Target| env.admission.first_token(target);
    let mut measures = Measures { random: &mut || env.random.fraction(), first_token: &first_token, price: &price };
    route::plan(job, &snapshot.config, &snapshot.on, &mut measures)
}

/// A job that has not run, and the usage that it will probably have.
struct Likely<'a> {
    job: &'a Job,
    snapshot: &'a ConfigSnapshot,
    usage: Usage,
    now: Timestamp,
}

/// Returns what the job would cost at `target`, if that is known.
fn price(likely: &Likely<'_>, book: &PriceBook, target: &Target) -> Option<Usd> {
    let entry = likely.snapshot.registry.get(&target.provider)?;
    let cost = book.cost(&Sale {
        job: likely.job,
        target,
        kind: entry.provider.card().id,
        region: entry.endpoint.setting("region"),
        usage: &likely.usage,
        bill: &Bill::default(),
        at: likely.now,
    });
    cost.priced.then_some(cost.usd)
}

/// Guesses the usage of a job: the bytes of its input as text, and as many output tokens as it allows.
fn typical(job: &Job) -> Usage {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct TokenLimits {
        max_tokens: Option<u64>,
        max_completion_tokens: Option<u64>,
        max_output_tokens: Option<u64>,
    }
    let limits: TokenLimits = serde_json::from_str(job.input.get()).unwrap_or_default();
    let output_tokens = matches!(job.task, Task::Chat | Task::Prediction).then(|| {
        let limit = limits.max_completion_tokens.or(limits.max_tokens).or(limits.max_output_tokens);
        limit.unwrap_or(OUTPUT_TOKENS_TYPICAL)
    });
    Usage {
        input_tokens: Some(provider::estimate_tokens(job.input.get().len() as u64)),
        output_tokens,
        source: UsageSource::Estimate,
        ..Usage::default()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
