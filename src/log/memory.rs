//! The log in memory: for tests, simulations, and as the control of every measurement.
//!
//! Everything is durable at once and is lost when the process ends. Streams stay until they are forgotten, so a process
//! that runs for long needs `DiskLog`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use sha2::{Digest, Sha256};

use super::output::{ReadOutput, WriteOutput};
use super::stream::{Head, Outcome, Stream, StreamWriter};
use super::{
    Batch, Block, Chunk, Found, Health, Ledger, ListQuery, Log, Opened, OutputReader, OutputWriter, Outputs, Row,
    RowCondition, RowRange, Rows, RowsWritten, StoredOutput, Streams, Unfinished, rows,
};
use crate::clock::Clock;
use crate::job::{Accepted, Charge, Code, Epoch, Event, Failure, Gateway, Job, JobId, RollupKey, StreamId, Sums};

/// The log in memory, with everything that it holds.
pub struct MemoryLog {
    this: Weak<MemoryLog>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<StreamId, (Arc<Stream>, Arc<Job>)>,
    ids: HashMap<JobId, StreamId>,
    keys: HashMap<(Gateway, Box<str>), StreamId>,
    outputs: HashMap<(StreamId, String), Bytes>,
    charges: Vec<Charge>,
    rows: BTreeMap<Bytes, Bytes>,
    epochs: u32,
    closed: bool,
}

impl State {
    fn write(&mut self, rows: Vec<Row>) {
        for Row { key, value } in rows {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }
}

impl MemoryLog {
    /// Makes an empty log.
    #[must_use]
    pub fn new(clock: Clock) -> Arc<MemoryLog> {
        Arc::new_cyclic(|this| MemoryLog { this: Weak::clone(this), clock, state: Mutex::default() })
    }

    /// Returns all ledger lines, oldest first. For tests and simulations, which compare them with the records.
    #[must_use]
    pub fn charges(&self) -> Vec<Charge> {
        self.lock().charges.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    fn open_now(&self, job: Arc<Job>) -> Result<Opened, Failure> {
        let mut state = self.lock();
        if state.closed {
            return Err(Failure::new(Code::Overloaded, "the log is closed"));
        }
        let by_key = job.idempotency_key.clone().and_then(|key| state.keys.get(&(job.gateway.clone(), key)).copied());
        if let Some(known) = state.ids.get(&job.id).copied().or(by_key) {
            let (stream, _) = &state.streams[&known];
            return join(stream, &job);
        }
        let id = StreamId::generate();
        state.epochs += 1;
        let stream = Arc::new(Stream::new(Head::new(id, &job), Epoch(state.epochs), 0, None));
        state.ids.insert(job.id.clone(), id);
        if let Some(key) = job.idempotency_key.clone() {
            state.keys.insert((job.gateway.clone(), key), id);
        }
        state.streams.insert(id, (Arc::clone(&stream), Arc::clone(&job)));
        drop(state);
        self.append(&stream, vec![accepted(&job)].into())?;
        Ok(Opened::New(StreamWriter::new(self.this.upgrade().expect("the caller holds the log"), stream)))
    }
}

/// Makes the first record of a job's stream.
#[must_use]
pub fn accepted(job: &Job) -> Event {
    Event::Accepted(Accepted {
        model: job.model.clone(),
        task: job.task,
        gateway: job.gateway.clone(),
        metadata: job.metadata.clone(),
    })
}

/// Answers a job whose id or key is known.
///
/// # Errors
/// `conflict` when the body is another.
pub fn join(stream: &Arc<Stream>, job: &Job) -> Result<Opened, Failure> {
    if stream.head().same_body(job) {
        return Ok(Opened::Joined(Arc::clone(stream)));
    }
    Err(Failure::new(Code::Conflict, "this id or idempotency key was used with another body"))
}

impl Streams for MemoryLog {
    fn create(&self, job: Arc<Job>) -> BoxFuture<'_, Result<Opened, Failure>> {
        ready(self.open_now(job)).boxed()
    }

