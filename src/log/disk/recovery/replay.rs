//! Replay: journal entries become streams and rows again.
//!
//! Owns what a stream is after a restart: the sealed part from the store, then what the journal adds. Promises that a
//! stream which lost records that may have been visible gets a new epoch and keeps its contiguous prefix, and that no
//! other stream does. Does not read files.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::job::{Charge, Epoch, Failure, StreamId};
use crate::log::disk::journal::entry::{Entry, JobText};
use crate::log::disk::schema::{self, StreamRow, Tree};
use crate::log::disk::store::Store;
use crate::log::disk::unsealed::Forgotten;
use crate::log::disk::unsealed_rows::UnsealedRows;
use crate::log::stream::{Outcome, Stream};
use crate::log::{Block, Head, Tombstone};
use crate::wire::{record, row};

/// The streams and rows that come of the entries replayed so far.
pub(crate) struct Replay<'a> {
    store: &'a Store,
    /// Streams of which something is unsealed, or which are unfinished.
    pub(crate) streams: HashMap<StreamId, Restored>,
    /// Streams that the store holds whole, or that were removed.
    done: HashSet<StreamId>,
    /// Forgets that the store may not have yet.
    pub(crate) forgets: Vec<(u64, Forgotten)>,
    /// Charges that the store may not have yet.
    pub(crate) charges: Vec<(u64, Charge)>,
    /// Streams of entries that neither the journal nor the store has a head of.
    unknown: HashSet<StreamId>,
    /// Rows that the store may not have yet.
    pub(crate) rows: UnsealedRows,
}

/// A stream as it was recovered.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) head: Head,
    pub(crate) epoch: Epoch,
    pub(crate) job: Option<JobText>,
    /// The `seq` after the last sealed record, and the packs' bytes.
    pub(crate) sealed: Option<(u64, u64)>,
    /// The `seq` after the last record that is there.
    pub(crate) next: u64,
    /// Blocks that are not sealed.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// The journal files that hold unsealed records, each with the `seq` after the last one in it.
    pub(crate) files: Vec<(u64, u64)>,
    pub(crate) outcome: Option<Outcome>,
    /// Whether journal ticks were lost that may have held records of this stream.
    suspect: bool,
    /// Whether records of this stream were lost: later records do not count.
    cut: bool,
}

impl Restored {
    fn add(&mut self, block: Block, file: u64) {
        let next = block.next_seq();
        self.outcome = last_outcome(&block);
        self.next = next;
        self.blocks.push(Arc::new(block));
        match self.files.last_mut() {
            Some((last, upto)) if *last == file => *upto = next,
            _ => self.files.push((file, next)),
        }
    }

    /// Makes the stream in memory, with everything unsealed in its ring.
    pub(crate) fn to_stream(&self) -> Arc<Stream> {
        let sealed = self.sealed.map_or(0, |(seq, _)| seq);
        let stream = Stream::new(self.head.clone(), self.epoch, sealed, None);
        for block in &self.blocks {
            let last = block.next_seq() == self.next;
            let outcome = self.outcome.clone().filter(|_| last);
            stream.publish(Arc::clone(block), block.next_seq() > 1, outcome);
        }
        Arc::new(stream)
    }

    /// Returns the bytes that the unsealed records take in memory.
    pub(crate) fn weight(&self) -> usize {
        self.blocks.iter().map(|block| block.weight()).sum()
    }
}

fn last_outcome(block: &Block) -> Option<Outcome> {
    let seq = block.next_seq().checked_sub(1)?;
    let record = record::decode(seq, block.record(seq)).ok()?.into_record();
    Outcome::of(record.at, &record.event)
}

/// Returns a random epoch: two lives of a stream must not have the same one by accident.
pub(crate) fn fresh_epoch() -> Epoch {
    Epoch(fastrand::u32(1..))
}

