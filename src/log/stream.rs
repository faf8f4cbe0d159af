//! A stream in memory: its tail, and a ring of recent records for readers at the tail.
//!
//! Owns what `DiskLog` and `MemoryLog` share. Blocks enter the ring only when they are durable, so a reader may see
//! every record in it. A std mutex is right: it is held for a push or a clone of a few pointers, never across an await.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::{Batch, Block, Chunk, Streams};
use crate::job::{
    Code, Cost, Epoch, Event, Failure, Gateway, Job, JobId, ModelName, State, StreamId, Tags, Task, Timestamp, Usage,
};
use crate::wire::Cursor;

/// The head of a stream: everything about it that never changes.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// The name of the stream in the log.
    pub stream: StreamId,
    /// The id of the job.
    pub id: JobId,
    /// The gateway of the job.
    pub gateway: Gateway,
    /// The model as the client named it.
    pub model: ModelName,
    /// The task that the model is to do.
    pub task: Task,
    /// The tags by which costs are broken down.
    pub metadata: Tags,
    /// The time at which the job was submitted.
    pub submitted_at: Timestamp,
    /// The idempotency key, which is unique within a gateway.
    pub idempotency_key: Option<Box<str>>,
    /// A digest of the job's body: see [`Job::body_sha256`].
    pub body_sha256: Option<[u8; 32]>,
    /// Seconds to keep the job after its terminal, if the job sets them.
    pub retention_s: Option<u64>,
    /// Whether the job's input is kept after its terminal.
    pub log_payload: bool,
}

impl Head {
    /// Makes the head of a new stream for `job`.
    #[must_use]
    pub fn new(stream: StreamId, job: &Job) -> Head {
        Head {
            stream,
            id: job.id.clone(),
            gateway: job.gateway.clone(),
            model: job.model.clone(),
            task: job.task,
            metadata: job.metadata.clone(),
            submitted_at: job.submitted_at,
            idempotency_key: job.idempotency_key.clone(),
            body_sha256: job.body_sha256,
            retention_s: job.options.retention_s,
            log_payload: job.options.log_payload,
        }
    }

    /// Returns whether `job`, which repeats this stream's id or key, has the same body.
    #[must_use]
    pub fn same_body(&self, job: &Job) -> bool {
        self.body_sha256.is_some() && self.body_sha256 == job.body_sha256 && self.gateway == job.gateway
    }
}

/// The durable tail of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// The `seq` after the last durable record.
    pub durable: u64,
    /// The state of the job.
    pub state: State,
    /// Number of appends that failed; their records never became durable.
    pub failures: u32,
}

/// The outcome of a finished job.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// The kind of the terminal.
    pub state: State,
    /// The time of the terminal.
    pub at: Timestamp,
    /// The usage over all attempts.
    pub usage: Usage,
    /// The cost over all attempts.
    pub cost: Cost,
    /// Number of the attempts.
    pub attempts: Option<u32>,
    /// The failure of a job that failed.
    pub error: Option<Failure>,
    /// The finish reason of a job that completed.
    pub finish_reason: Option<Box<str>>,
}

impl Outcome {
    /// Makes the outcome from a terminal; `None` for any other event.
    #[must_use]
    pub fn of(at: Timestamp, event: &Event) -> Option<Outcome> {
        let state = event.terminal()?;
        let (usage, cost) = match event {
            Event::Completed(end) => (&end.usage, end.cost),
            Event::Failed(end) => (&end.usage, end.cost),
            Event::Cancelled(end) => (&end.usage, end.cost),
            Event::Interrupted(end) => (&end.usage, end.cost),
            _ => return None,
        };
        let (attempts, error, finish_reason) = match event {
            Event::Completed(end) => (Some(end.attempts), None, Some(end.finish_reason.clone())),
            Event::Failed(end) => (Some(end.attempts), Some(end.error.clone()), None),
            _ => (None, None, None),
        };
        Some(Outcome { state, at, usage: usage.clone(), cost, attempts, error, finish_reason })
    }
}

/// The stream of one job, in memory.
#[derive(Debug)]
pub struct Stream {
    head: Head,
    epoch: Epoch,
    tail: watch::Sender<Tail>,
    state: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The `seq` that the next append gets; ahead of the durable tail while a commit is under way.
    next_seq: u64,
    /// How many appends had failed when the last places were reserved.
    failures_at_reserve: u32,
    /// Whether the first record could not be written: no later one can follow.
    creation_failed: bool,
    ring: VecDeque<Arc<Block>>,
    ring_bytes: usize,
    outcome: Option<Arc<Outcome>>,
}

