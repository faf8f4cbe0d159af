//! The guard of the disk's free space.
//!
//! Owns which work is refused when the disk is nearly full or the store has failed.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::shared::lock;
use crate::config::LogConfig;
use crate::job::{Code, Failure};
use crate::telemetry;

/// A guard that refuses jobs and stops sealing while the disk is nearly full.
pub(crate) struct FreeSpace {
    path: PathBuf,
    free_bytes_min: u64,
    refusing: AtomicBool,
    /// The reason for the refusal, while `refusing`.
    reason: Mutex<Option<String>>,
    sealing: AtomicBool,
    /// How often the store failed. After the first time nothing is sealed until the next start.
    broken: AtomicU64,
}

impl FreeSpace {
    /// Makes a guard of the disk that `config.path` is on.
    pub(crate) fn new(config: &LogConfig) -> FreeSpace {
        let guard = FreeSpace {
            path: config.path.clone(),
            free_bytes_min: config.free_bytes_min,
            refusing: AtomicBool::new(false),
            reason: Mutex::new(None),
            sealing: AtomicBool::new(true),
            broken: AtomicU64::new(0),
        };
        guard.check();
        guard
    }

    /// Measures the free space of the disk. Below the limit new jobs are refused; below half of it nothing is sealed
    /// either, because sled does not survive a full disk.
    pub(crate) fn check(&self) {
        let Ok(stat) = rustix::fs::statvfs(&self.path) else { return };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let limit = self.free_bytes_min;
        let broken = self.broken.load(Ordering::Relaxed) > 0;
        self.sealing.store(free >= limit / 2 && !broken, Ordering::Relaxed);
        if broken {
            return;
        }
        let reason = (free < limit)
            .then(|| format!("{free} bytes are free on the log's disk, fewer than log.free_bytes_min = {limit}"));
        self.refuse(reason);
    }

    /// Marks the store as failed: the log serves what it has and refuses new jobs.
    pub(crate) fn store_broke(&self, failure: &Failure) {
        self.broken.fetch_add(1, Ordering::Relaxed);
        self.sealing.store(false, Ordering::Relaxed);
        self.refuse(Some(format!("sled failed ({}); restart the broker", failure.message)));
    }

    fn refuse(&self, reason: Option<String>) {
        let refusing = reason.is_some();
        if self.refusing.swap(refusing, Ordering::Relaxed) != refusing {
            match &reason {
                Some(reason) => tracing::error!(target: "forebay::log", "refusing new jobs: {reason}"),
                None => tracing::info!(target: "forebay::log", "taking new jobs again"),
            }
            telemetry::log_refusing(refusing);
        }
        *lock(&self.reason) = reason;
    }

    /// Returns whether only the last append of a job is taken.
    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    /// Returns the reason for the refusal, if there is one.
    pub(crate) fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    /// Returns whether the store may be written to.
    pub(crate) fn may_seal(&self) -> bool {
        self.sealing.load(Ordering::Relaxed)
    }

    /// Fails with `overloaded` while new work is refused.
    pub(crate) fn admit(&self) -> Result<(), Failure> {
        if !self.is_refusing() {
            return Ok(());
        }
        let reason = self.reason().unwrap_or_default();
        Err(Failure::new(Code::Overloaded, reason).with_retry_after_ms(5_000))
    }
}
