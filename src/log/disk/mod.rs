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

mod files;
mod job_files;
mod ledger;
mod outputs;
mod rows;
mod rows_if;

mod free_space;
mod recovery;

use std::fs::File;
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;

use self::queue::Phase;
use self::sealer::Effort;
use self::shared::{Shared, lock};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::config::LogConfig;
use crate::job::{Charge, Cost, Event, Failure, Interrupted, Usage};
use crate::log::{Health, Log, Streams};

/// The durable log on disk. Dropping it without [`Log::close`] is as safe as a `kill -9`.
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

    /// Seals, expires and syncs everything that is due, now. Blocks; for tests and tools, which cannot wait until the
    /// sealer does it.
    pub fn settle(&self) {
        sealer::pass(&self.shared, Effort::All);
    }

    /// Reads ledger lines after line `after` (0 = from the first), oldest first, with their numbers. Blocks; for
    /// tests and tools, which compare the ledger with the records.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    pub fn charges(&self, after: u64, limit: usize) -> Result<Vec<(u64, Charge)>, Failure> {
        ledger::charges(&self.shared, after, limit)
    }

    pub(crate) fn stop(&self, phase: Phase) {
        self.shared.enter(phase);
        let mut threads = lock(&self.threads);
        let join = |thread: Option<JoinHandle<()>>| {
            // The last reference may be held by one of the log's own threads, which must not wait for itself.
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

impl Log for DiskLog {
    fn health(&self) -> Health {
        Health {
            refusing: self.shared.disk.reason(),
            notes: lock(&self.shared.notes).clone(),
            bytes: self.shared.bytes.load(std::sync::atomic::Ordering::Relaxed),
            streams: lock(&self.shared.index).len() as u64,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let Some(log) = self.this.upgrade() else { return std::future::ready(()).boxed() };
        async move {
            let stopped = self.shared.blocking(move |_| {
                log.stop(Phase::Closing);
                Ok(())
            });
            if let Err(failure) = stopped.await {
                tracing::error!(target: "forebay::log", "the log did not close cleanly: {failure}");
            }
        }
        .boxed()
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.stop(Phase::Dropped);
    }
}
