//! The one place where wall time is read.
//!
//! Owns the mapping from the runtime's timers to dates. A simulated clock moves with tokio's paused
//! time, so that a test of a day takes no time and a seed repeats it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::job::Timestamp;

/// Source of dates for the whole broker.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's wall clock.
    System,
    /// A simulated date that tokio's (pausable) clock moves on.
    Simulated {
        /// The date at `since`.
        start: Timestamp,
        /// When the simulation began.
        since: tokio::time::Instant,
    },
}

impl Clock {
    /// Returns the present date.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => {
                #[expect(clippy::disallowed_methods, reason = "the one place where wall time is read")]
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
            }
            Clock::Simulated { start, since } => {
                start.plus_ms(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}
