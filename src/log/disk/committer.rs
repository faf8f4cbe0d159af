//! The committer: one thread that makes appends durable, many at a time.
//!
//! Owns the journal's write side. Takes whatever all streams handed in while the last sync was
//! running, writes it as ticks with one write and one sync, and only then shows it to readers; it
//! starts at once when idle, so the first token waits for no timer. What could not be written is
//! reported as failed, and the next file says so (`Start`), so that no later start can take it for
//! durable. Does not touch the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::journal::entry::{self, JobText};
use super::journal::{self, HEADER_BYTES, JournalFile, Mark, TICK_BYTES_MAX};
use super::shared::{Phase, Shared, lock};
use super::unsealed::{Forgotten, Slot, UsedFile};
use crate::config::Durability;
use crate::job::{Charge, Code, Failure, JobId, StreamId};
use crate::log::Block;
use crate::log::rows;
use crate::log::stream::{Outcome, Stream};
use crate::telemetry;

/// Bytes of ticks in one write; more than a sync's worth of appends at any rate we can take.
const WRITE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the committer waits for a file before it looks around.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// Something to make durable.
pub(crate) enum Op {
    /// A stream and its first record. `head` is the head's MessagePack.
    Create { stream: Arc<Stream>, head: Vec<u8>, job: JobText, block: Arc<Block> },
    /// Records.
    Append { stream: Arc<Stream>, block: Arc<Block>, streaming: bool, ending: Option<Box<Ending>> },
    /// A stream is to be gone.
    Forget { stream: StreamId, id: JobId, done: oneshot::Sender<Result<(), Failure>> },
    /// A batch of rows, as [`rows::encode`] made it.
    Rows { rows: Bytes, done: oneshot::Sender<Result<(), Failure>> },
}

/// What an append, mostly a last one, brings beside its records.
pub(crate) struct Ending {
    pub(crate) outcome: Option<Outcome>,
    pub(crate) charges: Vec<Charge>,
    /// The charges' MessagePack; empty if there is none.
    pub(crate) encoded: Vec<u8>,
    /// A batch of rows, as [`rows::encode`] made it.
    pub(crate) rows: Bytes,
}

impl Op {
    /// Bytes of its entry.
    pub(crate) fn len(&self) -> usize {
        match self {
            Op::Create { head, job, block, .. } => entry::create_len(head, job, block),
            Op::Append { block, ending, .. } => {
                entry::append_len(block, charges_of(ending)) + entry::rows_len(rows_of(ending))
            }
            Op::Forget { id, .. } => entry::forget_len(id),
            Op::Rows { rows, .. } => entry::rows_len(rows),
        }
    }

    fn stream(&self) -> Option<(&Arc<Stream>, &Arc<Block>)> {
        match self {
            Op::Create { stream, block, .. } | Op::Append { stream, block, .. } => Some((stream, block)),
            Op::Forget { .. } | Op::Rows { .. } => None,
        }
    }

    fn records(&self) -> u64 {
        self.stream().map_or(0, |(_, block)| block.ends.len() as u64)
    }
}

fn charges_of(ending: &Option<Box<Ending>>) -> &[u8] {
    ending.as_ref().map_or(&[], |ending| &ending.encoded)
}

fn rows_of(ending: &Option<Box<Ending>>) -> &[u8] {
    ending.as_ref().map_or(&[], |ending| &ending.rows)
}

/// See the module.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    mark: Mark,
    file: JournalFile,
    /// Where the next tick goes in `file`.
    offset: u64,
    /// Whether `file` holds nothing but its first tick.
    fresh: bool,
    /// The last tick's number.
    tick: u64,
    /// The last tick that is durable.
    durable: u64,
    /// The next line of the ledger.
    line: u64,
    /// Ticks to write; kept for its space.
    buffer: Vec<u8>,
}

impl Committer {
    /// A committer that goes on after tick `last` in `file`, which is new, and line `line` - 1.
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
                    queue = self.shared.queued.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                if queue.phase == Phase::Dropped || queue.ops.is_empty() {
                    return;
                }
                queue.bytes = 0;
                queue.hurried = false;
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
                    // First the new file, which says that these ticks do not count; then the word.
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
        while let Some(op) = ops.front() {
            let len = op.len();
            let full = tick.is_some_and(|start| self.buffer.len() - start - HEADER_BYTES + len > TICK_BYTES_MAX);
            let end = self.offset + (self.buffer.len() + HEADER_BYTES + len) as u64;
            // An append larger than a whole file goes over the end of a fresh one.
            let fits = end <= self.file.bytes || (self.fresh && batch.is_empty());
            if !fits || (self.buffer.len() + len > WRITE_BYTES_MAX && !batch.is_empty()) {
                break;
            }
            let Some(op) = ops.pop_front() else { break };
            if !follows(&op, &batch) {
                continue;
            }
            if full && let Some(start) = tick.take() {
                next += 1;
                journal::close_tick(&mut self.buffer, start, self.file.number, next);
            }
            tick.get_or_insert_with(|| journal::open_tick(&mut self.buffer));
            self.put(&op);
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
            Op::Append { stream, block, ending, .. } => {
                entry::put_append(&mut self.buffer, stream.head().stream, block, self.line, charges_of(ending));
                self.line += ending.as_ref().map_or(0, |ending| ending.charges.len() as u64);
                // In the same tick, which is there as a whole or not at all.
                entry::put_rows(&mut self.buffer, rows_of(ending));
            }
            Op::Forget { stream, id, .. } => entry::put_forget(&mut self.buffer, *stream, id),
            Op::Rows { rows, .. } => entry::put_rows(&mut self.buffer, rows),
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
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
        self.file = next_file(&self.shared)?;
        self.offset = 0;
        self.fresh = true;
        let begun = self.begin_file();
        if begun.is_err() {
            // Nothing fits it any more, so the next batch tries another file; this one is removed
            // at the next start.
            self.offset = u64::MAX / 2;
            self.fresh = false;
        }
        begun
    }

