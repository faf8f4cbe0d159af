//! The four parts of the log as traits, and [`Log`], which is all of them.
//!
//! Implementations: [`MemoryLog`](super::memory::MemoryLog) and [`DiskLog`](super::DiskLog); both run through
//! `tests/log.rs`. A caller that needs one part takes that trait.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::output::{OUTPUT_CHUNK_BYTES, OutputReader, OutputWriter, StoredOutput};
use super::types::{Batch, Found, Health, ListQuery, Opened, Unfinished};
use super::{Chunk, Row, RowCondition, RowRange, RowsWritten, Stream};
use crate::job::{Code, Failure, Job, JobId, RollupKey, Sums};

/// The log: streams of jobs, their outputs, the ledger and the rows, on one journal.
pub trait Log: Streams + Outputs + Ledger + Rows {
    /// Returns whether the log takes jobs, its size, and what its operator should know.
    fn health(&self) -> Health;

    /// Makes everything durable and stops the log's threads. Appends fail afterwards.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// The streams of jobs: one append-only stream of records per job.
pub trait Streams: Send + Sync + 'static {
    /// Opens the stream of a new job, or finds the one that the job's id or idempotency key names. A stream
    /// that is found is durable. A new stream is not durable yet, and [`Stream::first_durable`] tells when it is: its
    /// `accepted` record waits for the first append to it, which becomes durable in the same commit
    /// or a later one, or for [`Streams::flush`]. Concurrent equal calls open one stream. Cancel-safe: a dropped
    /// call may still have opened the stream, and a repeat then joins it; the job is then in
    /// [`Streams::unfinished`] of the next start, so run it to the end.
    ///
    /// # Errors
    /// `conflict` (another body), `expired` (the id's stream was removed), `overloaded` (disk full).
    fn create(&self, job: Arc<Job>) -> BoxFuture<'_, Result<Opened, Failure>>;

    /// Starts a commit of everything that waits for one.
    fn flush(&self);

    /// Does what [`Streams::create`] does, and resolves when the stream is durable.
    ///
    /// # Errors
    /// The same as [`Streams::create`].
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
    /// ([`StreamWriter::append`](super::StreamWriter::append) waits for it). One writer per stream.
    ///
    /// # Errors
    /// `overloaded` when the disk is full, `too_large` for a record over the limit, `internal` after
    /// a terminal.
    fn append(&self, stream: &Arc<Stream>, batch: Batch) -> Result<u64, Failure>;

    /// Finds the stream of a job.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn find(&self, id: &JobId) -> BoxFuture<'_, Result<Found, Failure>>;

    /// Reads durable records from `from` on that are no longer in memory. Readers call [`Stream::read`] or a
    /// [`Follower`](super::Follower), which look in memory first. Never blocks an arbiter.
    ///
    /// # Errors
    /// `expired` when the stream was removed, `internal` when the log is damaged.
    fn read_stored<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        from: u64,
        budget_bytes: usize,
    ) -> BoxFuture<'a, Result<Chunk, Failure>>;

    /// Reads the job as it was submitted, while it is kept.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn job<'a>(&'a self, stream: &'a Arc<Stream>) -> BoxFuture<'a, Result<Option<Job>, Failure>>;

    /// Removes a finished job, its outputs and its idempotency key. Its charges stay.
    ///
    /// # Errors
    /// `not_found`; `conflict` while it is not finished.
    fn forget(&self, id: &JobId) -> BoxFuture<'_, Result<(), Failure>>;

    /// Lists jobs, newest first.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<Arc<Stream>>, Failure>>;

    /// Returns the jobs that had no terminal when the log was opened. Only the first call returns them.
    fn unfinished(&self) -> Vec<Unfinished>;
}

