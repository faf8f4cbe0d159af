//! Reading the stream of a job, its records and its JSON, and lists of jobs.
//!
//! Looks in memory first, then in the store, off the arbiters. Owns how packs become chunks again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::journal::entry::JobText;
use super::schema::{self, StreamRow, Tree};
use super::shared::{Shared, lock};
use super::{job_files, pack, retention};
use crate::job::caps::LIST_ROWS_MAX;
use crate::job::{Code, Failure, Job, JobId, StreamId};
use crate::log::stream::{Head, Stream};
use crate::log::{Chunk, Found, ListQuery};
use crate::wire::row;

/// Finds the stream of a job: see [`crate::log::Streams::find`].
pub(crate) async fn find(shared: &Arc<Shared>, id: &JobId) -> Result<Found, Failure> {
    let known = lock(&shared.index).of_job(id);
    if let Some(stream) = known {
        shared.flush();
        return Ok(match stream.first_durable().await {
            Ok(()) => Found::Stream(stream),
            Err(_) => Found::Nothing,
        });
    }
    let id = id.clone();
    shared.blocking(move |shared| find_sealed(shared, &id)).await
}

/// Finds the sealed stream that the id or the idempotency key of `job` names. Blocks.
pub(crate) fn find_repeat(shared: &Shared, job: &Job) -> Result<Found, Failure> {
    match find_sealed(shared, &job.id)? {
        Found::Nothing => {}
        found => return Ok(found),
    }
    let Some(idempotency) = &job.idempotency_key else { return Ok(Found::Nothing) };
    let row = shared.store.get(Tree::Keys, &schema::idempotency_key(&job.gateway, idempotency))?;
    let stream = row.and_then(|row| schema::stream_of(&row)).map(|id| load(shared, id)).transpose()?.flatten();
    Ok(stream.map_or(Found::Nothing, Found::Stream))
}

fn find_sealed(shared: &Shared, id: &JobId) -> Result<Found, Failure> {
    let row = shared.store.get(Tree::Ids, id.as_str().as_bytes())?;
    if let Some(stream) = row.and_then(|row| schema::stream_of(&row))
        && let Some(stream) = load(shared, stream)?
    {
        return Ok(Found::Stream(stream));
    }
    // It may have been on its way into the store, or a job that was opened meanwhile.
    if let Some(stream) = lock(&shared.index).of_job(id).filter(|stream| stream.tail().durable > 0) {
        return Ok(Found::Stream(stream));
    }
    Ok(retention::tombstone(shared, id)?.map_or(Found::Nothing, |(_, tombstone)| Found::Expired(Box::new(tombstone))))
}

/// Loads a sealed stream, or returns the one that other readers have.
fn load(shared: &Shared, id: StreamId) -> Result<Option<Arc<Stream>>, Failure> {
    {
        let index = lock(&shared.index);
        if index.is_forgotten(id) {
            return Ok(None);
        }
        if let Some(stream) = index.get(id) {
            return Ok(Some(stream));
        }
    }
    let row: Option<StreamRow> = shared.store.get(Tree::Streams, &id.0)?.and_then(|row| row::decode(&row));
    let head: Option<Head> = shared.store.get(Tree::Heads, &id.0)?.and_then(|row| row::decode(&row));
    let (Some(row), Some(head)) = (row, head) else { return Ok(None) };
    let stream = Arc::new(Stream::new(head, row.epoch, row.sealed, row.outcome));
    let mut index = lock(&shared.index);
    Ok(if index.is_forgotten(id) { None } else { Some(index.warm(&stream)) })
}

