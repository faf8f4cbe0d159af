//! The right to ask a target once, and the report of how that went.

use std::sync::Arc;
use std::time::Duration;

use super::queue::AdmissionQueue;
use super::targets::TargetHealth;
use crate::job::{Failure, Limits, Target};

/// The right to ask a target once. Dropped without a report it changes nothing in the target's health, and
/// a probe may then be made by another job.
#[must_use = "a permit that is dropped was never used"]
pub(crate) struct Permit {
    target_health: Arc<TargetHealth>,
    queue: Arc<AdmissionQueue>,
    /// Set until the call has shown whether the target works.
    is_probe: bool,
    is_reported: bool,
}

impl Permit {
    pub(super) fn new(target_health: Arc<TargetHealth>, queue: Arc<AdmissionQueue>, is_probe: bool) -> Permit {
        Permit { target_health, queue, is_probe, is_reported: false }
    }

    /// The target that may be asked.
    pub(crate) fn target(&self) -> &Target {
        &self.target_health.target
    }

    /// Returns whether this call is the probe that finds out if an open breaker can close.
    #[cfg(test)]
    pub(super) fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Reports that the first output came, this long after the request was sent. Closes a half-open
    /// breaker.
    pub(crate) fn spoke(&mut self, first_token: Duration) {
        let is_probe = std::mem::take(&mut self.is_probe);
        self.target_health.health().spoke(is_probe, first_token, self.queue.now());
        if is_probe {
            self.queue.changed(&self.target_health);
        }
    }

    /// Reports the limits that the provider stated.
    pub(crate) fn learn(&self, limits: &Limits) {
        if !limits.is_empty() {
            self.target_health.health().learn(limits, self.queue.now());
            self.queue.changed(&self.target_health);
        }
    }

    /// Reports that the call was lost.
    pub(crate) fn lost(mut self, failure: &Failure) {
        self.is_reported = true;
        let rules = self.queue.rules.load();
        self.target_health.health().lost(failure, self.is_probe, &rules.health, self.queue.now());
        self.queue.changed(&self.target_health);
    }

    /// Reports that the call ended well.
    pub(crate) fn ended(mut self) {
        self.is_reported = true;
        let rules = self.queue.rules.load();
        self.target_health.health().ended(self.is_probe, &rules.health, self.queue.now());
        self.queue.changed(&self.target_health);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_reported && self.is_probe {
            self.target_health.health().freed(true);
            self.queue.changed(&self.target_health);
        }
    }
}
