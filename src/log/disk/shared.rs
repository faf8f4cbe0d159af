//! State that the log's callers and its two threads share.
//!
//! Owns the locks and the way off the arbiters. Locks are std mutexes held for a few map operations, never across an
//! await, a sync or a read of the store (`sealing`, `ledger_lock` and `rows_gate` excepted: only threads that may block
//! take those). Order where two are held: `sealing`, `ledger_lock`, `rows_gate`, `index`, `unsealed`.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::free_space::FreeSpace;
use super::index::StreamIndex;
use super::queue::Queue;
use super::sealer::Sealing;
use super::store::Store;
use super::unsealed::UnsealedIndex;
use crate::clock::Clock;
use crate::config::LogConfig;
use crate::job::Failure;

/// Number of reads of the store at once: each takes a thread of tokio's blocking pool.
const READS_MAX: usize = 16;
/// Notes kept for `Health`.
const NOTES_MAX: usize = 32;

/// The state that callers and the two threads share.
pub(crate) struct Shared {
    pub(crate) config: LogConfig,
    pub(crate) clock: Clock,
    pub(crate) runtime: Option<Handle>,
    pub(crate) queue: Mutex<Queue>,
    /// Signals that the queue has an operation, or that the log is closing.
    pub(crate) queue_ready: Condvar,
    pub(crate) unsealed: Mutex<UnsealedIndex>,
    /// Signals that the sealer has work.
    pub(crate) sealer_wake: Condvar,
    /// Signals that the committer may have a new file.
    pub(crate) spare_ready: Condvar,
    pub(crate) index: Mutex<StreamIndex>,
    /// Notifies callers that a claim on an id or key was given up.
    pub(crate) released: Notify,
    /// Held while charges are added up.
    pub(crate) ledger_lock: Mutex<()>,
    /// Held while streams are sealed or removed.
    pub(crate) sealing: Mutex<Sealing>,
    /// Held for writing while rows move from memory into the store.
    pub(crate) rows_gate: RwLock<()>,
    pub(crate) store: Store,
    pub(crate) disk: FreeSpace,
    pub(crate) notes: Mutex<Vec<String>>,
    /// Bytes on disk, as last measured.
    pub(crate) bytes: AtomicU64,
    pub(crate) reads: Arc<Semaphore>,
}

/// A panic under one of these locks is a bug that has been reported; the data behind it is still
/// checked by what reads it, so the log goes on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    /// Returns the directory of the journal's files.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.config.path.join("journal")
    }

    /// Makes the semaphore for [`Shared::reads`].
    pub(crate) fn reads() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(READS_MAX))
    }

    /// Tells the operator something: in the log output now, and in `Health`.
    pub(crate) fn note(&self, note: String) {
        tracing::error!(target: "forebay::log", "{note}");
        let mut notes = lock(&self.notes);
        if notes.len() < NOTES_MAX {
            notes.push(note);
        }
    }

    /// Runs `work`, which may block, off the arbiters. Cancel-safe: dropped, the work still ends.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let closed = || Failure::internal("the log is closed");
        let permit = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| closed())?;
        let shared = Arc::clone(self);
        let work = move || {
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| work(&shared)));
            drop(permit);
            done.unwrap_or_else(|_| Err(Failure::internal("a read of the log panicked")))
        };
        let task = match (Handle::try_current(), &self.runtime) {
            (Ok(here), _) => here.spawn_blocking(work),
            (Err(_), Some(captured)) => captured.spawn_blocking(work),
            (Err(_), None) => return work(),
        };
        task.await.map_err(|_| closed())?
    }
}
