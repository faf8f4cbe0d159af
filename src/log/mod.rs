//! The durable log: one append-only stream per job.
//!
//! Owns the order of records and the moment they are durable, and a map of small rows beside them.
//! Promises: `seq` is dense from 0; a reader sees a record only when it is durable; a batch is there
//! as a whole or not at all, its charges and rows included; a slow reader costs a position, nothing
//! more. Does not know what a job does.

mod block;
pub mod disk;
pub mod memory;
pub mod reader;
mod rows;
mod status;
pub mod stream;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

pub use block::{Block, Chunk};
pub use disk::DiskLog;
pub use reader::{Followed, Follower, Silence};
pub use rows::{Row, RowRange};
pub use status::Status;
pub use stream::{Head, Stream, StreamWriter, Tail};

use crate::job::{
    Charge, Event, Failure, Gateway, Job, JobId, RollupKey, State, StreamId, Sums, TagValue, Timestamp, Usage,
};

/// Events to append together, and the charges and rows that become durable with them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// At least one, at most [`crate::job::caps::BATCH_EVENTS_MAX`]. A terminal is the last.
    pub events: Vec<Event>,
    /// Ledger lines; only beside a terminal.
    pub charges: Vec<Charge>,
    /// Rows, in this order: what must be known of the events elsewhere, such as who is to be told.
    pub rows: Vec<Row>,
}

impl From<Vec<Event>> for Batch {
    fn from(events: Vec<Event>) -> Batch {
        Batch { events, ..Batch::default() }
    }
}

/// What came of opening a stream for a job.
#[derive(Debug)]
pub enum Opened {
    /// The job is new; its `accepted` record is durable.
    New(StreamWriter),
    /// The id or idempotency key is known, with the same body: the stream of that job.
    Joined(Arc<Stream>),
}

/// What is known under a job's id.
#[derive(Clone, Debug)]
pub enum Found {
    /// A stream, live or finished.
    Stream(Arc<Stream>),
    /// It was removed by retention.
    Expired(Box<Tombstone>),
    /// Nothing.
    Nothing,
}

/// What is left of an expired job.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Tombstone {
    /// The job.
    pub id: JobId,
    /// Its gateway.
    pub gateway: Gateway,
    /// How it ended.
    pub state: State,
    /// What it consumed.
    pub usage: Usage,
    /// When it was removed.
    pub expired_at: Timestamp,
}

/// A job that had no terminal when the log was opened.
#[derive(Debug)]
pub struct Unfinished {
    /// The job as it was accepted.
    pub job: Job,
    /// The right to go on with its stream.
    pub writer: StreamWriter,
}

/// Which jobs to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only of these gateways; empty = all.
    pub gateways: Vec<Gateway>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only with these tags (compared as text).
    pub tags: Vec<(String, String)>,
    /// Only older than this stream: the last of the page before.
    pub after: Option<StreamId>,
    /// Rows at most.
    pub limit: usize,
}

impl ListQuery {
    /// Whether the job of `head` in `state` belongs in the list.
    #[must_use]
    pub fn admits(&self, head: &Head, state: State) -> bool {
        let tag = |key: &str| head.metadata.get(key).map(TagValue::to_string);
        (self.gateways.is_empty() || self.gateways.contains(&head.gateway))
            && self.state.is_none_or(|wanted| wanted == state)
            && self.after.is_none_or(|after| head.stream < after)
            && self.tags.iter().all(|(key, value)| tag(key).as_deref() == Some(value))
    }
}

/// How the log is doing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Health {
    /// Why new jobs are refused, if they are.
    pub refusing: Option<String>,
    /// What recovery had to repair or drop, for the person who runs it.
    pub notes: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Streams in memory.
    pub streams: u64,
}

