//! The sealer: one thread that moves durable records from the journal into the store.
//!
//! Owns when that happens: a finished stream at once; the prefix of a long one when it takes too much memory or pins the
//! oldest journal file. It syncs the store about once a second and gives journal files back after that. It inserts rows
//! in an order in which any prefix of them is consistent, so that a crash only repeats work. Never runs on an arbiter.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::journal::entry::JobText;
use super::pack::Packer;
use super::queue::Phase;
use super::schema::{self, StreamRow, Tree};
use super::shared::{Shared, lock};
use super::unsealed::{SealedPart, Work};
use super::{job_files, ledger, retention, rows, spare_files};
use crate::job::{Failure, StreamId};
use crate::log::stream::{Outcome, Stream};
use crate::telemetry;
use crate::wire::row;

/// Bytes of sealed records that stay in memory for readers at the tail.
const RING_KEEP_BYTES: usize = 16 * 1024;
/// Time that sealed rows wait for their sync; their journal file is kept until then.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Time between two passes of the sealer if nothing wakes it.
pub(crate) const SEALER_TICK: Duration = Duration::from_millis(100);

/// State that the sealer keeps between two passes.
pub(crate) struct Sealing {
    synced_at: Instant,
    measured_at: Option<Instant>,
    unsynced: bool,
    /// Whether retention failed, so that nothing expires until the next start.
    keeps_all: bool,
    /// Bytes of finished streams in the store; `None` before they were counted.
    pub(crate) finished_bytes: Option<u64>,
}

impl Default for Sealing {
    fn default() -> Sealing {
        Sealing {
            synced_at: Instant::now(),
            measured_at: None,
            unsynced: false,
            keeps_all: false,
            finished_bytes: None,
        }
    }
}

/// The amount of work in a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effort {
    /// What is due is sealed.
    Usual,
    /// Everything is sealed, expired and synced.
    All,
}

/// Runs the sealer's thread until the log is dropped.
pub(crate) fn run(shared: &Arc<Shared>) {
    // A simulated clock is the runtime's.
    let _runtime = shared.runtime.as_ref().map(tokio::runtime::Handle::enter);
    loop {
        {
            let unsealed = lock(&shared.unsealed);
            if shared.phase() == Phase::Dropped {
                return;
            }
            let _woken = shared.sealer_wake.wait_timeout(unsealed, SEALER_TICK);
        }
        pass(shared, Effort::Usual);
    }
}

/// Runs one pass. Blocks.
pub(crate) fn pass(shared: &Shared, effort: Effort) {
    let mut sealing = lock(&shared.sealing);
    shared.disk.check();
    if shared.disk.may_seal()
        && let Err(failure) = seal_due(shared, &mut sealing, effort)
    {
        shared.note(format!("sealing failed: {failure}"));
        shared.disk.store_broke(&failure);
    }
    spare_files::refill(shared);
    if sealing.measured_at.is_none_or(|at| at.elapsed() >= SYNC_EVERY) {
        sealing.measured_at = Some(Instant::now());
        measure(shared);
    }
}

fn seal_due(shared: &Shared, sealing: &mut Sealing, effort: Effort) -> Result<(), Failure> {
    let (pressed, work, rows_due) = {
        let mut unsealed = lock(&shared.unsealed);
        let pressed = unsealed.used_bytes() > shared.config.journal_bytes_max / 2;
        let work = if effort == Effort::All { unsealed.take_everything() } else { unsealed.take_work(pressed) };
        let rows_due = !unsealed.rows.is_empty() && (effort == Effort::All || unsealed.rows_are_due(pressed));
        (pressed, work, rows_due)
    };
    sealing.unsynced |= rows_due || !work.streams.is_empty() || !work.forgets.is_empty();
    seal_work(shared, sealing, work)?;
    if rows_due {
        rows::seal(shared)?;
    }
    if !sealing.keeps_all {
        match retention::expire(shared, sealing) {
            Ok(removed) => sealing.unsynced |= removed,
            Err(failure) => {
                // A row that cannot be read must not stop the log: it only stops giving space back.
                shared.note(format!("nothing expires any more until the broker is restarted: {failure}"));
                sealing.keeps_all = true;
            }
        }
    }
    let due = pressed || effort == Effort::All || sealing.synced_at.elapsed() >= SYNC_EVERY;
    // Rows that were overwritten or removed before they were sealed leave files behind that no row pins.
    let frees = pressed && lock(&shared.unsealed).sealed_upto_tick().is_some();
    if due && (sealing.unsynced || frees) && shared.phase() != Phase::Dropped {
        sync(shared)?;
        sealing.synced_at = Instant::now();
        sealing.unsynced = false;
    }
    Ok(())
}

fn seal_work(shared: &Shared, sealing: &mut Sealing, work: Work) -> Result<(), Failure> {
    let mut work = work;
    let mut seal = || {
        ledger::apply(shared)?;
        while let Some(stream) = work.streams.last() {
            if shared.phase() == Phase::Dropped {
                break;
            }
            seal_stream(shared, sealing, *stream)?;
            work.streams.pop();
        }
        while let Some((file, forgotten)) = work.forgets.last() {
            retention::forget(shared, sealing, forgotten)?;
            lock(&shared.unsealed).forget_done(*file);
            work.forgets.pop();
        }
        Ok(())
    };
    let done = seal();
    lock(&shared.unsealed).return_work(work);
    done
}

