//! The index of what is not sealed yet: by stream, and by the journal files that this pins.
//!
//! Owns which files are in use, spare, or free to be used again. A file is given back when nothing in it or in an older
//! one is unsealed, and the store was synced after that. Does no IO.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::journal::JournalFile;
use super::journal::entry::JobText;
use crate::job::{Charge, JobId, StreamId};
use crate::log::disk::unsealed_rows::UnsealedRows;
use crate::log::stream::Stream;

/// Bytes of unsealed records in memory above which a stream's prefix is sealed.
pub(crate) const UNSEALED_BYTES_MAX: usize = 12 * 1024;

/// The index of what is not sealed yet, by stream and by journal file.
#[derive(Default)]
pub(crate) struct UnsealedIndex {
    /// Streams of which something is unsealed, or which are unfinished.
    pub(crate) slots: HashMap<StreamId, Slot>,
    /// Files that hold ticks, oldest first; the last is written to.
    pub(crate) files: VecDeque<UsedFile>,
    /// Number of streams and forgets that have something unsealed in a file.
    pins: HashMap<u64, usize>,
    /// Files that are ready to be written to, lowest number first.
    pub(crate) spares: VecDeque<JournalFile>,
    /// The number of the next file.
    pub(crate) next_number: u64,
    /// Streams that the sealer should take next.
    dirty: Vec<StreamId>,
    /// Streams to remove, each with the file of the entry that removes it.
    forgets: Vec<(u64, Forgotten)>,
    /// Charges that are durable and not added up yet, in the order of their lines.
    charges: Vec<(u64, Charge)>,
    /// Rows that are durable and not sealed.
    pub(super) rows: UnsealedRows,
}

/// A stream that is to be removed from the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Forgotten {
    pub(crate) stream: StreamId,
    pub(crate) id: JobId,
}

/// A journal file with ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UsedFile {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) last_tick: u64,
}

/// A stream's place in the index.
pub(crate) struct Slot {
    pub(crate) stream: Arc<Stream>,
    /// The job's JSON until it is sealed.
    pub(crate) job: Option<JobText>,
    /// The `seq` after the last sealed record; `None` before the first sealing.
    pub(crate) sealed: Option<u64>,
    /// Bytes of its packs in the store.
    pub(crate) sealed_bytes: u64,
    /// Files that hold its unsealed records, each with the `seq` after the last one in it.
    files: VecDeque<(u64, u64)>,
    unsealed_bytes: usize,
    queued: bool,
}

impl Slot {
    /// Makes the place of a stream whose records before `sealed` are in the store.
    pub(crate) fn new(stream: Arc<Stream>, job: Option<JobText>, sealed: Option<(u64, u64)>) -> Slot {
        let unsealed_bytes = job.as_ref().map_or(0, JobText::weight);
        Slot {
            stream,
            job,
            sealed: sealed.map(|(seq, _)| seq),
            sealed_bytes: sealed.map_or(0, |(_, bytes)| bytes),
            files: VecDeque::new(),
            unsealed_bytes,
            queued: false,
        }
    }
}

/// What the sealer has done with a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealedPart {
    /// The `seq` after the last sealed record.
    pub(crate) upto: u64,
    /// Bytes of all its packs.
    pub(crate) bytes: u64,
    /// Bytes that the records took in memory.
    pub(crate) weight: usize,
    /// Whether the terminal is among them.
    pub(crate) finished: bool,
}

/// Work that the sealer takes at once.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) streams: Vec<StreamId>,
    pub(crate) forgets: Vec<(u64, Forgotten)>,
}

impl UnsealedIndex {
    /// Notes that records of `stream` up to `upto` are durable in `file`.
    pub(crate) fn committed(&mut self, stream: StreamId, file: u64, upto: u64, weight: usize) {
        let Some(slot) = self.slots.get_mut(&stream) else { return };
        // The sealer may have been faster than this entry: it sees records as soon as readers do.
        if slot.sealed.is_none_or(|sealed| sealed < upto) {
            slot.unsealed_bytes += weight;
            match slot.files.back_mut() {
                Some((last, last_upto)) if *last == file => *last_upto = upto,
                _ => {
                    slot.files.push_back((file, upto));
                    *self.pins.entry(file).or_default() += 1;
                }
            }
        }
        let finished = slot.stream.tail().state.is_terminal();
        if (finished || slot.unsealed_bytes > UNSEALED_BYTES_MAX) && !slot.queued {
            slot.queued = true;
            self.dirty.push(stream);
        }
    }

    /// Notes that the records of `stream` before `sealed` are in the store; a finished stream leaves the index when
    /// that is all of it.
    pub(crate) fn sealed(&mut self, stream: StreamId, done: &SealedPart) {
        let Some(slot) = self.slots.get_mut(&stream) else { return };
        let (sealed, finished) = (done.upto, done.finished);
        let job = slot.job.take().map_or(0, |job| job.weight());
        slot.sealed = Some(sealed);
        slot.sealed_bytes = done.bytes;
        slot.unsealed_bytes = slot.unsealed_bytes.saturating_sub(done.weight + job);
        slot.queued = false;
        while let Some((file, _)) = slot.files.pop_front_if(|(_, upto)| *upto <= sealed) {
            unpin(&mut self.pins, file);
        }
        if finished {
            self.remove(stream);
        } else if slot.stream.tail().state.is_terminal() {
            // It ended while its prefix was being sealed.
            slot.queued = true;
            self.dirty.push(stream);
        }
    }

