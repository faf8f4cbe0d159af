//! The log on disk: journal files for the last seconds, sled for everything before.
//!
//! The way of an append: `streams` encodes it, `queue` hands it to the `committer`, which writes it to the
//! `journal` and then publishes it to readers; the `sealer` moves it from the journal into the `store` later.
//! `start` puts all of this together and lets `recovery` read what the journal still holds. Promises that what
//! was acknowledged survives a crash. Does not know what a job does.

mod start;

mod create;
mod read;
mod streams;

mod index;
mod queue;
mod shared;

mod committer;
mod journal;
mod publish;

mod pack;
mod retention;
mod schema;
mod sealer;
mod spare_files;
mod store;
mod unsealed;
mod unsealed_rows;

mod ledger;
mod outputs;
mod rows;

mod free_space;
mod recovery;

use std::fs::File;
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;

use self::queue::Phase;
use self::sealer::Effort;
use self::shared::{Shared, lock};
use crate::clock::Clock;
use crate::config::LogConfig;
use crate::job::{Cost, Event, Failure, Interrupted, Usage};
use crate::log::Log;

/// The durable log. Dropping it without [`Log::close`] is as safe as a `kill -9`.
pub struct DiskLog {
    pub(crate) this: Weak<DiskLog>,
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Threads>,
    pub(crate) unfinished: Mutex<Vec<start::UnfinishedStream>>,
    _lock: File,
}

#[derive(Default)]
struct Threads {
    committer: Option<JoinHandle<()>>,
    sealer: Option<JoinHandle<()>>,
}

impl DiskLog {
    /// Opens the log of `config.path`, recovering what is there. Blocks, for seconds after a crash
    /// of a large log; call it off the arbiters, inside a tokio runtime if there is one.
    ///
    /// # Errors
    /// `internal` when the directory cannot be used. Damaged content is not an error: see
    /// [`Health::notes`](crate::log::Health::notes).
    pub fn open(config: &LogConfig, clock: Clock) -> Result<Arc<DiskLog>, Failure> {
        let started = start::start(config, clock)?;
        let threads = Threads { committer: Some(started.committer), sealer: Some(started.sealer) };
        let log = Arc::new_cyclic(|this| DiskLog {
            this: Weak::clone(this),
            shared: started.shared,
            threads: Mutex::new(threads),
            unfinished: Mutex::new(started.unfinished),
            _lock: started.lock,
        });
        for stream in started.orphans {
            let end = Interrupted { usage: Usage::default(), cost: Cost::default() };
            log.append(&stream, vec![Event::Interrupted(end)].into())?;
        }
        Ok(log)
    }

    /// Seals, expires and syncs everything that is due, now. Blocks; for tests and tools, which
    /// cannot wait for the sealer's own rhythm.
    pub fn settle(&self) {
        sealer::pass(&self.shared, Effort::All);
    }

    pub(crate) fn stop(&self, phase: Phase) {
        self.shared.enter(phase);
        let mut threads = lock(&self.threads);
        let join = |thread: Option<JoinHandle<()>>| {
            // Held by nobody but itself, the log can be dropped by a thread of its own only.
            if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
                let _ = thread.join();
            }
        };
        join(threads.committer.take());
        if phase == Phase::Closing && threads.sealer.is_some() {
            sealer::pass(&self.shared, Effort::All);
        }
        self.shared.enter(Phase::Dropped);
        join(threads.sealer.take());
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.stop(Phase::Dropped);
    }
}