    /// Writes the first tick of a file: what counts of the files before it.
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
        lock(&self.shared.book).files.push_back(file);
        Ok(())
    }
}

/// Whether an operation goes on exactly where its stream is. It does not after a failure of what
/// was before it; its writer was told of that one, so it is dropped without another word.
fn follows(op: &Op, batch: &[Op]) -> bool {
    let Some((stream, block)) = op.stream() else { return true };
    if stream.tail().durable == block.first_seq {
        return true;
    }
    let before = batch.iter().rev().filter_map(Op::stream).find(|(other, _)| Arc::ptr_eq(stream, other));
    before.is_some_and(|(_, before)| before.next_seq() == block.first_seq)
}

fn next_file(shared: &Shared) -> Result<JournalFile, Failure> {
    let mut book = lock(&shared.book);
    loop {
        let refusing = shared.disk.is_refusing();
        // The last spare is for the terminals of running jobs when the disk is full.
        if book.spares.len() > usize::from(!refusing)
            && let Some(file) = book.spares.pop_front()
        {
            return Ok(file);
        }
        if refusing {
            return Err(Failure::new(Code::Overloaded, "the disk is full"));
        }
        if shared.phase() == Phase::Dropped {
            return Err(Failure::internal("the log is closed"));
        }
        shared.work.notify_one();
        let waited = shared.room.wait_timeout(book, ROOM_WAIT);
        book = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
    }
}

/// Shows a durable batch to readers, then books what the sealer has to do.
fn publish(shared: &Shared, file: u64, tick: u64, line: u64, mut batch: Vec<Op>) {
    book_ahead(shared, (file, line), &mut batch);
    let mut forgotten = Vec::new();
    for op in &batch {
        match op {
            Op::Create { stream, block, .. } => stream.publish(Arc::clone(block), false, None),
            Op::Append { stream, block, streaming, ending } => {
                let outcome = ending.as_ref().and_then(|ending| ending.outcome.clone());
                stream.publish(Arc::clone(block), *streaming, outcome);
            }
            Op::Forget { stream, .. } => forgotten.push(*stream),
            Op::Rows { .. } => {}
        }
    }
    if !forgotten.is_empty() {
        let mut directory = lock(&shared.directory);
        for stream in forgotten {
            directory.forget(stream);
        }
    }
    let mut answers = Vec::new();
    let mut book = lock(&shared.book);
    for op in batch {
        match op {
            Op::Create { stream, block, .. } | Op::Append { stream, block, .. } => {
                book.committed(stream.head().stream, file, block.next_seq(), block.weight());
            }
            Op::Forget { stream, id, done } => {
                book.forget(file, Forgotten { stream, id });
                answers.push(done);
            }
            Op::Rows { done, .. } => answers.push(done),
        }
    }
    if let Some(current) = book.files.back_mut() {
        current.last_tick = tick;
    }
    drop(book);
    for done in answers {
        // Whoever asked may be gone; it is done all the same.
        let _ = done.send(Ok(()));
    }
}

/// Before anybody sees a stream its job is where readers look, and before anybody sees a terminal
/// its charges and rows are where queries look.
fn book_ahead(shared: &Shared, (file, mut line): (u64, u64), batch: &mut [Op]) {
    let (mut lines, mut slots, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for op in batch {
        match op {
            Op::Create { stream, job, .. } => slots.push(Slot::new(Arc::clone(stream), Some(job.clone()), None)),
            Op::Append { ending: Some(ending), .. } => {
                let charges = std::mem::take(&mut ending.charges);
                let count = charges.len() as u64;
                lines.extend((line..).zip(charges));
                line += count;
                rows.extend(rows::decode(&ending.rows).unwrap_or_default());
            }
            Op::Rows { rows: batch, .. } => rows.extend(rows::decode(batch).unwrap_or_default()),
            _ => {}
        }
    }
    if !lines.is_empty() || !slots.is_empty() || !rows.is_empty() {
        let mut book = lock(&shared.book);
        book.charge(lines);
        book.rows.put(file, rows);
        book.slots.extend(slots.into_iter().map(|slot| (slot.stream.head().stream, slot)));
    }
}

fn fail(shared: &Shared, ops: Vec<Op>, failure: &Failure) {
    for op in ops {
        match op {
            Op::Create { stream, .. } => {
                lock(&shared.directory).remove(stream.head());
                stream.never_began();
            }
            Op::Append { stream, .. } => stream.fail_pending(),
            Op::Forget { done, .. } | Op::Rows { done, .. } => {
                let _ = done.send(Err(failure.clone()));
            }
        }
    }
}
