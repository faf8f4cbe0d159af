//! Whether the broker takes jobs, and how it stops taking them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Broker;
use crate::run::Stop;
use crate::telemetry;

impl Broker {
    /// Number of jobs that are running or waiting to run.
    #[must_use]
    pub fn jobs_in_flight(&self) -> usize {
        self.running.len()
    }

    /// Returns whether the broker is going down: entrances say `goaway` and take no new jobs.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Resolves when the broker starts going down. Cancel-safe.
    pub async fn draining(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.drain.subscribe().wait_for(|draining| *draining).await;
    }

    /// Refuses new jobs, lets running ones finish for `grace`, then interrupts the rest and waits until
    /// their records are durable.
    pub async fn drain(&self, grace: Duration) {
        self.drain.send_replace(true);
        if tokio::time::timeout(grace, self.running.empty()).await.is_err() {
            tracing::warn!(jobs = self.running.len(), "still running after the drain time: interrupting");
            self.running.stop_all(Stop::Shutdown).await;
            self.running.empty().await;
        }
    }

    /// Notes whether the NATS entrance is connected.
    pub fn set_nats_connected(&self, connected: bool) {
        self.nats_connected.store(connected, Ordering::Relaxed);
        telemetry::nats_connected(connected);
    }

    /// Returns why the broker is not ready to take jobs, if it is not.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("going down".into());
        }
        if let Some(reason) = self.log.health().refusing {
            return Some(reason);
        }
        let wants_nats = self.snapshot.load().config.nats.enabled;
        (wants_nats && !self.nats_connected.load(Ordering::Relaxed)).then(|| "NATS is not connected".into())
    }
}
