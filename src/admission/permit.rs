//! One attempt's way through a gate, and what it reports about its target.

use std::sync::Arc;
use std::time::Duration;

use super::queue::AdmissionQueue;
use super::targets::TargetHealth;
use crate::job::{Failure, Limits, Target};

/// The right to ask a target once. Dropped without a report it says nothing about the target; a
/// probe's place is free again then.
#[must_use = "a pass that is dropped was never used"]
pub(crate) struct Permit {
    gate: Arc<TargetHealth>,
    desk: Arc<AdmissionQueue>,
    /// Until it has said whether the target works.
    is_probe: bool,
    is_reported: bool,
}

impl Permit {
    pub(super) fn new(gate: Arc<TargetHealth>, desk: Arc<AdmissionQueue>, is_probe: bool) -> Permit {
        Permit { gate, desk, is_probe, is_reported: false }
    }

    /// Who may be asked.
    pub(crate) fn target(&self) -> &Target {
        &self.gate.target
    }

    /// Whether this call finds out if an open breaker can close.
    #[cfg(test)]
    pub(super) fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The first output came, so long after the request was sent. Closes a half-open breaker.
    pub(crate) fn spoke(&mut self, first_token: Duration) {
        let is_probe = std::mem::take(&mut self.is_probe);
        self.gate.health().spoke(is_probe, first_token, self.desk.now());
        if is_probe {
            self.desk.changed(&self.gate);
        }
    }

    /// The provider told its limits.
    pub(crate) fn learn(&self, limits: &Limits) {
        if !limits.is_empty() {
            self.gate.health().learn(limits, self.desk.now());
            self.desk.changed(&self.gate);
        }
    }

    /// The call is lost.
    pub(crate) fn lost(mut self, failure: &Failure) {
        self.is_reported = true;
        let rules = self.desk.rules.load();
        self.gate.health().lost(failure, self.is_probe, &rules.health, self.desk.now());
        self.desk.changed(&self.gate);
    }

    /// The call ended well.
    pub(crate) fn ended(mut self) {
        self.is_reported = true;
        let rules = self.desk.rules.load();
        self.gate.health().ended(self.is_probe, &rules.health, self.desk.now());
        self.desk.changed(&self.gate);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_reported && self.is_probe {
            self.gate.health().freed(true);
            self.desk.changed(&self.gate);
        }
    }
}
