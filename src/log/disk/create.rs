//! Creating the stream of a new job.
//!
//! Owns "one stream per id and idempotency key" from claim to durable, across memory, journal and store. Promises that a
//! dropped call leaves no claim behind.

use std::pin::pin;
use std::sync::Arc;

use super::index::Claimed;
use super::job_files::{self, JOB_INLINE_BYTES_MAX};
use super::journal::entry::JobText;
use super::queue::Op;
use super::read;
use super::recovery::fresh_epoch;
use super::shared::{Shared, lock};
use crate::config::Durability;
use crate::job::{Code, Failure, Job, StreamId};
use crate::log::memory::{accepted, join};
use crate::log::stream::{Head, Stream};
use crate::log::{Block, Found};
use crate::wire::row;

/// The result of [`open`].
pub(crate) enum OpenedStream {
    New(Arc<Stream>),
    Joined(Arc<Stream>),
}

/// A claim on an id and key; given up when dropped.
struct Claim<'a> {
    shared: &'a Shared,
    job: &'a Job,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.shared.index).release(self.job);
        self.shared.released.notify_waiters();
    }
}

/// Opens the stream of a job: see [`crate::log::Streams::create`].
pub(crate) async fn open(shared: &Arc<Shared>, job: &Arc<Job>) -> Result<OpenedStream, Failure> {
    let claim = loop {
        let mut released = pin!(shared.released.notified());
        // Registered before looking, so that a claim given up in between is not missed.
        released.as_mut().enable();
        let claimed = lock(&shared.index).claim(job);
        match claimed {
            Claimed::Known(stream) => return joined(shared, stream, job).await,
            Claimed::Busy => released.await,
            Claimed::Mine => break Claim { shared, job },
        }
    };
    // A job without a digest came without id and key: no earlier job can have the ones it got.
    if job.body_sha256.is_some() {
        let wanted = Arc::clone(job);
        match shared.blocking(move |shared| read::find_repeat(shared, &wanted)).await? {
            Found::Stream(stream) => return joined(shared, stream, job).await,
            Found::Expired(_) => {
                return Err(Failure::new(Code::Expired, "a job with this id was removed after its retention"));
            }
            Found::Nothing => {}
        }
    }
    create(shared, job, claim).await.map(OpenedStream::New)
}

async fn joined(shared: &Shared, stream: Arc<Stream>, job: &Job) -> Result<OpenedStream, Failure> {
    shared.flush();
    stream.first_durable().await?;
    join(&stream, job).map(|_| OpenedStream::Joined(stream))
}

async fn create(shared: &Arc<Shared>, job: &Arc<Job>, claim: Claim<'_>) -> Result<Arc<Stream>, Failure> {
    shared.disk.admit()?;
    let id = StreamId::generate();
    let json = serde_json::to_vec(&**job).map_err(|error| Failure::internal(format!("the job: {error}")))?;
    let text = if json.len() > JOB_INLINE_BYTES_MAX {
        let sync = shared.config.durability == Durability::Power;
        shared.blocking(move |shared| job_files::put(&shared.config.path, id, &json, sync)).await?;
        JobText::File
    } else {
        JobText::Inline(json.into())
    };
    let head = Head::new(id, job);
    let encoded = row::encode(&head);
    let stream = Arc::new(Stream::new(head, fresh_epoch(), 0, None));
    let first = stream.reserve(1)?;
    let block = Arc::new(Block::encode(first, shared.clock.now(), &[accepted(job)])?);
    // From here on the index answers for the id, even if the caller is dropped.
    lock(&shared.index).enter(&stream);
    drop(claim);
    let op = Op::Create { stream: Arc::clone(&stream), head: encoded, job: text, block };
    if let Err(failure) = shared.push_without_wake(op) {
        lock(&shared.index).remove(stream.head());
        stream.fail_creation();
        return Err(failure);
    }
    Ok(stream)
}
