//! What the log's callers and its two threads share.
//!
//! Owns the queue to the committer, the guard of the disk, and the way off the arbiters. Locks are
//! std mutexes held for a few map operations, never across an await, a sync or a read of the store
//! (`sealing`, `money` and `rows_gate` excepted: only threads that may block take those). Order where
//! two are held: `sealing`, `money`, `rows_gate`, `directory`, `book`.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::committer::Op;
use super::index::Directory;
use super::sealer::Sealing;
use super::store::Store;
use super::unsealed::UnsealedIndex;
use crate::clock::Clock;
use crate::config::LogConfig;
use crate::job::{Code, Failure};
use crate::telemetry;

/// Bytes that may wait for the committer; each stream has one batch under way, so this is reached
/// only when the disk stands still under very many streams.
const QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Reads of the store at once: each holds a thread of tokio's blocking pool.
const READS_MAX: usize = 16;
/// Notes kept for `Health`.
const NOTES_MAX: usize = 32;

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: LogConfig,
    pub(crate) clock: Clock,
    pub(crate) runtime: Option<Handle>,
    pub(crate) queue: Mutex<Queue>,
    /// The queue has something, or is closing.
    pub(crate) queued: Condvar,
    pub(crate) book: Mutex<UnsealedIndex>,
    /// The sealer has something to do.
    pub(crate) work: Condvar,
    /// The committer may have a new file.
    pub(crate) room: Condvar,
    pub(crate) directory: Mutex<Directory>,
    /// A claim on an id or key was given up.
    pub(crate) released: Notify,
    /// Held while charges are added up.
    pub(crate) money: Mutex<()>,
    /// Held while streams are sealed or removed.
    pub(crate) sealing: Mutex<Sealing>,
    /// Held for writing while rows move from memory into the store.
    pub(crate) rows_gate: RwLock<()>,
    pub(crate) store: Store,
    pub(crate) disk: DiskGuard,
    pub(crate) notes: Mutex<Vec<String>>,
    /// Bytes on disk, as last measured.
    pub(crate) bytes: AtomicU64,
    pub(crate) reads: Arc<Semaphore>,
}

/// What waits for the committer.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) ops: Vec<Op>,
    /// Whether the committer was woken for what waits.
    pub(crate) hurried: bool,
    pub(crate) bytes: usize,
    pub(crate) phase: Phase,
}

/// How far down the log is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Phase {
    /// Takes appends.
    #[default]
    Open,
    /// Commits what it has, takes nothing.
    Closing,
    /// The threads stop where they are, as if killed.
    Dropped,
}

/// A panic under one of these locks is a bug that has been reported; the data behind it is still
/// checked by what reads it, so the log goes on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    /// Where the journal's files are.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.config.path.join("journal")
    }

    /// A fresh room for [`Shared::reads`].
    pub(crate) fn reads() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(READS_MAX))
    }

    /// Hands an operation to the committer, and wakes it.
    pub(crate) fn push(&self, op: Op) -> Result<(), Failure> {
        self.wake(self.enqueue(op)?);
        Ok(())
    }

    /// Hands an operation to the committer, which takes it with the next that it is woken for.
    pub(crate) fn push_quietly(&self, op: Op) -> Result<(), Failure> {
        self.enqueue(op).map(drop)
    }

    /// Wakes the committer for what waits.
    pub(crate) fn flush(&self) {
        self.wake(lock(&self.queue));
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if !queue.ops.is_empty() && !std::mem::replace(&mut queue.hurried, true) {
            drop(queue);
            self.queued.notify_one();
        }
    }

    fn enqueue(&self, op: Op) -> Result<MutexGuard<'_, Queue>, Failure> {
        let bytes = op.len();
        let mut queue = lock(&self.queue);
        if queue.phase != Phase::Open {
            return Err(Failure::new(Code::Overloaded, "the log is closed"));
        }
        if queue.bytes + bytes > QUEUE_BYTES_MAX {
            return Err(Failure::new(Code::Overloaded, "the disk does not keep up"));
        }
        queue.bytes += bytes;
        queue.ops.push(op);
        Ok(queue)
    }

    /// How far down the log is.
    pub(crate) fn phase(&self) -> Phase {
        lock(&self.queue).phase
    }

    /// Moves on to `phase` and wakes both threads.
    pub(crate) fn enter(&self, phase: Phase) {
        {
            let mut queue = lock(&self.queue);
            queue.phase = queue.phase.max(phase);
        }
        self.queued.notify_all();
        let _book = lock(&self.book);
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Says something to the person who runs it, now and in `Health`.
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

/// Whether there is disk to write to.
pub(crate) struct DiskGuard {
    path: PathBuf,
    free_bytes_min: u64,
    refusing: AtomicBool,
    /// Why, while `refusing`.
    reason: Mutex<Option<String>>,
    sealing: AtomicBool,
    /// The store failed for good.
    broken: AtomicU64,
}

impl DiskGuard {
    /// A guard of the disk that `config.path` is on.
    pub(crate) fn new(config: &LogConfig) -> DiskGuard {
        let guard = DiskGuard {
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

/// How often the sealer looks around when nobody calls it.
pub(crate) const SEALER_TICK: Duration = Duration::from_millis(100);