/// Makes sealed rows survive a power cut, and gives back the journal files that are no longer needed.
pub(crate) fn sync(shared: &Shared) -> Result<(), Failure> {
    let upto = lock(&shared.unsealed).sealed_upto_tick();
    // Charges stand beside terminals; the stream may be sealed before its charges are added up, but
    // its journal file is never given back before they are.
    ledger::apply(shared)?;
    if let Some(tick) = upto {
        shared.store.put(Tree::Meta, schema::FLOOR, &tick.to_be_bytes())?;
    }
    shared.store.sync()?;
    let Some(tick) = upto else { return Ok(()) };
    let free = lock(&shared.unsealed).free_files(tick);
    for file in free {
        spare_files::give_back(shared, file.number, file.bytes);
    }
    Ok(())
}

/// Seals what is durable of one stream.
pub(crate) fn seal_stream(shared: &Shared, sealing: &mut Sealing, id: StreamId) -> Result<(), Failure> {
    let (stream, job, before, sealed_bytes) = {
        let unsealed = lock(&shared.unsealed);
        let Some(slot) = unsealed.slots.get(&id) else { return Ok(()) };
        (Arc::clone(&slot.stream), slot.job.clone(), slot.sealed, slot.sealed_bytes)
    };
    // First the outcome: if it is there, so is the terminal's record.
    let outcome = stream.outcome();
    let mut part =
        SealedPart { upto: before.unwrap_or(0), bytes: sealed_bytes, weight: 0, finished: outcome.is_some() };
    seal_records(shared, &stream, &mut part)?;
    seal_row(shared, &stream, job, &part, outcome.as_deref())?;
    if part.finished {
        sealing.finished_bytes = sealing.finished_bytes.map(|bytes| bytes + part.bytes);
        lock(&shared.index).retire(stream.head());
    }
    lock(&shared.unsealed).sealed(id, &part);
    // The writer of a running job watches the tail as readers do.
    let writer = usize::from(!part.finished);
    let keep = if stream.watchers() > writer { RING_KEEP_BYTES } else { 0 };
    stream.trim_ring(part.upto, keep);
    Ok(())
}

fn seal_records(shared: &Shared, stream: &Stream, part: &mut SealedPart) -> Result<(), Failure> {
    let Some(chunk) = stream.read_ring(part.upto, usize::MAX) else { return Ok(()) };
    let id = stream.head().stream;
    let mut packer = Packer::default();
    let mut put = |pack: Option<(u64, Vec<u8>)>| match pack {
        None => Ok(()),
        Some((first, row)) => {
            part.bytes += row.len() as u64;
            shared.store.put(Tree::Packs, &schema::pack_key(id, first), &row)
        }
    };
    for (seq, record) in chunk.iter() {
        put(packer.add(seq, record))?;
    }
    put(packer.finish())?;
    part.upto = chunk.next_seq();
    part.weight = chunk.weight();
    Ok(())
}

/// Writes the rows around the packs. The stream's own row comes last: it is what makes the others count.
fn seal_row(
    shared: &Shared,
    stream: &Stream,
    job: Option<JobText>,
    part: &SealedPart,
    outcome: Option<&Outcome>,
) -> Result<(), Failure> {
    let (store, head) = (&shared.store, stream.head());
    let id = head.stream;
    let keeps_job = outcome.is_none() || head.log_payload;
    if let Some(job) = &job {
        store.put(Tree::Heads, &id.0, &row::encode(head))?;
        if let (JobText::Inline(text), true) = (job, keeps_job) {
            store.put(Tree::Jobs, &id.0, text)?;
        }
        store.put(Tree::Ids, head.id.as_str().as_bytes(), &id.0)?;
        if let Some(idempotency) = &head.idempotency_key {
            store.put(Tree::Keys, &schema::idempotency_key(&head.gateway, idempotency), &id.0)?;
        }
    }
    match outcome {
        None => store.put(Tree::Open, &id.0, &[])?,
        Some(outcome) => retention::enter(store, head, outcome.at, part.bytes)?,
    }
    let row = StreamRow { epoch: stream.epoch(), sealed: part.upto, bytes: part.bytes, outcome: outcome.cloned() };
    store.put(Tree::Streams, &id.0, &row::encode(&row))?;
    if outcome.is_some() {
        store.remove(Tree::Open, &id.0)?;
    }
    if !keeps_job {
        store.remove(Tree::Jobs, &id.0)?;
        job_files::remove(&shared.config.path, id)?;
    }
    Ok(())
}

fn measure(shared: &Shared) {
    let journal = {
        let unsealed = lock(&shared.unsealed);
        let spare: u64 = unsealed.spares.iter().map(|file| file.bytes).sum();
        unsealed.used_bytes() + spare
    };
    let (bytes, blobs) = shared.store.size();
    if blobs > 0 {
        tracing::error!(target: "forebay::log", "sled made {blobs} blob files; they are not durable");
    }
    shared.bytes.store(bytes + journal, Ordering::Relaxed);
    telemetry::log_size(bytes + journal, blobs);
}
