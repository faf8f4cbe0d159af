//! What callers of the log get: [`Log`] by [`DiskLog`], each call durable to the file that knows it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::DiskLog;
use super::create::OpenedStream;
use super::queue::Phase;
use super::queue::{AppendExtras, Op};
use super::shared::{Shared, lock};
use super::{create, ledger, outputs, read, rows};
use crate::config::Durability;
use crate::job::{Charge, Code, Event, Failure, Job, JobId, RollupKey, Sums};
use crate::log::rows as row_batch;
use crate::log::stream::{Outcome, Stream, StreamWriter};
use crate::log::{Batch, Block, Chunk, Found, Health, ListQuery, Log, Opened, Row, RowRange, Unfinished};
use crate::wire::row;

/// Bytes of one append: a journal tick holds it whole.
const APPEND_BYTES_MAX: usize = 20 * 1024 * 1024;

/// # Errors
/// `too_large`.
pub(crate) fn fits(bytes: usize) -> Result<(), Failure> {
    match bytes {
        ..=APPEND_BYTES_MAX => Ok(()),
        _ => Err(Failure::new(Code::TooLarge, format!("an append is over {APPEND_BYTES_MAX} bytes"))),
    }
}

impl Log for DiskLog {
    fn create(&self, job: Arc<Job>) -> BoxFuture<'_, Result<Opened, Failure>> {
        async move {
            Ok(match create::open(&self.shared, &job).await? {
                OpenedStream::Joined(stream) => Opened::Joined(stream),
                OpenedStream::New(stream) => {
                    let log = self.this.upgrade().ok_or_else(|| Failure::internal("the log is closed"))?;
                    Opened::New(StreamWriter::new(log, stream))
                }
            })
        }
        .boxed()
    }

    fn flush(&self) {
        self.shared.flush();
    }

    fn append(&self, stream: &Arc<Stream>, batch: Batch) -> Result<u64, Failure> {
        let at = self.shared.clock.now();
        let outcome = batch.events.last().and_then(|event| Outcome::of(at, event));
        if outcome.is_none() {
            self.shared.disk.admit()?;
        }
        // Encoded before places are reserved, so that a refused record leaves no hole.
        let mut block = Block::encode(0, at, &batch.events)?;
        let rows = row_batch::encode(&batch.rows)?;
        fits(block.bytes.len() + rows.len())?;
        let streaming = batch.events.iter().any(Event::is_output);
        let encoded = if batch.charges.is_empty() { Vec::new() } else { row::encode(&batch.charges) };
        let extras = (outcome.is_some() || !batch.charges.is_empty() || !rows.is_empty())
            .then(|| Box::new(AppendExtras { outcome, charges: batch.charges, encoded, rows }));
        block.first_seq = stream.reserve(block.ends.len() as u64)?;
        let upto = block.next_seq();
        let first = block.first_seq;
        let op = Op::Append { stream: Arc::clone(stream), block: Arc::new(block), streaming, extras };
        if let Err(failure) = self.shared.push(op) {
            stream.unreserve(first);
            return Err(failure);
        }
        Ok(upto)
    }

    fn find(&self, id: &JobId) -> BoxFuture<'_, Result<Found, Failure>> {
        let id = id.clone();
        async move { read::find(&self.shared, &id).await }.boxed()
    }

    fn read_cold<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        from: u64,
        budget_bytes: usize,
    ) -> BoxFuture<'a, Result<Chunk, Failure>> {
        let stream = Arc::clone(stream);
        let read = move |shared: &Arc<Shared>| read::read_cold(shared, &stream, from, budget_bytes);
        self.shared.blocking(read).boxed()
    }

    fn job<'a>(&'a self, stream: &'a Arc<Stream>) -> BoxFuture<'a, Result<Option<Job>, Failure>> {
        let stream = Arc::clone(stream);
        self.shared.blocking(move |shared| read::job(shared, stream.head())).boxed()
    }

    fn forget(&self, id: &JobId) -> BoxFuture<'_, Result<(), Failure>> {
        let id = id.clone();
        async move { create::forget(&self.shared, &id).await }.boxed()
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<Arc<Stream>>, Failure>> {
        self.shared.blocking(move |shared| read::list(shared, &query)).boxed()
    }

    fn unfinished(&self) -> Vec<Unfinished> {
        let Some(log) = self.this.upgrade() else { return Vec::new() };
        let jobs = std::mem::take(&mut *lock(&self.unfinished)).into_iter();
        jobs.map(|(stream, job)| {
            let log: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
            Unfinished { job, writer: StreamWriter::new(log, stream) }
        })
        .collect()
    }

    fn put_output<'a>(&'a self, stream: &'a Arc<Stream>, bytes: Bytes) -> BoxFuture<'a, Result<String, Failure>> {
        let id = stream.head().stream;
        async move {
            self.shared.disk.admit()?;
            let put = move |shared: &Arc<Shared>| {
                let sync = shared.config.durability == Durability::Power;
                outputs::put(&shared.config.path, id, &bytes, sync)
            };
            self.shared.blocking(put).await
        }
        .boxed()
    }

    fn get_output<'a>(&'a self, stream: &'a Arc<Stream>, sha256: &'a str) -> BoxFuture<'a, Result<Bytes, Failure>> {
        let (id, sha256) = (stream.head().stream, sha256.to_owned());
        self.shared.blocking(move |shared| outputs::get(&shared.config.path, id, &sha256)).boxed()
    }

    fn rollups(&self, since_hour: u32, until_hour: u32) -> BoxFuture<'_, Result<Vec<(RollupKey, Sums)>, Failure>> {
        self.shared.blocking(move |shared| ledger::rollups(shared, since_hour, until_hour)).boxed()
    }

    fn charges(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<(u64, Charge)>, Failure>> {
        self.shared.blocking(move |shared| ledger::charges(shared, after, limit)).boxed()
    }

    fn rebuild_rollups(&self) -> BoxFuture<'_, Result<u64, Failure>> {
        self.shared.blocking(|shared| ledger::rebuild(shared)).boxed()
    }

    fn write_rows(&self, rows: Vec<Row>) -> BoxFuture<'static, Result<(), Failure>> {
        let durable = rows::write(&self.shared, &rows);
        async move { durable?.await.unwrap_or_else(|_| Err(Failure::internal("the log is closed"))) }.boxed()
    }

    fn row(&self, key: Bytes) -> BoxFuture<'_, Result<Option<Bytes>, Failure>> {
        rows::get(&self.shared, key).boxed()
    }

    fn rows(&self, range: RowRange) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>, Failure>> {
        self.shared.blocking(move |shared| rows::range(shared, &range)).boxed()
    }

    fn health(&self) -> Health {
        Health {
            refusing: self.shared.disk.reason(),
            notes: lock(&self.shared.notes).clone(),
            bytes: self.shared.bytes.load(std::sync::atomic::Ordering::Relaxed),
            streams: lock(&self.shared.index).len() as u64,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let Some(log) = self.this.upgrade() else { return std::future::ready(()).boxed() };
        async move {
            let stopped = self.shared.blocking(move |_| {
                log.stop(Phase::Closing);
                Ok(())
            });
            if let Err(failure) = stopped.await {
                tracing::error!(target: "forebay::log", "the log did not close cleanly: {failure}");
            }
        }
        .boxed()
    }
}