/// The log. Implementations: [`memory_log::MemoryLog`], `sled_log::DiskLog`; both run through
/// `tests/log.rs`.
pub trait Log: Send + Sync + 'static {
    /// Opens the stream of a new job, or finds the one that its id or idempotency key names. What is
    /// joined is durable. A new stream is on its way to be, [`Stream::begun`] tells when it is: its
    /// `accepted` record waits for the first append to it, which becomes durable in the same commit
    /// or a later one, or for [`Log::flush`]. Concurrent equal calls open one. Cancel-safe: a dropped
    /// call may still have opened the stream, and a repeat then joins it; the job is then in
    /// [`Log::unfinished`] of the next start, so run it to the end.
    ///
    /// # Errors
    /// `conflict` (another body), `expired` (the id's stream was removed), `overloaded` (disk full).
    fn create(&self, job: Arc<Job>) -> BoxFuture<'_, Result<Opened, Failure>>;

    /// What waits to become durable waits no longer.
    fn flush(&self);

    /// As [`Log::create`], and durable when it resolves.
    ///
    /// # Errors
    /// As [`Log::create`].
    fn open(&self, job: Arc<Job>) -> BoxFuture<'_, Result<Opened, Failure>> {
        async move {
            let opened = self.create(job).await?;
            if let Opened::New(writer) = &opened {
                self.flush();
                writer.stream().first_durable().await?;
            }
            Ok(opened)
        }
        .boxed()
    }

    /// Hands a batch to the committer and returns the tail that makes it durable
    /// ([`StreamWriter::append`] waits for it). One writer per stream.
    ///
    /// # Errors
    /// `overloaded` when the disk is full, `too_large` for a record over the limit, `internal` after
    /// a terminal.
    fn append(&self, stream: &Arc<Stream>, batch: Batch) -> Result<u64, Failure>;

    /// The stream of a job.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn find(&self, id: &JobId) -> BoxFuture<'_, Result<Found, Failure>>;

    /// Durable records from `from` that the stream's ring no longer holds. Never blocks an arbiter.
    ///
    /// # Errors
    /// `cursor_trimmed`, `expired`, or `internal` when the log is damaged.
    fn read_cold<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        from: u64,
        budget_bytes: usize,
    ) -> BoxFuture<'a, Result<Chunk, Failure>>;

    /// The job as submitted, while it is kept.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn job<'a>(&'a self, stream: &'a Arc<Stream>) -> BoxFuture<'a, Result<Option<Job>, Failure>>;

    /// Removes a finished job, its outputs and its idempotency key. Its charges stay.
    ///
    /// # Errors
    /// `not_found`; `conflict` while it is not finished.
    fn forget(&self, id: &JobId) -> BoxFuture<'_, Result<(), Failure>>;

    /// Jobs, newest first.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<Arc<Stream>>, Failure>>;

    /// The jobs without a terminal that the log held when it was opened. Gives them away once.
    fn unfinished(&self) -> Vec<Unfinished>;

    /// Stores an output as a file; fsynced when it resolves. Returns its hexadecimal SHA-256.
    ///
    /// # Errors
    /// `overloaded` when the disk is full.
    fn put_output<'a>(&'a self, stream: &'a Arc<Stream>, bytes: Bytes) -> BoxFuture<'a, Result<String, Failure>>;

    /// The path of an output stored as a file, or its bytes.
    ///
    /// # Errors
    /// `not_found`.
    fn get_output<'a>(&'a self, stream: &'a Arc<Stream>, sha256: &'a str) -> BoxFuture<'a, Result<Bytes, Failure>>;

    /// Sums of all durable charges between two hours, `until` excluded.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn rollups(&self, since_hour: u32, until_hour: u32) -> BoxFuture<'_, Result<Vec<(RollupKey, Sums)>, Failure>>;

    /// Ledger lines after line `after` (0 = from the first), oldest first, with their numbers.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn charges(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(u64, Charge)>, Failure>>;

    /// Throws the sums away and adds them up again from the ledger. Returns the number of lines.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn rebuild_rollups(&self) -> BoxFuture<'_, Result<u64, Failure>>;

    /// Writes rows, in this order, together or not at all; durable when it resolves, and nobody reads
    /// them before. Handed over at the call, before the first poll: batches count in the order of the
    /// calls. Cancel-safe: dropped, the batch becomes durable (or fails) on its own.
    ///
    /// # Errors
    /// `overloaded` when the disk is full (a batch that only removes is taken), `too_large`.
    fn write_rows(&self, rows: Vec<Row>) -> BoxFuture<'static, Result<(), Failure>>;

    /// The row under a key.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn row(&self, key: Bytes) -> BoxFuture<'_, Result<Option<Bytes>, Failure>>;

    /// A page of rows, keys and values, in the order of their keys: as they were at one moment.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn rows(&self, range: RowRange) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>, Failure>>;

    /// How it is doing.
    fn health(&self) -> Health;

    /// Makes everything durable and stops the log's threads. Appends fail afterwards.
    fn close(&self) -> BoxFuture<'_, ()>;
}
