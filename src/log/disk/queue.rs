//! The queue of operations that callers hand to the committer.
//!
//! Owns the order of operations, their limit in bytes, and the log's phase. Does not write anything.

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::journal::entry::{self, JobText};
use super::rows_if::ConditionalRows;
use super::shared::{Shared, lock};
use crate::job::{Charge, Code, Failure, JobId, StreamId};
use crate::log::Block;
use crate::log::stream::{Outcome, Stream};

/// Bytes that may wait for the committer. Each stream has one batch under way, so this is reached only when the disk
/// stands still under very many streams.
const QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of one append; a journal tick holds it whole.
const APPEND_BYTES_MAX: usize = 20 * 1024 * 1024;

/// Checks that an append of so many bytes can be written.
///
/// # Errors
/// `too_large`.
pub(crate) fn check_append_size(bytes: usize) -> Result<(), Failure> {
    match bytes {
        ..=APPEND_BYTES_MAX => Ok(()),
        _ => Err(Failure::new(Code::TooLarge, format!("an append is over {APPEND_BYTES_MAX} bytes"))),
    }
}

/// An operation that the committer makes durable.
pub(crate) enum Op {
    /// A new stream and its first record. `head` is the head's MessagePack.
    Create { stream: Arc<Stream>, head: Vec<u8>, job: JobText, block: Arc<Block> },
    /// Records of a stream, appended together.
    Append { stream: Arc<Stream>, block: Arc<Block>, streaming: bool, extras: Option<Box<AppendExtras>> },
    /// The removal of a stream.
    Forget { stream: StreamId, id: JobId, done: oneshot::Sender<Result<(), Failure>> },
    /// A batch of rows, encoded by [`rows::encode`].
    Rows { rows: Bytes, done: oneshot::Sender<Result<(), Failure>> },
    /// A batch of rows that counts only if its conditions hold.
    RowsIf(Box<ConditionalRows>),
}

/// What an append has beside its records; mostly the last append of a job has it.
pub(crate) struct AppendExtras {
    pub(crate) outcome: Option<Outcome>,
    pub(crate) charges: Vec<Charge>,
    /// The MessagePack of the charges; empty if there is none.
    pub(crate) encoded: Vec<u8>,
    /// A batch of rows, encoded by [`rows::encode`].
    pub(crate) rows: Bytes,
}

impl Op {
    /// Returns the bytes of its journal entry.
    pub(crate) fn len(&self) -> usize {
        match self {
            Op::Create { head, job, block, .. } => entry::create_len(head, job, block),
            Op::Append { block, extras, .. } => {
                entry::append_len(block, charges_of(extras)) + entry::rows_len(rows_of(extras))
            }
            Op::Forget { id, .. } => entry::forget_len(id),
            Op::Rows { rows, .. } => entry::rows_len(rows),
            Op::RowsIf(conditional) => entry::rows_len(&conditional.rows),
        }
    }

    pub(crate) fn stream(&self) -> Option<(&Arc<Stream>, &Arc<Block>)> {
        match self {
            Op::Create { stream, block, .. } | Op::Append { stream, block, .. } => Some((stream, block)),
            Op::Forget { .. } | Op::Rows { .. } | Op::RowsIf(_) => None,
        }
    }

    pub(crate) fn records(&self) -> u64 {
        self.stream().map_or(0, |(_, block)| block.ends.len() as u64)
    }
}

pub(crate) fn charges_of(extras: &Option<Box<AppendExtras>>) -> &[u8] {
    extras.as_ref().map_or(&[], |extras| &extras.encoded)
}

pub(crate) fn rows_of(extras: &Option<Box<AppendExtras>>) -> &[u8] {
    extras.as_ref().map_or(&[], |extras| &extras.rows)
}

/// The operations that wait for the committer.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) ops: Vec<Op>,
    /// Whether the committer was woken for the operations that wait.
    pub(crate) woken: bool,
    pub(crate) bytes: usize,
    pub(crate) phase: Phase,
}

/// The phase of the log, from open to stopped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Phase {
    /// The log takes appends.
    #[default]
    Open,
    /// The log commits what waits, and takes nothing new.
    Closing,
    /// The threads stop where they are, as if the broker had been killed.
    Dropped,
}

impl Shared {
    /// Hands an operation to the committer, and wakes it.
    pub(crate) fn push(&self, op: Op) -> Result<(), Failure> {
        self.wake(self.enqueue(op)?);
        Ok(())
    }

    /// Hands an operation to the committer without waking it: the operation is taken with the next one.
    pub(crate) fn push_without_wake(&self, op: Op) -> Result<(), Failure> {
        self.enqueue(op).map(drop)
    }

    /// Wakes the committer for the operations that wait.
    pub(crate) fn flush(&self) {
        self.wake(lock(&self.queue));
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if !queue.ops.is_empty() && !std::mem::replace(&mut queue.woken, true) {
            drop(queue);
            self.queue_ready.notify_one();
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

    /// Returns the phase of the log.
    pub(crate) fn phase(&self) -> Phase {
        lock(&self.queue).phase
    }

    /// Moves on to `phase`, never back, and wakes both threads.
    pub(crate) fn enter(&self, phase: Phase) {
        {
            let mut queue = lock(&self.queue);
            queue.phase = queue.phase.max(phase);
        }
        self.queue_ready.notify_all();
        let _unsealed = lock(&self.unsealed);
        self.sealer_wake.notify_all();
        self.spare_ready.notify_all();
    }
}