    /// Removes a stream from the index.
    pub(crate) fn remove(&mut self, stream: StreamId) {
        if let Some(slot) = self.slots.remove(&stream) {
            for (file, _) in slot.files {
                unpin(&mut self.pins, file);
            }
        }
    }

    /// Notes a forget that is durable in `file`.
    pub(crate) fn forget(&mut self, file: u64, forgotten: Forgotten) {
        *self.pins.entry(file).or_default() += 1;
        self.forgets.push((file, forgotten));
    }

    /// Notes that a forget is done in the store.
    pub(crate) fn forget_done(&mut self, file: u64) {
        unpin(&mut self.pins, file);
    }

    /// Adds charges that are durable.
    pub(crate) fn charge(&mut self, lines: impl IntoIterator<Item = (u64, Charge)>) {
        self.charges.extend(lines);
    }

    /// Takes the charges that are to be added up.
    pub(crate) fn take_charges(&mut self) -> Vec<(u64, Charge)> {
        std::mem::take(&mut self.charges)
    }

    /// Puts charges back that could not be added up.
    pub(crate) fn return_charges(&mut self, mut charges: Vec<(u64, Charge)>) {
        charges.append(&mut self.charges);
        self.charges = charges;
    }

    /// Takes the streams to seal and to remove; with `pinned`, also every stream that pins the oldest file.
    pub(crate) fn take_work(&mut self, pinned: bool) -> Work {
        let oldest = self.files.front().map(|file| file.number).filter(|_| pinned && self.files.len() > 1);
        if let Some(oldest) = oldest {
            for (id, slot) in &mut self.slots {
                let pins = slot.files.front().is_some_and(|(file, _)| *file <= oldest);
                if pins && !slot.queued {
                    slot.queued = true;
                    self.dirty.push(*id);
                }
            }
        }
        Work { streams: std::mem::take(&mut self.dirty), forgets: std::mem::take(&mut self.forgets) }
    }

    /// Takes every stream of which something is unsealed.
    pub(crate) fn take_everything(&mut self) -> Work {
        self.dirty.clear();
        for (id, slot) in &mut self.slots {
            if !slot.files.is_empty() || slot.job.is_some() {
                slot.queued = true;
                self.dirty.push(*id);
            }
        }
        self.take_work(false)
    }

    /// Puts back work that could not be done.
    pub(crate) fn return_work(&mut self, work: Work) {
        self.dirty.extend(work.streams);
        self.forgets.extend(work.forgets);
    }

    /// Returns the bytes of journal in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Returns the last tick of those oldest files in which nothing is unsealed.
    pub(crate) fn sealed_upto_tick(&self) -> Option<u64> {
        let others = self.files.len().saturating_sub(1);
        let free = self.files.iter().take(others).take_while(|file| !self.is_pinned(file.number));
        free.last().map(|file| file.last_tick)
    }

    fn is_pinned(&self, file: u64) -> bool {
        self.pins.contains_key(&file) || self.rows.pins(file)
    }

    /// Returns whether rows should be sealed: they take too much memory, or pin the oldest file while it is `pinned`.
    pub(crate) fn rows_are_due(&self, pinned: bool) -> bool {
        self.rows.is_heavy() || (pinned && self.files.front().is_some_and(|file| self.rows.pins(file.number)))
    }

    /// Removes and returns the files that end at or before `tick`.
    pub(crate) fn free_files(&mut self, tick: u64) -> Vec<UsedFile> {
        let mut free = Vec::new();
        while self.files.len() > 1 {
            match self.files.pop_front_if(|file| file.last_tick <= tick) {
                Some(file) => free.push(file),
                None => break,
            }
        }
        free
    }

    /// Adds a recovered stream with the files that its unsealed records pin.
    pub(crate) fn restore(&mut self, id: StreamId, mut slot: Slot, files: &[(u64, u64)], weight: usize) {
        slot.unsealed_bytes += weight;
        let finished = slot.stream.tail().state.is_terminal();
        for (file, upto) in files {
            slot.files.push_back((*file, *upto));
            *self.pins.entry(*file).or_default() += 1;
        }
        if finished || slot.unsealed_bytes > UNSEALED_BYTES_MAX {
            slot.queued = true;
            self.dirty.push(id);
        }
        self.slots.insert(id, slot);
    }
}

fn unpin(pins: &mut HashMap<u64, usize>, file: u64) {
    if let Some(count) = pins.get_mut(&file) {
        *count -= 1;
        if *count == 0 {
            pins.remove(&file);
        }
    }
}
