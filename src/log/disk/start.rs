//! Starting the log: store, journal, recovery, two threads.
//!
//! Owns the order of a start: nothing is served before everything that was acknowledged is readable, or its loss is
//! reported.

use std::fs::{self, File};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::committer::Committer;
use super::free_space::FreeSpace;
use super::index::StreamIndex;
use super::journal::{self, JournalFile, Mark};
use super::queue::Queue;
use super::recovery::{Scanned, scan};
use super::schema::{self, Tree};
use super::sealer::Sealing;
use super::shared::{Shared, lock};
use super::store::Store;
use super::unsealed::{Slot, UnsealedIndex};
use super::{files, ledger, read, retention, rows, sealer, spare_files};
use crate::clock::Clock;
use crate::config::{Durability, LogConfig};
use crate::job::{Failure, Job};
use crate::log::stream::Stream;

/// A log whose threads run.
pub(crate) struct StartedLog {
    pub(crate) shared: Arc<Shared>,
    pub(crate) committer: JoinHandle<()>,
    pub(crate) sealer: JoinHandle<()>,
    /// Streams without a terminal, with their jobs.
    pub(crate) unfinished: Vec<UnfinishedStream>,
    /// Streams without a terminal whose job is lost.
    pub(crate) orphans: Vec<Arc<Stream>>,
    /// Keeps other brokers away from the directory.
    pub(crate) lock: File,
}

/// Opens the log of `config.path`. Blocks.
pub(crate) fn start(config: &LogConfig, clock: Clock) -> Result<StartedLog, Failure> {
    let data = &config.path;
    let failed = |error: std::io::Error| Failure::internal(format!("{}: {error}", data.display()));
    fs::create_dir_all(data).map_err(failed)?;
    let lock_file = take_lock(config)?;
    files::prepare(data).map_err(failed)?;
    let (store, mut notes) = Store::open(&data.join("sled"), clock.now())?;
    let (mark, marked_tick) = Mark::open(data).map_err(failed)?;
    let floor = store.get(Tree::Meta, schema::FLOOR)?.and_then(|row| schema::number_of(&row)).unwrap_or(0);
    let scanned = scan(&data.join("journal"), &store, floor, marked_tick)?;
    let line = next_line(&store, &scanned)?;
    let (last, loss, leftovers) = (scanned.last, scanned.loss.clone(), scanned.leftovers.clone());
    notes.extend(loss.clone());
    for note in &notes {
        tracing::error!(target: "forebay::log", "{note}");
    }
    let (unsealed, index) = restore(scanned);
    let streams: Vec<_> = index.streams().map(Arc::clone).collect();
    let shared = Arc::new(Shared {
        disk: FreeSpace::new(config),
        config: config.clone(),
        clock,
        runtime: Handle::try_current().ok(),
        queue: Mutex::new(Queue::default()),
        queue_ready: Condvar::new(),
        unsealed: Mutex::new(unsealed),
        sealer_wake: Condvar::new(),
        spare_ready: Condvar::new(),
        index: Mutex::new(index),
        released: Notify::new(),
        ledger_lock: Mutex::new(()),
        sealing: Mutex::new(Sealing::default()),
        rows_gate: RwLock::new(()),
        store,
        notes: Mutex::new(notes),
        bytes: AtomicU64::new(0),
        reads: Shared::reads(),
    });
    for number in leftovers {
        journal::remove(&shared.journal_dir(), number).map_err(failed)?;
    }
    if loss.is_some() {
        settle_loss(&shared, last)?;
    } else {
        sync_files(&shared).map_err(failed)?;
    }
    remove_orphaned_files(&shared)?;
    ledger::resume_rebuild(&shared)?;
    let committer = Committer::start(Arc::clone(&shared), mark, first_file(&shared).map_err(failed)?, last, line)?;
    spare_files::refill(&shared);
    let (unfinished, orphans) = jobs_of(&shared, streams);
    let committer = thread("forebay-commit", move || committer.run())?;
    let sealing = Arc::clone(&shared);
    let sealer = thread("forebay-seal", move || sealer::run(&sealing))?;
    Ok(StartedLog { shared, committer, sealer, unfinished, orphans, lock: lock_file })
}

/// Tries to take the lock, two seconds in all: the process that had it may be ending, or a child of it that was forked
/// a moment ago may still have its files open.
const LOCK_TRIES: u32 = 100;
/// Time between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

fn take_lock(config: &LogConfig) -> Result<File, Failure> {
    let path = config.path.join("lock");
    let failed = |error: std::io::Error| Failure::internal(format!("{}: {error}", path.display()));
    let file = File::create(&path).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(Failure::internal(format!("{}: another forebay uses this directory", config.path.display())))
}

/// A thread of the log. Should it panic, every writer would wait for it for ever: the process ends
/// instead, as if it had been killed, and the next start recovers what is on disk.
fn thread(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    let guarded = move || {
        if std::panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
            tracing::error!(target: "forebay::log", thread = name, "a thread of the log panicked: the broker ends here");
            std::process::abort();
        }
    };
    let made = std::thread::Builder::new().name(name.into()).spawn(guarded);
    made.map_err(|error| Failure::internal(format!("no thread for the log: {error}")))
}