impl<'a> Replay<'a> {
    /// Begins with the unfinished streams of the store.
    pub(crate) fn new(store: &'a Store) -> Result<Replay<'a>, Failure> {
        let mut replay = Replay {
            store,
            streams: HashMap::new(),
            done: HashSet::new(),
            forgets: Vec::new(),
            charges: Vec::new(),
            unknown: HashSet::new(),
            rows: UnsealedRows::default(),
        };
        let mut open = Vec::new();
        store.scan_back(Tree::Open, &[0xff; 18], &mut |id| {
            open.extend(schema::stream_of(id));
            Ok(true)
        })?;
        for id in open {
            let row: Option<StreamRow> = store.get(Tree::Streams, &id.0)?.and_then(|row| row::decode(&row));
            let head: Option<Head> = store.get(Tree::Heads, &id.0)?.and_then(|row| row::decode(&row));
            let (Some(row), Some(head)) = (row, head) else { continue };
            if row.outcome.is_none() {
                let restored = Restored {
                    head,
                    epoch: row.epoch,
                    job: None,
                    sealed: Some((row.sealed, row.bytes)),
                    next: row.sealed,
                    blocks: Vec::new(),
                    files: Vec::new(),
                    outcome: None,
                    suspect: false,
                    cut: false,
                };
                replay.streams.insert(id, restored);
            }
        }
        Ok(replay)
    }

    /// Notes that ticks are missing here: any unfinished stream may have had records in them.
    pub(crate) fn gap(&mut self) {
        for stream in self.streams.values_mut() {
            stream.suspect |= stream.outcome.is_none();
        }
    }

    /// Applies one entry of `file`.
    pub(crate) fn apply(&mut self, entry: Entry, file: u64) -> Result<(), Failure> {
        match entry {
            Entry::Start { .. } => Ok(()),
            Entry::Create { head, epoch, job, block } => self.create(*head, (epoch, job), block, file),
            Entry::Append { stream, block, first_line, charges } => {
                if self.append(stream, block, file)? {
                    self.charges.extend((first_line..).zip(charges));
                }
                Ok(())
            }
            Entry::Forget { stream, id } => {
                self.streams.remove(&stream);
                self.done.insert(stream);
                self.forgets.push((file, Forgotten { stream, id }));
                Ok(())
            }
            Entry::Rows { rows } => {
                self.rows.put(file, rows);
                Ok(())
            }
        }
    }

    fn create(&mut self, head: Head, life: (Epoch, JobText), block: Block, file: u64) -> Result<(), Failure> {
        let id = head.stream;
        if self.done.contains(&id) || self.streams.contains_key(&id) {
            return Ok(());
        }
        let sealed = self.store.get(Tree::Streams, &id.0)?.is_some();
        let tombstone = self.store.get(Tree::Tombstones, head.id.as_str().as_bytes())?;
        let tombstone = tombstone.and_then(|row| row::decode::<(StreamId, Tombstone)>(&row));
        if sealed || tombstone.is_some_and(|(known, _)| known == id) {
            self.done.insert(id);
            return Ok(());
        }
        let (epoch, job) = life;
        let mut restored = Restored {
            head,
            epoch,
            job: Some(job),
            sealed: None,
            next: 0,
            blocks: Vec::new(),
            files: Vec::new(),
            outcome: None,
            suspect: false,
            cut: false,
        };
        restored.add(block, file);
        self.streams.insert(id, restored);
        Ok(())
    }

    /// Returns whether the entry counts.
    fn append(&mut self, id: StreamId, block: Block, file: u64) -> Result<bool, Failure> {
        let Some(stream) = self.streams.get_mut(&id) else {
            if !self.done.contains(&id) {
                self.done.insert(id);
                if self.store.get(Tree::Streams, &id.0)?.is_none() {
                    self.unknown.insert(id);
                }
            }
            return Ok(false);
        };
        if stream.cut || stream.outcome.is_some() {
            return Ok(false);
        }
        if block.first_seq > stream.next {
            stream.cut = true;
            return Ok(false);
        }
        stream.suspect = false;
        if block.first_seq < stream.next {
            return Ok(false);
        }
        stream.add(block, file);
        Ok(true)
    }

    /// Ends the replay. Returns how many streams lost records and how many were lost whole, as far as that can be
    /// known; `lossy` tells whether ticks were missing.
    pub(crate) fn finish(&mut self, lossy: bool) -> (usize, usize) {
        let mut cut = 0;
        for stream in self.streams.values_mut().filter(|stream| stream.suspect || stream.cut) {
            cut += 1;
            let before = stream.epoch;
            while stream.epoch == before {
                stream.epoch = fresh_epoch();
            }
        }
        // Without a loss these are streams that were sealed and then expired.
        (cut, if lossy { self.unknown.len() } else { 0 })
    }
}
