//! The health of every target: what all jobs look at before they ask.
//!
//! Owns a bounded map of targets to their health. Health is behind one lock per target, held for a few
//! comparisons and never across an await; an actor per target would put a mailbox and a thread's wake-up
//! before each first token. Promises that a full map forgets the targets that have been well and unused the
//! longest, and that a target without a place in it is asked all the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use crate::config::HealthConfig;
use crate::job::caps::GATES_MAX;
use crate::job::{QueueReason, Target, Timestamp};
use crate::policy::breaker::{Breaker, Health, Report, Unavailable};

/// The wait that is told to the first job that a free target refuses: those in the queue go at once.
const LINE_MS: u64 = 100;

/// A bounded map of targets to their health.
#[derive(Default)]
pub(super) struct Targets {
    entries: RwLock<HashMap<Target, Arc<TargetHealth>>>,
    next: AtomicU64,
}

/// One target and its health.
pub(super) struct TargetHealth {
    /// A number that is unique in this map, by which the target is found in short lists.
    pub(super) id: u64,
    pub(super) target: Target,
    health: Mutex<Health>,
    /// Number of jobs in the queue that could ask the target first, and of those that could ask it again.
    /// Changed only under the queue's lock; read without it, so that a job does not pay for other targets'
    /// queues.
    waiting: [AtomicUsize; 2],
}

impl Targets {
    /// Returns the entry of `target`, made if this is its first call.
    pub(super) fn entry(&self, target: &Target, rules: &HealthConfig, now: Timestamp) -> Arc<TargetHealth> {
        if let Some(entry) = self.find(target) {
            return entry;
        }
        let mut entries = self.entries.write().expect("nothing panics while it holds this lock");
        if entries.len() >= GATES_MAX && !entries.contains_key(target) {
            forget(&mut entries, rules, now);
        }
        let make = || {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (health, waiting) = (Mutex::new(Health::new(now)), Default::default());
            Arc::new(TargetHealth { id, target: target.clone(), health, waiting })
        };
        match entries.len() < GATES_MAX {
            true => Arc::clone(entries.entry(target.clone()).or_insert_with(make)),
            false => entries.get(target).map_or_else(make, Arc::clone),
        }
    }

    /// Returns the entry of `target`, if it was ever asked.
    pub(super) fn find(&self, target: &Target) -> Option<Arc<TargetHealth>> {
        self.entries.read().expect("nothing panics while it holds this lock").get(target).map(Arc::clone)
    }

    /// Returns every entry, by provider and model.
    pub(super) fn all(&self) -> Vec<Arc<TargetHealth>> {
        let entries = self.entries.read().expect("nothing panics while it holds this lock");
        let mut all: Vec<Arc<TargetHealth>> = entries.values().map(Arc::clone).collect();
        drop(entries);
        all.sort_unstable_by(|a, b| (&a.target.provider, &a.target.model).cmp(&(&b.target.provider, &b.target.model)));
        all
    }
}

/// Makes room: a quarter of the entries at once, so that a stream of new names pays for it rarely.
fn forget(entries: &mut HashMap<Target, Arc<TargetHealth>>, rules: &HealthConfig, now: Timestamp) {
    let is_well = |report: &Report| report.breaker == Breaker::Closed && report.shut.is_none();
    let unused = entries.values().filter(|entry| Arc::strong_count(entry) == 1);
    let mut going: Vec<(bool, Timestamp, Target)> = unused
        .map(|entry| {
            let mut health = entry.health();
            (!is_well(&health.report(rules, now)), health.used_at(), entry.target.clone())
        })
        .collect();
    going.sort_unstable_by_key(|(is_ill, used_at, _)| (*is_ill, *used_at));
    for (_, _, target) in going.iter().take(GATES_MAX / 4) {
        entries.remove(target);
    }
}

impl TargetHealth {
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().expect("nothing panics while it holds this lock")
    }

    /// Admits a new job, `true` = as a probe, unless a job in the queue could go now.
    pub(super) fn enter(&self, is_retry: bool, rules: &HealthConfig, now: Timestamp) -> Result<bool, Unavailable> {
        let mut health = self.health();
        // A retry in the queue may lack the budget that a first call does not need.
        let is_wanted = self.waits(false) || self.waits(true) && health.check(true, rules, now).is_ok();
        if is_wanted {
            health.check(is_retry, rules, now)?;
            return Err(Unavailable { until: now.plus_ms(LINE_MS), reason: QueueReason::Capacity });
        }
        health.enter(is_retry, rules, now)
    }

    /// Returns whether a job waits to ask the target first, or again.
    pub(super) fn waits(&self, is_retry: bool) -> bool {
        self.waiting[usize::from(is_retry)].load(Ordering::Relaxed) > 0
    }

    /// Counts a job that joined the queue; the queue's lock is held.
    pub(super) fn joined(&self, is_retry: bool) {
        self.waiting[usize::from(is_retry)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a job that left the queue; the queue's lock is held.
    pub(super) fn left(&self, is_retry: bool) {
        self.waiting[usize::from(is_retry)].fetch_sub(1, Ordering::Relaxed);
    }
}
