//! The streams of jobs as callers see them: [`Streams`] by [`DiskLog`].

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::DiskLog;
use super::create::{self, OpenedStream};
use super::queue::{AppendExtras, Op, check_append_size};
use super::read;
use super::shared::{Shared, lock};
use crate::job::{Code, Event, Failure, Job, JobId};
use crate::log::rows;
use crate::log::stream::{Outcome, Stream, StreamWriter};
use crate::log::{Batch, Block, Chunk, Found, ListQuery, Opened, Streams, Unfinished};
use crate::wire::row;

impl Streams for DiskLog {
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
        let rows = rows::encode(&batch.rows)?;
        check_append_size(block.bytes.len() + rows.len())?;
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

    fn read_stored<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        from: u64,
        budget_bytes: usize,
    ) -> BoxFuture<'a, Result<Chunk, Failure>> {
        let stream = Arc::clone(stream);
        let read = move |shared: &Arc<Shared>| read::read_stored(shared, &stream, from, budget_bytes);
        self.shared.blocking(read).boxed()
    }

    fn job<'a>(&'a self, stream: &'a Arc<Stream>) -> BoxFuture<'a, Result<Option<Job>, Failure>> {
        let stream = Arc::clone(stream);
        self.shared.blocking(move |shared| read::job(shared, stream.head())).boxed()
    }

    fn forget(&self, id: &JobId) -> BoxFuture<'_, Result<(), Failure>> {
        let id = id.clone();
        async move { forget(&self.shared, &id).await }.boxed()
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<Arc<Stream>>, Failure>> {
        self.shared.blocking(move |shared| read::list(shared, &query)).boxed()
    }

    fn unfinished(&self) -> Vec<Unfinished> {
        let Some(log) = self.this.upgrade() else { return Vec::new() };
        let jobs = std::mem::take(&mut *lock(&self.unfinished)).into_iter();
        jobs.map(|(stream, job)| Unfinished { job, writer: StreamWriter::new(log.clone(), stream) }).collect()
    }
}

/// Removes a finished job: see [`Streams::forget`].
async fn forget(shared: &Arc<Shared>, id: &JobId) -> Result<(), Failure> {
    let stream = match read::find(shared, id).await? {
        Found::Stream(stream) => stream,
        // Only its tombstone is left, which is removed in its own time.
        Found::Expired(_) | Found::Nothing => return Err(Failure::new(Code::NotFound, "no such job")),
    };
    if !stream.tail().state.is_terminal() {
        return Err(Failure::new(Code::Conflict, "the job is not finished; cancel it first"));
    }
    let (done, waiting) = oneshot::channel();
    shared.push(Op::Forget { stream: stream.head().stream, id: id.clone(), done })?;
    waiting.await.unwrap_or_else(|_| Err(Failure::internal("the log is closed")))
}