fn next_line(store: &Store, scanned: &Scanned<'_>) -> Result<u64, Failure> {
    let journal = scanned.replay.charges.last().map_or(0, |(line, _)| *line);
    Ok(ledger::next_line(store)?.max(journal + 1))
}

fn restore(scanned: Scanned<'_>) -> (UnsealedIndex, StreamIndex) {
    let (mut unsealed, mut index) = (UnsealedIndex::default(), StreamIndex::default());
    unsealed.next_number = scanned.next_number;
    unsealed.files = scanned.files.into();
    for (id, restored) in scanned.replay.streams {
        let stream = restored.to_stream();
        index.enter(&stream);
        let weight = restored.weight();
        let slot = Slot::new(stream, restored.job, restored.sealed);
        unsealed.restore(id, slot, &restored.files, weight);
    }
    for (file, forgotten) in scanned.replay.forgets {
        index.forget(forgotten.stream);
        unsealed.forget(file, forgotten);
    }
    unsealed.charge(scanned.replay.charges);
    unsealed.rows = scanned.replay.rows;
    (unsealed, index)
}

/// Settles a loss: the store gets everything that is left, new epochs included, and the damaged files are removed. The
/// next start then finds nothing to repair.
fn settle_loss(shared: &Shared, last: u64) -> Result<(), Failure> {
    let mut sealing = Sealing::default();
    ledger::apply(shared)?;
    let slots: Vec<_> = {
        let unsealed = lock(&shared.unsealed);
        unsealed.slots.iter().map(|(id, slot)| (*id, slot.sealed.unwrap_or(0))).collect()
    };
    for (id, sealed) in slots {
        // Packs after the sealed part are of the life that was lost.
        retention::remove_packs(&shared.store, id, sealed)?;
        sealer::seal_stream(shared, &mut sealing, id)?;
    }
    let forgets = lock(&shared.unsealed).take_everything().forgets;
    for (file, forgotten) in &forgets {
        retention::forget(shared, &mut sealing, forgotten)?;
        lock(&shared.unsealed).forget_done(*file);
    }
    rows::seal(shared)?;
    shared.store.put(Tree::Meta, schema::FLOOR, &last.to_be_bytes())?;
    shared.store.sync()?;
    let files = std::mem::take(&mut lock(&shared.unsealed).files);
    for file in files {
        journal::remove(&shared.journal_dir(), file.number)
            .map_err(|error| Failure::internal(format!("a damaged journal file cannot be removed: {error}")))?;
    }
    Ok(())
}

/// Syncs the journal files that were found: their last bytes may be in the kernel only, and no reader may see them
/// before they are on the disk.
fn sync_files(shared: &Shared) -> std::io::Result<()> {
    if shared.config.durability != Durability::Power {
        return Ok(());
    }
    let files: Vec<_> = lock(&shared.unsealed).files.iter().map(|file| file.number).collect();
    for number in files {
        File::open(journal::path(&shared.journal_dir(), number))?.sync_data()?;
    }
    Ok(())
}

fn first_file(shared: &Shared) -> std::io::Result<JournalFile> {
    let number = {
        let mut unsealed = lock(&shared.unsealed);
        unsealed.next_number += 1;
        unsealed.next_number - 1
    };
    JournalFile::create(&shared.journal_dir(), number, journal::file_bytes(shared.config.journal_bytes_max))
}

fn remove_orphaned_files(shared: &Shared) -> Result<(), Failure> {
    let data = &shared.config.path;
    let known = files::streams(data).map_err(|error| Failure::internal(format!("{}: {error}", data.display())))?;
    for stream in known {
        let live = lock(&shared.unsealed).slots.contains_key(&stream);
        if !live && shared.store.get(Tree::Heads, &stream.0)?.is_none() {
            files::remove(data, stream)?;
        }
    }
    Ok(())
}

/// An unfinished stream and its job.
pub(crate) type UnfinishedStream = (Arc<Stream>, Job);

fn jobs_of(shared: &Shared, streams: Vec<Arc<Stream>>) -> (Vec<UnfinishedStream>, Vec<Arc<Stream>>) {
    let (mut unfinished, mut orphans) = (Vec::new(), Vec::new());
    for stream in streams.into_iter().filter(|stream| !stream.tail().state.is_terminal()) {
        match read::job(shared, stream.head()) {
            Ok(Some(job)) => unfinished.push((stream, job)),
            other => {
                let why = other.err().map_or_else(|| "it is missing".into(), |failure| failure.to_string());
                shared.note(format!("the job of {} cannot be read ({why}); it ends here", stream.head().id));
                orphans.push(stream);
            }
        }
    }
    unfinished.sort_by_key(|(stream, _)| stream.head().stream);
    (unfinished, orphans)
}