/// Outputs that are too large for a record. Each is stored under its job's stream, by its SHA-256.
pub trait Outputs: Send + Sync + 'static {
    /// Begins an output of the job of `stream`. The output is there when [`OutputWriter::finish`] resolves; a
    /// writer that is dropped before leaves nothing behind.
    ///
    /// # Errors
    /// `overloaded` when the disk is full.
    fn begin_output(&self, stream: &Arc<Stream>) -> Result<OutputWriter, Failure>;

    /// Opens a stored output for reading: whole, or the part that [`OutputReader::range`] chooses.
    ///
    /// # Errors
    /// `not_found`.
    fn get_output<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        sha256: &'a str,
    ) -> BoxFuture<'a, Result<OutputReader, Failure>>;

    /// Stores everything that `source` gives as an output. Holds one chunk of it in memory at a time.
    ///
    /// # Errors
    /// `overloaded` when the disk is full; `internal` when `source` cannot be read.
    fn put_output<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        source: &'a mut (dyn AsyncRead + Send + Unpin),
    ) -> BoxFuture<'a, Result<StoredOutput, Failure>> {
        async move {
            let mut writer = self.begin_output(stream)?;
            loop {
                let mut chunk = bytes::BytesMut::with_capacity(OUTPUT_CHUNK_BYTES);
                while chunk.len() < OUTPUT_CHUNK_BYTES {
                    let read = source.read_buf(&mut chunk).await;
                    let read = read.map_err(|error| Failure::internal(format!("an output cannot be read: {error}")))?;
                    if read == 0 {
                        break;
                    }
                }
                if chunk.is_empty() {
                    return writer.finish().await;
                }
                writer.write(chunk.freeze()).await?;
            }
        }
        .boxed()
    }

    /// Stores bytes that are in memory already as an output.
    ///
    /// # Errors
    /// `overloaded` when the disk is full.
    fn put_output_bytes<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<StoredOutput, Failure>> {
        async move {
            let mut writer = self.begin_output(stream)?;
            writer.write(bytes).await?;
            writer.finish().await
        }
        .boxed()
    }

    /// Reads a whole output of at most `bytes_max` bytes into memory.
    ///
    /// # Errors
    /// `not_found`; `too_large`.
    fn read_output<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        sha256: &'a str,
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        async move {
            let mut reader = self.get_output(stream, sha256).await?;
            if reader.len() > bytes_max {
                return Err(Failure::new(Code::TooLarge, format!("an output is over {bytes_max} bytes")));
            }
            reader.read_whole().await
        }
        .boxed()
    }
}

/// The ledger: one line per charge, and their sums by hour.
pub trait Ledger: Send + Sync + 'static {
    /// Returns the sums of all durable charges between two hours, `until` excluded.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn rollups(&self, since_hour: u32, until_hour: u32) -> BoxFuture<'_, Result<Vec<(RollupKey, Sums)>, Failure>>;

    /// Removes the sums and adds them up again from the ledger. Returns the number of the ledger's lines.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn rebuild_rollups(&self) -> BoxFuture<'_, Result<u64, Failure>>;
}

/// Rows: a small durable map beside the streams.
pub trait Rows: Send + Sync + 'static {
    /// Writes rows, in this order, together or not at all. They are durable when it resolves, and no reader sees
    /// them before. The batch is handed over at the call, before the first poll: batches count in the order of the
    /// calls. Cancel-safe: a dropped batch becomes durable (or fails) on its own.
    ///
    /// # Errors
    /// `overloaded` when the disk is full (a batch that only removes is taken), `too_large`.
    fn write_rows(&self, rows: Vec<Row>) -> BoxFuture<'static, Result<(), Failure>>;

    /// Writes rows as [`Rows::write_rows`] does if every condition holds, and otherwise nothing. Conditions are
    /// compared with every batch before this one, durable or on its way, and no batch comes between the comparison and
    /// the write. Unlike `write_rows` it is handed over while it is polled. Cancel-safe: a dropped call wrote all rows
    /// or none.
    ///
    /// # Errors
    /// `invalid` without a condition; otherwise the same as [`Rows::write_rows`]. A condition that does not hold is
    /// not an error.
    fn write_rows_if(
        &self,
        conditions: Vec<RowCondition>,
        rows: Vec<Row>,
    ) -> BoxFuture<'_, Result<RowsWritten, Failure>>;

    /// Reads the row under a key.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn row(&self, key: Bytes) -> BoxFuture<'_, Result<Option<Bytes>, Failure>>;

    /// Reads a page of rows, keys and values, in the order of their keys: as they were at one moment.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    fn rows(&self, range: RowRange) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>, Failure>>;
}
