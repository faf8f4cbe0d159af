//! What an operator may say about targets that fail and jobs that wait: `[health]`, `[queue]`.

use serde::Deserialize;

/// `[health]`: when a target is left alone, for how long, and how often it is asked again.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Failures in a row that open a target's breaker.
    pub failures_in_a_row: u32,
    /// The share of failed calls that opens it.
    pub error_rate: f64,
    /// Calls below which the share means nothing.
    pub calls_min: u32,
    /// Seconds of calls that the share is taken of.
    pub window_s: u64,
    /// Milliseconds that a breaker stays open before a probe is let through.
    pub open_ms: u64,
    /// Milliseconds that it stays open at the most: each failed probe doubles them.
    pub open_ms_max: u64,
    /// Retries that each first call pays for.
    pub retry_share: f64,
    /// Retries that each second pays for.
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

/// `[queue]`: jobs that wait until a target can be asked.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// `metadata.KEY`: jobs of each value take turns, so that none holds up the others.
    pub fair_by: Option<Box<str>>,
    /// Jobs that may wait at once; more are `overloaded`.
    pub waiting_max: usize,
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig { fair_by: None, waiting_max: 10_000 }
    }
}

impl QueueConfig {
    /// The metadata key that jobs take turns by.
    #[must_use]
    pub fn fair_key(&self) -> Option<&str> {
        self.fair_by.as_deref()?.strip_prefix("metadata.")
    }
}
