//! The actors of all running jobs.
//!
//! Owns the count that limits them and the news that the last one has ended. A slot is freed when its
//! holder drops it, so a job whose actor dies leaves no trace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::actor::Control;
use super::drive::Stop;
use crate::job::StreamId;
use crate::telemetry;

/// The set of running jobs; clones share it.
#[derive(Clone)]
pub(crate) struct RunningJobs {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` between the reservation of a slot and the start of its actor.
    jobs: Mutex<HashMap<StreamId, Option<Control>>>,
    count: watch::Sender<usize>,
}

/// The place of one running job.
pub(crate) struct Slot {
    running: RunningJobs,
    stream: StreamId,
}

impl RunningJobs {
    pub(crate) fn new() -> RunningJobs {
        RunningJobs { inner: Arc::new(Inner { jobs: Mutex::default(), count: watch::Sender::new(0) }) }
    }

    /// Number of running jobs.
    pub(crate) fn len(&self) -> usize {
        *self.inner.count.borrow()
    }

    /// Reserves a slot for the job of `stream`.
    pub(crate) fn reserve(&self, stream: StreamId) -> Slot {
        self.change(|jobs| {
            jobs.insert(stream, None);
        });
        Slot { running: self.clone(), stream }
    }

    /// Notes that the slot's actor runs. If it has ended already, there is nothing to note.
    pub(crate) fn attach(&self, stream: StreamId, control: Control) {
        if let Some(place) = self.lock().get_mut(&stream) {
            *place = Some(control);
        }
    }

    /// Tells the job of `stream` to stop; waits for a place in its mailbox, not for the job's end.
    pub(crate) async fn stop(&self, stream: StreamId, why: Stop) {
        let control = self.lock().get(&stream).cloned().flatten();
        if let Some(control) = control {
            control.stop(why).await;
        }
    }

    /// Tells the job of `stream` that its submitting client left.
    pub(crate) fn client_left(&self, stream: StreamId) {
        if let Some(Some(control)) = self.lock().get(&stream) {
            control.client_left();
        }
    }

    /// Tells every job to stop.
    pub(crate) async fn stop_all(&self, why: Stop) {
        let streams: Vec<StreamId> = self.lock().keys().copied().collect();
        for stream in streams {
            self.stop(stream, why).await;
        }
    }

    /// Waits until no job is running. Cancel-safe.
    pub(crate) async fn empty(&self) {
        let mut count = self.inner.count.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<StreamId, Option<Control>>)) {
        let mut jobs = self.lock();
        change(&mut jobs);
        let count = jobs.len();
        self.inner.count.send_replace(count);
        telemetry::jobs_in_flight(count);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<StreamId, Option<Control>>> {
        self.inner.jobs.lock().expect("nothing panics while it holds this lock")
    }
}

impl Slot {
    pub(crate) fn running(&self) -> RunningJobs {
        self.running.clone()
    }

    pub(crate) fn stream(&self) -> StreamId {
        self.stream
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.running.change(|jobs| {
            jobs.remove(&self.stream);
        });
    }
}