    fn flush(&self) {}

    fn append(&self, stream: &Arc<Stream>, batch: Batch) -> Result<u64, Failure> {
        let at = self.clock.now();
        rows::encode(&batch.rows)?;
        // Encoded before places are reserved, so that a refused record leaves no hole.
        let mut block = Block::encode(0, at, &batch.events)?;
        block.first_seq = stream.reserve(block.ends.len() as u64)?;
        let upto = block.next_seq();
        let streaming = batch.events.iter().any(Event::is_output);
        let outcome = batch.events.last().and_then(|event| Outcome::of(at, event));
        {
            let mut state = self.lock();
            state.charges.extend(batch.charges);
            state.write(batch.rows);
        }
        stream.publish(Arc::new(block), streaming, outcome);
        Ok(upto)
    }

    fn find(&self, id: &JobId) -> BoxFuture<'_, Result<Found, Failure>> {
        let state = self.lock();
        let found = state.ids.get(id).map(|stream| Arc::clone(&state.streams[stream].0));
        ready(Ok(found.map_or(Found::Nothing, Found::Stream))).boxed()
    }

    fn read_stored<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        from: u64,
        budget_bytes: usize,
    ) -> BoxFuture<'a, Result<Chunk, Failure>> {
        let gone = || Failure::new(Code::Expired, "the stream was removed");
        ready(stream.read_ring(from, budget_bytes).ok_or_else(gone)).boxed()
    }

    fn job<'a>(&'a self, stream: &'a Arc<Stream>) -> BoxFuture<'a, Result<Option<Job>, Failure>> {
        let job = self.lock().streams.get(&stream.head().stream).map(|(_, job)| Job::clone(job));
        ready(Ok(job)).boxed()
    }

    fn forget(&self, id: &JobId) -> BoxFuture<'_, Result<(), Failure>> {
        let mut state = self.lock();
        let Some(stream) = state.ids.get(id).copied() else {
            return ready(Err(Failure::new(Code::NotFound, "no such job"))).boxed();
        };
        if !state.streams[&stream].0.tail().state.is_terminal() {
            return ready(Err(Failure::new(Code::Conflict, "the job is not finished; cancel it first"))).boxed();
        }
        state.ids.remove(id);
        state.streams.remove(&stream);
        state.keys.retain(|_, known| *known != stream);
        state.outputs.retain(|(known, _), _| *known != stream);
        ready(Ok(())).boxed()
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<Arc<Stream>>, Failure>> {
        let state = self.lock();
        let newest_first = state.streams.values().rev().map(|(stream, _)| stream);
        let rows = newest_first.filter(|stream| query.admits(stream.head(), stream.tail().state)).take(query.limit);
        ready(Ok(rows.cloned().collect())).boxed()
    }

    fn unfinished(&self) -> Vec<Unfinished> {
        Vec::new()
    }
}

impl Outputs for MemoryLog {
    fn begin_output(&self, stream: &Arc<Stream>) -> Result<OutputWriter, Failure> {
        let log = self.this.upgrade().ok_or_else(|| Failure::internal("the log is closed"))?;
        let stream = stream.head().stream;
        Ok(OutputWriter::new(MemoryWriter { log, stream, bytes: Bytes::new() }))
    }

    fn get_output<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        sha256: &'a str,
    ) -> BoxFuture<'a, Result<OutputReader, Failure>> {
        let found = self.lock().outputs.get(&(stream.head().stream, sha256.to_owned())).cloned();
        let reader = found.map(|bytes| {
            let len = bytes.len() as u64;
            OutputReader::new(MemoryReader(bytes), len)
        });
        ready(reader.ok_or_else(|| Failure::new(Code::NotFound, "no such output"))).boxed()
    }
}

/// An output that is being written to memory.
struct MemoryWriter {
    log: Arc<MemoryLog>,
    stream: StreamId,
    bytes: Bytes,
}

