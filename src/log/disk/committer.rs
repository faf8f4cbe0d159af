//! The committer: one thread that makes appends durable, many at a time.
//!
//! Owns the journal's write side. It takes everything that was handed over while the last sync was running, writes it as
//! ticks with one write and one sync, and only then shows it to readers; it starts at once when idle, so the first token
//! waits for no timer. What could not be written is reported as failed, and the next file records that (`Start`), so
//! that no later start takes it for durable. Does not touch the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::journal::{self, HEADER_BYTES, JournalFile, Mark, TICK_BYTES_MAX, entry};
use super::publish::{fail, publish};
use super::queue::{Op, Phase, charges_of, rows_of};
use super::rows_if::CommitRows;
use super::shared::{Shared, lock};
use super::spare_files;
use super::unsealed::UsedFile;
use crate::config::Durability;
use crate::job::{Code, Failure};
use crate::telemetry;

/// Bytes of ticks in one write: more than is appended during one sync at any rate that the log reaches.
const WRITE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The committer, with the journal file that it writes to.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    mark: Mark,
    file: JournalFile,
    /// The offset of the next tick in `file`.
    offset: u64,
    /// Whether `file` holds nothing but its first tick.
    fresh: bool,
    /// The last tick's number.
    tick: u64,
    /// The number of the last tick that is durable.
    durable: u64,
    /// The number of the next ledger line.
    line: u64,
    /// The ticks to write; the buffer is kept for its space.
    buffer: Vec<u8>,
}

impl Committer {
    /// Makes a committer that goes on after tick `last` in the new file `file`, with ledger line `line`.
    pub(crate) fn start(
        shared: Arc<Shared>,
        mark: Mark,
        file: JournalFile,
        last: u64,
        line: u64,
    ) -> Result<Committer, Failure> {
        let buffer = Vec::with_capacity(TICK_BYTES_MAX + HEADER_BYTES);
        let mut committer =
            Committer { shared, mark, file, offset: 0, fresh: true, tick: last, durable: last, line, buffer };
        committer.begin_file()?;
        Ok(committer)
    }