impl Stream {
    /// Makes a stream whose records before `next_seq` are durable; its ring is empty.
    #[must_use]
    pub(super) fn new(head: Head, epoch: Epoch, next_seq: u64, outcome: Option<Outcome>) -> Stream {
        let state = match &outcome {
            Some(outcome) => outcome.state,
            None if next_seq > 1 => State::Streaming,
            None => State::Pending,
        };
        let tail = watch::Sender::new(Tail { durable: next_seq, state, failures: 0 });
        let inner = Inner { next_seq, outcome: outcome.map(Arc::new), ..Inner::default() };
        Stream { head, epoch, tail, state: Mutex::new(inner) }
    }

    /// Returns the head, which never changes.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the epoch of the stream.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the durable tail.
    #[must_use]
    pub fn tail(&self) -> Tail {
        *self.tail.borrow()
    }

    /// Returns a receiver that is notified of every move of the tail.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    /// Returns the number of followers: readers and the writer.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.tail.receiver_count()
    }

    /// Returns the outcome, once the job has finished.
    #[must_use]
    pub fn outcome(&self) -> Option<Arc<Outcome>> {
        self.lock().outcome.clone()
    }

    /// Waits until its first record is durable. Cancel-safe.
    ///
    /// # Errors
    /// `overloaded` when it could not be written.
    pub async fn first_durable(&self) -> Result<(), Failure> {
        let mut tail = self.watch();
        let known = tail.wait_for(|tail| tail.durable > 0 || tail.failures > 0).await;
        match known.map(|tail| tail.durable) {
            Ok(1..) => Ok(()),
            _ => Err(Failure::new(Code::Overloaded, "the log could not be written")),
        }
    }

    /// Returns the cursor before record `seq`.
    #[must_use]
    pub fn cursor(&self, seq: u64) -> Cursor {
        Cursor::At { epoch: self.epoch, seq }
    }

    /// Reads durable records from `from` on, about `budget_bytes` of them and at least one: from memory, or from the
    /// log where memory no longer holds them. `from` must be before the durable tail.
    ///
    /// # Errors
    /// `expired` when the stream was removed, `internal` when the log is damaged.
    pub async fn read(self: &Arc<Stream>, log: &dyn Streams, from: u64, budget_bytes: usize) -> Result<Chunk, Failure> {
        match self.read_ring(from, budget_bytes) {
            Some(chunk) => Ok(chunk),
            None => log.read_stored(self, from, budget_bytes).await,
        }
    }

    /// Reads durable records from `from` that the ring still holds, about `budget_bytes` of them and at least one;
    /// `None` when the ring no longer holds `from` or does not hold it yet.
    #[must_use]
    pub(super) fn read_ring(&self, from: u64, budget_bytes: usize) -> Option<Chunk> {
        let inner = self.lock();
        if inner.ring.front()?.first_seq > from || inner.ring.back()?.next_seq() <= from {
            return None;
        }
        let start = inner.ring.partition_point(|block| block.next_seq() <= from);
        let (mut blocks, mut bytes, mut next_seq) = (Vec::new(), 0, from);
        for block in inner.ring.range(start..) {
            blocks.push(Arc::clone(block));
            bytes += block.bytes.len();
            next_seq = block.next_seq();
            if bytes >= budget_bytes {
                break;
            }
        }
        Some(Chunk::new(from, next_seq, blocks))
    }

    /// Reserves the next `count` numbers for an append. For implementations of [`Log`].
    ///
    /// # Errors
    /// `internal` after a terminal, and where the stream never began.
    pub(super) fn reserve(&self, count: u64) -> Result<u64, Failure> {
        let mut inner = self.lock();
        if self.tail.borrow().state.is_terminal() {
            return Err(Failure::internal("an append after the terminal"));
        }
        if inner.creation_failed {
            return Err(Failure::internal("an append to a stream whose beginning could not be written"));
        }
        let first = inner.next_seq;
        inner.next_seq += count;
        inner.failures_at_reserve = self.tail.borrow().failures;
        Ok(first)
    }

    /// Returns [`Tail::failures`] as of the last reservation, with which its writer compares. Read before the
    /// reservation, the number could count the failure of an earlier, abandoned append.
    #[must_use]
    fn failures_at_reserve(&self) -> u32 {
        self.lock().failures_at_reserve
    }

    /// Shows a block that became durable to readers. `terminal` is the outcome if the block's last record is a
    /// terminal. For implementations of [`Streams`].
    pub(super) fn publish(&self, block: Arc<Block>, streaming: bool, terminal: Option<Outcome>) {
        let durable = block.next_seq();
        // Held until the tail has moved: no reader finds records in the ring that the tail does not cover.
        let mut inner = self.lock();
        inner.next_seq = inner.next_seq.max(durable);
        inner.ring_bytes += block.weight();
        inner.ring.push_back(block);
        let state = terminal.as_ref().map(|outcome| outcome.state);
        if let Some(outcome) = terminal {
            inner.outcome = Some(Arc::new(outcome));
        }
        self.tail.send_modify(|tail| {
            tail.durable = durable;
            tail.state = match (state, tail.state) {
                (Some(state), _) => state,
                (None, State::Pending) if streaming => State::Streaming,
                (None, before) => before,
            };
        });
    }

    /// Gives back the numbers that were reserved last, from `first` on, before they were used. For implementations of
    /// [`Streams`].
    pub(super) fn unreserve(&self, first: u64) {
        self.lock().next_seq = first;
    }

    /// Fails all appends after the durable tail. For implementations of [`Streams`].
    pub(super) fn fail_pending(&self) {
        self.fail(self.lock());
    }

    /// Fails the creation of the stream: its first record was not written, and no other can follow. For implementations
    /// of [`Streams`].
    pub(super) fn fail_creation(&self) {
        let mut inner = self.lock();
        inner.creation_failed = true;
        self.fail(inner);
    }

    fn fail(&self, mut inner: MutexGuard<'_, Inner>) {
        self.tail.send_modify(|tail| {
            inner.next_seq = tail.durable;
            tail.failures = tail.failures.wrapping_add(1);
        });
    }

    /// Drops the oldest blocks whose records all lie before `sealed`, while the ring is heavier than
    /// `keep_bytes`. For implementations of [`Log`].
    pub(super) fn trim_ring(&self, sealed: u64, keep_bytes: usize) {
        let mut inner = self.lock();
        while inner.ring_bytes > keep_bytes && inner.ring.front().is_some_and(|block| block.next_seq() <= sealed) {
            if let Some(block) = inner.ring.pop_front() {
                inner.ring_bytes -= block.weight();
            }
        }
        if inner.ring.capacity() > 32 && inner.ring.len() * 4 < inner.ring.capacity() {
            inner.ring.shrink_to_fit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

/// The right to append to one stream. There is one per unfinished job.
pub struct StreamWriter {
    log: Arc<dyn Streams>,
    stream: Arc<Stream>,
    tail: watch::Receiver<Tail>,
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StreamWriter").field(&self.stream.head.id).finish()
    }
}

impl StreamWriter {
    /// Makes the writer of `stream`. For implementations of [`Streams`].
    #[must_use]
    pub(super) fn new(log: Arc<dyn Streams>, stream: Arc<Stream>) -> StreamWriter {
        let tail = stream.watch();
        StreamWriter { log, stream, tail }
    }

    /// Returns the stream that it writes.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Returns the log that it writes to.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Streams> {
        &self.log
    }

    /// Appends and waits until it is durable. Cancel-safe: dropped after the first poll, the batch
    /// becomes durable (or fails) on its own, before anything appended later.
    ///
    /// # Errors
    /// See [`Streams::append`]; `overloaded` when the commit failed, and then nothing of it is there.
    pub async fn append(&mut self, batch: Batch) -> Result<(), Failure> {
        let upto = self.log.append(&self.stream, batch)?;
        let failures = self.stream.failures_at_reserve();
        loop {
            {
                let tail = self.tail.borrow_and_update();
                if tail.durable >= upto {
                    return Ok(());
                }
                if tail.failures != failures {
                    return Err(Failure::new(Code::Overloaded, "the log could not be written"));
                }
            }
            if self.tail.changed().await.is_err() {
                return Err(Failure::internal("the log is closed"));
            }
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
