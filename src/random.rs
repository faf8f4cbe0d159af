//! The source of chance for what must not happen at the same moment everywhere, such as retries.
//!
//! Owns one seeded generator. Promises that the same seed gives the same numbers, so that a simulation
//! can be repeated.

use std::sync::{Arc, Mutex};

/// A seeded random generator that all parts of a broker share. Clones draw from the same sequence.
#[derive(Clone, Debug)]
pub struct Random(Arc<Mutex<fastrand::Rng>>);

impl Random {
    /// Starts the sequence that belongs to `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Random {
        Random(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Draws the next number in 0..1. The lock is held for one step of the generator.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.0.lock().expect("nothing panics while it holds this lock").f64()
    }
}