    /// Runs until the log is closed or dropped.
    pub(crate) fn run(mut self) {
        loop {
            let ops = {
                let mut queue = lock(&self.shared.queue);
                while queue.ops.is_empty() && queue.phase == Phase::Open {
                    queue = self.shared.queue_ready.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                if queue.phase == Phase::Dropped || queue.ops.is_empty() {
                    return;
                }
                queue.bytes = 0;
                queue.woken = false;
                std::mem::take(&mut queue.ops)
            };
            self.commit(ops.into());
        }
    }

    fn commit(&mut self, mut ops: VecDeque<Op>) {
        while !ops.is_empty() {
            let began = Instant::now();
            let line = self.line;
            let batch = self.fill(&mut ops);
            if batch.is_empty() {
                if !ops.is_empty()
                    && let Err(failure) = self.rotate()
                {
                    fail(&self.shared, ops.into_iter().collect(), &failure);
                    return;
                }
                continue;
            }
            match self.write() {
                Ok(()) => {
                    let records = batch.iter().map(Op::records).sum();
                    publish(&self.shared, self.file.number, self.durable, line, batch);
                    telemetry::log_commit(began.elapsed(), records);
                }
                Err(error) => {
                    self.line = line;
                    tracing::error!(target: "forebay::log", "the journal could not be written: {error}");
                    self.shared.disk.check();
                    // First the new file, which records that these ticks do not count; then the answers.
                    if let Err(failure) = self.rotate() {
                        tracing::error!(target: "forebay::log", "no new journal file: {failure}");
                    }
                    let failure = Failure::new(Code::Overloaded, "the log could not be written");
                    fail(&self.shared, batch, &failure);
                }
            }
        }
    }

    /// Moves operations into the buffer as ticks, as many as fit the file.
    fn fill(&mut self, ops: &mut VecDeque<Op>) -> Vec<Op> {
        self.buffer.clear();
        let mut batch: Vec<Op> = Vec::with_capacity(ops.len());
        let mut tick: Option<usize> = None;
        let mut next = self.tick;
        let mut rows = CommitRows::default();
        while let Some(op) = ops.front() {
            let len = op.len();
            let full = tick.is_some_and(|start| self.buffer.len() - start - HEADER_BYTES + len > TICK_BYTES_MAX);
            let end = self.offset + (self.buffer.len() + HEADER_BYTES + len) as u64;
            // An append larger than a whole file goes over the end of a fresh one.
            let fits = end <= self.file.bytes || (self.fresh && batch.is_empty());
            if !fits || (self.buffer.len() + len > WRITE_BYTES_MAX && !batch.is_empty()) {
                break;
            }
            let Some(mut op) = ops.pop_front() else { break };
            if !follows(&op, &batch) {
                continue;
            }
            if let Op::RowsIf(conditional) = &mut op {
                rows.compare(&self.shared, conditional, &batch);
                if !conditional.holds() {
                    // It is answered with the rest, because what it was compared with may fail yet.
                    batch.push(op);
                    continue;
                }
            }
            if full && let Some(start) = tick.take() {
                next += 1;
                journal::close_tick(&mut self.buffer, start, self.file.number, next);
            }
            // An empty batch of rows waits for what is before it, and a tick without entries would not be valid.
            if len > 0 {
                tick.get_or_insert_with(|| journal::open_tick(&mut self.buffer));
                self.put(&op);
            }
            rows.add(&op);
            batch.push(op);
        }
        if let Some(start) = tick {
            next += 1;
            journal::close_tick(&mut self.buffer, start, self.file.number, next);
        }
        self.tick = next;
        batch
    }

    fn put(&mut self, op: &Op) {
        match op {
            Op::Create { stream, head, job, block } => {
                entry::put_create(&mut self.buffer, stream.epoch(), head, job, block);
            }
            Op::Append { stream, block, extras, .. } => {
                entry::put_append(&mut self.buffer, stream.head().stream, block, self.line, charges_of(extras));
                self.line += extras.as_ref().map_or(0, |extras| extras.charges.len() as u64);
                // In the same tick, which is there as a whole or not at all.
                entry::put_rows(&mut self.buffer, rows_of(extras));
            }
            Op::Forget { stream, id, .. } => entry::put_forget(&mut self.buffer, *stream, id),
            Op::Rows { rows, .. } => entry::put_rows(&mut self.buffer, rows),
            Op::RowsIf(conditional) => entry::put_rows(&mut self.buffer, &conditional.rows),
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            // Nothing but batches of rows that write nothing.
            return Ok(());
        }
        let sync = self.shared.config.durability == Durability::Power;
        self.file.write(self.offset, &self.buffer, sync)?;
        self.mark.set(self.tick)?;
        self.offset += self.buffer.len() as u64;
        self.fresh = false;
        self.durable = self.tick;
        Ok(())
    }

    /// Goes on in the next file, waiting for the sealer to give one back.
    fn rotate(&mut self) -> Result<(), Failure> {
        self.file = spare_files::take(&self.shared)?;
        self.offset = 0;
        self.fresh = true;
        let begun = self.begin_file();
        if begun.is_err() {
            // Nothing fits into it any more, so the next batch tries another file; this one is removed
            // at the next start.
            self.offset = u64::MAX / 2;
            self.fresh = false;
        }
        begun
    }

    /// Writes the first tick of a file, which names the last tick before it that counts.
    fn begin_file(&mut self) -> Result<(), Failure> {
        self.tick += 1;
        self.buffer.clear();
        let start = journal::open_tick(&mut self.buffer);
        entry::put_start(&mut self.buffer, self.durable);
        journal::close_tick(&mut self.buffer, start, self.file.number, self.tick);
        let sync = self.shared.config.durability == Durability::Power;
        let wrote = self.file.write(0, &self.buffer, sync);
        wrote.map_err(|error| Failure::internal(format!("a journal file could not be begun: {error}")))?;
        self.offset = self.buffer.len() as u64;
        self.durable = self.tick;
        let file = UsedFile { number: self.file.number, bytes: self.file.bytes, last_tick: self.tick };
        lock(&self.shared.unsealed).files.push_back(file);
        Ok(())
    }
}

/// Returns whether an operation continues its stream exactly where the stream is. It does not after a failure of an
/// operation before it. The writer was answered with that failure, so the operation is dropped silently.
fn follows(op: &Op, batch: &[Op]) -> bool {
    let Some((stream, block)) = op.stream() else { return true };
    if stream.tail().durable == block.first_seq {
        return true;
    }
    let before = batch.iter().rev().filter_map(Op::stream).find(|(other, _)| Arc::ptr_eq(stream, other));
    before.is_some_and(|(_, before)| before.next_seq() == block.first_seq)
}