/// Reads records from packs: see [`crate::log::Streams::read_stored`]. Blocks.
pub(crate) fn read_stored(shared: &Shared, stream: &Stream, from: u64, budget: usize) -> Result<Chunk, Failure> {
    let id = stream.head().stream;
    let (mut blocks, mut next, mut bytes) = (Vec::new(), from, 0);
    let mut damaged = false;
    let mut first = None;
    shared.store.scan_back(Tree::Packs, &[&schema::pack_key(id, from)[..], &[1]].concat(), &mut |pack| {
        first = schema::parse_pack_key(pack).filter(|(stream, _)| *stream == id).map(|_| pack.to_vec());
        Ok(false)
    })?;
    let end = [&schema::pack_key(id, u64::MAX)[..], &[0xff]].concat();
    if let Some(first) = first {
        shared.store.scan(Tree::Packs, &first, &end, &mut |pack, row| {
            let Some(block) = schema::parse_pack_key(pack).and_then(|(_, first_seq)| pack::unpack(first_seq, &row))
            else {
                damaged = true;
                return Ok(false);
            };
            if block.next_seq() <= next {
                return Ok(true);
            }
            if block.first_seq > next {
                return Ok(false);
            }
            next = block.next_seq();
            bytes += block.bytes.len();
            blocks.push(Arc::new(block));
            Ok(bytes < budget)
        })?;
    }
    if next > from {
        return Ok(Chunk::new(from, next, blocks));
    }
    if damaged {
        return Err(Failure::internal(format!("record {from} of this stream is damaged")));
    }
    // The ring may have been filled since the caller looked; or the stream is gone.
    if let Some(chunk) = stream.read_ring(from, budget) {
        return Ok(chunk);
    }
    let removed = shared.store.get(Tree::Streams, &id.0)?.is_none();
    if removed || lock(&shared.index).is_forgotten(id) {
        return Err(Failure::new(Code::Expired, "the stream was removed"));
    }
    Err(Failure::internal(format!("record {from} of this stream is missing")))
}

/// Reads the JSON of a job, while it is kept. Blocks.
pub(crate) fn job_text(shared: &Shared, head: &Head) -> Result<Option<Vec<u8>>, Failure> {
    let id = head.stream;
    let (text, finished) = {
        let unsealed = lock(&shared.unsealed);
        let slot = unsealed.slots.get(&id);
        let finished = slot.is_some_and(|slot| slot.stream.tail().state.is_terminal());
        (slot.and_then(|slot| slot.job.clone()), finished)
    };
    if finished && !head.log_payload {
        return Ok(None);
    }
    if let Some(JobText::Inline(text)) = text {
        return Ok(Some(text.to_vec()));
    }
    match shared.store.get(Tree::Jobs, &id.0)? {
        Some(text) => Ok(Some(text)),
        None => job_files::get(&shared.config.path, id),
    }
}

/// Reads a job: see [`crate::log::Streams::job`]. Blocks.
pub(crate) fn job(shared: &Shared, head: &Head) -> Result<Option<Job>, Failure> {
    let Some(text) = job_text(shared, head)? else { return Ok(None) };
    let job = serde_json::from_slice(&text);
    job.map(Some).map_err(|error| Failure::internal(format!("the stored job is damaged: {error}")))
}

/// Lists jobs: see [`crate::log::Streams::list`]. Blocks. Looks at every job when few match.
pub(crate) fn list(shared: &Shared, query: &ListQuery) -> Result<Vec<Arc<Stream>>, Failure> {
    let limit = query.limit.min(LIST_ROWS_MAX);
    let live: Vec<_> = lock(&shared.index).streams().map(Arc::clone).collect();
    let admitted = |stream: &Arc<Stream>| {
        let tail = stream.tail();
        tail.durable > 0 && query.admits(stream.head(), tail.state)
    };
    let mut rows: BTreeMap<_, _> =
        live.into_iter().filter(admitted).map(|stream| (stream.head().stream, stream)).collect();
    let upto = query.after.map_or(vec![0xff; 18], |after| after.0.to_vec());
    let mut sealed = 0;
    shared.store.scan_back(Tree::Streams, &upto, &mut |id| {
        let Some(id) = schema::stream_of(id) else { return Ok(true) };
        if rows.contains_key(&id) {
            return Ok(true);
        }
        if let Some(stream) = load(shared, id)?.filter(admitted) {
            rows.insert(id, stream);
            sealed += 1;
        }
        Ok(sealed < limit)
    })?;
    Ok(rows.into_values().rev().take(limit).collect())
}
