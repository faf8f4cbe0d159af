//! The sections `[health]` and `[queue]`: targets that fail and jobs that wait.

use schemars::JsonSchema;
use serde::Deserialize;

/// When a target is left alone, and how often it is tried again. Each target has a circuit breaker; an open one means that
/// the target is not asked.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Failures in a row that open a target's breaker.
    pub failures_in_a_row: u32,
    /// The share of failed calls, 0.01 to 1, that opens it.
    pub error_rate: f64,
    /// The fewest calls in the window for which the share counts.
    pub calls_min: u32,
    /// The length of the window in seconds.
    pub window_s: u64,
    /// Milliseconds that a breaker stays open before one call is let through as a probe.
    pub open_ms: u64,
    /// The most milliseconds that a breaker stays open; each failed probe doubles the time up to this.
    pub open_ms_max: u64,
    /// Retries at a target that each first call allows: 0.2 means one retry for five calls.
    pub retry_share: f64,
    /// Retries at a target that each second allows in addition.
    pub retries_per_s: f64,
}

impl Default for HealthConfig {
    fn default() -> HealthConfig {
        HealthConfig {
            failures_in_a_row: 5,
            error_rate: 0.5,
            calls_min: 20,
            window_s: 30,
            open_ms: 2_000,
            open_ms_max: 60_000,
            retry_share: 0.2,
            retries_per_s: 1.0,
        }
    }
}

/// Jobs that wait until a target can be asked.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// A tag, for example `metadata.teamId`, whose values take turns, so that the jobs of one do not hold up the others.
    pub fair_by: Option<Box<str>>,
    /// The most jobs that wait at the same time; further jobs are refused as `overloaded`.
    pub waiting_max: usize,
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig { fair_by: None, waiting_max: 10_000 }
    }
}

impl QueueConfig {
    /// The metadata key whose values take turns.
    #[must_use]
    pub fn fair_key(&self) -> Option<&str> {
        self.fair_by.as_deref()?.strip_prefix("metadata.")
    }
}
