//! Free space on the log's disk, and what is refused without it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::shared::lock;
use crate::config::LogConfig;
use crate::job::{Code, Failure};
use crate::telemetry;

/// Whether there is disk to write to.
pub(crate) struct FreeSpace {
    path: PathBuf,
    free_bytes_min: u64,
    refusing: AtomicBool,
    /// Why, while `refusing`.
    reason: Mutex<Option<String>>,
    sealing: AtomicBool,
    /// The store failed for good.
    broken: AtomicU64,
}

impl FreeSpace {
    /// A guard of the disk that `config.path` is on.
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

    /// Looks at the disk. Below the limit new jobs are refused; below half of it nothing is sealed
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

    /// The store does not take writes any more: the log serves what it has and refuses the rest.
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

    /// Whether only what ends a job is taken.
    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    /// Why, if it does.
    pub(crate) fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    /// Whether sled may be written to.
    pub(crate) fn may_seal(&self) -> bool {
        self.sealing.load(Ordering::Relaxed)
    }

    /// `overloaded` while it refuses.
    pub(crate) fn admit(&self) -> Result<(), Failure> {
        if !self.is_refusing() {
            return Ok(());
        }
        let reason = self.reason().unwrap_or_default();
        Err(Failure::new(Code::Overloaded, reason).with_retry_after_ms(5_000))
    }
}