impl WriteOutput for MemoryWriter {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Failure>> {
        // What is written at once is kept without a copy.
        self.bytes = if self.bytes.is_empty() { bytes } else { [&self.bytes[..], &bytes].concat().into() };
        ready(Ok(())).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<StoredOutput, Failure>> {
        let MemoryWriter { log, stream, bytes } = *self;
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let stored = StoredOutput { sha256: sha256.clone(), bytes: bytes.len() as u64 };
        log.lock().outputs.insert((stream, sha256), bytes);
        ready(Ok(stored)).boxed()
    }
}

/// An output in memory that is being read.
struct MemoryReader(Bytes);

impl ReadOutput for MemoryReader {
    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Bytes, Failure>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(len).min(self.0.len());
        ready(Ok(self.0.slice(start..end))).boxed()
    }
}

impl Ledger for MemoryLog {
    fn rollups(&self, since_hour: u32, until_hour: u32) -> BoxFuture<'_, Result<Vec<(RollupKey, Sums)>, Failure>> {
        let mut rows: Vec<(RollupKey, Sums)> = Vec::new();
        for charge in &self.lock().charges {
            let key = charge.rollup_key();
            if !(since_hour..until_hour).contains(&key.hour) {
                continue;
            }
            match rows.iter_mut().find(|(known, _)| *known == key) {
                Some((_, sums)) => sums.charge(charge),
                None => {
                    let mut sums = Sums::default();
                    sums.charge(charge);
                    rows.push((key, sums));
                }
            }
        }
        ready(Ok(rows)).boxed()
    }

    fn rebuild_rollups(&self) -> BoxFuture<'_, Result<u64, Failure>> {
        ready(Ok(self.lock().charges.len() as u64)).boxed()
    }
}

impl Rows for MemoryLog {
    fn write_rows(&self, rows: Vec<Row>) -> BoxFuture<'static, Result<(), Failure>> {
        let mut state = self.lock();
        let done = match rows::encode(&rows) {
            Err(failure) => Err(failure),
            Ok(_) if state.closed => Err(Failure::new(Code::Overloaded, "the log is closed")),
            Ok(_) => {
                state.write(rows);
                Ok(())
            }
        };
        ready(done).boxed()
    }

    fn write_rows_if(
        &self,
        conditions: Vec<RowCondition>,
        rows: Vec<Row>,
    ) -> BoxFuture<'_, Result<RowsWritten, Failure>> {
        let checked = rows::check_conditions(&conditions, &rows).and_then(|()| rows::encode(&rows));
        let mut state = self.lock();
        let written = match checked {
            Err(failure) => Err(failure),
            Ok(_) if state.closed => Err(Failure::new(Code::Overloaded, "the log is closed")),
            Ok(_) => {
                let outcome = rows::compare(&conditions, |condition| state.rows.get(&condition.key).cloned());
                if outcome == RowsWritten::Written {
                    state.write(rows);
                }
                Ok(outcome)
            }
        };
        ready(written).boxed()
    }

    fn row(&self, key: Bytes) -> BoxFuture<'_, Result<Option<Bytes>, Failure>> {
        ready(Ok(self.lock().rows.get(&key).cloned())).boxed()
    }

    fn rows(&self, range: RowRange) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>, Failure>> {
        let (from, to) = (Bytes::from(range.from()), Bytes::from(range.to()));
        let (mut page, mut bytes) = (Vec::new(), 0);
        if from < to {
            for (key, value) in self.lock().rows.range(from..to) {
                if !range.takes(page.len(), bytes) {
                    break;
                }
                bytes += value.len();
                page.push((key.clone(), value.clone()));
            }
        }
        ready(Ok(page)).boxed()
    }
}

impl Log for MemoryLog {
    fn health(&self) -> Health {
        Health { streams: self.lock().streams.len() as u64, ..Health::default() }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.lock().closed = true;
        ready(()).boxed()
    }
}
