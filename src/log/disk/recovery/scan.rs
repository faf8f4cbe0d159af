//! Scan: which ticks of the journal count, and which are missing.
//!
//! Owns reading the journal's files. A torn tail that was never acknowledged is dropped silently. Any other missing tick
//! is reported, gives its streams a new epoch, and makes the start seal what is left, so that the next start finds
//! nothing wrong. Promises never to fail because of what a file holds.

use std::fs::{self, File};
use std::path::Path;

use super::replay::Replay;
use crate::job::Failure;
use crate::log::disk::journal;
use crate::log::disk::journal::entry::{Entry, Reader};
use crate::log::disk::store::Store;
use crate::log::disk::unsealed::UsedFile;

/// The journal, as it was read.
pub(crate) struct Scanned<'a> {
    pub(crate) replay: Replay<'a>,
    /// Files that hold ticks which may be unsealed, oldest first.
    pub(crate) files: Vec<UsedFile>,
    /// The numbers of all other files.
    pub(crate) leftovers: Vec<u64>,
    /// The number of the last tick that there is or was.
    pub(crate) last: u64,
    /// The number for the next file.
    pub(crate) next_number: u64,
    /// A description of what was lost, if something was.
    pub(crate) loss: Option<String>,
}

struct Scan<'a> {
    replay: Replay<'a>,
    floor: u64,
    mark: u64,
    last: u64,
    /// Ranges of ticks that are missing.
    gaps: Vec<(u64, u64)>,
}

/// A file and its first tick.
struct Start {
    number: u64,
    first: Option<(u64, u64)>,
}

/// Reads all files of `dir`: ticks after `floor` count, and up to `mark` they must be there.
pub(crate) fn scan<'a>(dir: &Path, store: &'a Store, floor: u64, mark: Option<u64>) -> Result<Scanned<'a>, Failure> {
    let failed = |error: std::io::Error| Failure::internal(format!("{}: {error}", dir.display()));
    let numbers = journal::list(dir).map_err(failed)?;
    let next_number = numbers.last().map_or(1, |last| last + 1);
    let starts: Vec<Start> = numbers.into_iter().map(|number| Start { number, first: peek(dir, number) }).collect();
    let mut scan = Scan { replay: Replay::new(store)?, floor, mark: mark.unwrap_or(0), last: floor, gaps: Vec::new() };
    let (mut files, mut leftovers) = (Vec::new(), Vec::new());
    for (at, start) in starts.iter().enumerate() {
        let limit = starts[at + 1..].iter().find_map(|next| next.first).map(|(_, prev)| prev);
        let used = scan.file(dir, start, limit)?;
        match used {
            Some(file) if file.last_tick > floor => files.push(file),
            _ => leftovers.push(start.number),
        }
    }
    scan.missing(scan.mark);
    let loss = scan.loss();
    Ok(Scanned { last: scan.last.max(scan.mark), replay: scan.replay, files, leftovers, next_number, loss })
}

/// Returns the first tick of a file and the last tick before it that counts.
fn peek(dir: &Path, number: u64) -> Option<(u64, u64)> {
    use std::io::Read;
    let mut head = [0; 64];
    let mut file = File::open(journal::path(dir, number)).ok()?;
    let len = file.read(&mut head).ok()?;
    start_of(&head[..len], number)
}

fn start_of(bytes: &[u8], number: u64) -> Option<(u64, u64)> {
    let tick = journal::tick_at(bytes, 0, number)?;
    match Reader(tick.entries).entry()? {
        Entry::Start { prev } => Some((tick.number, prev)),
        _ => None,
    }
}

impl Scan<'_> {
    /// Notes a gap if not everything up to `tick` was read by now.
    fn missing(&mut self, tick: u64) {
        if self.last < tick {
            // What lies before the floor is sealed.
            if self.floor < tick {
                self.gaps.push((self.last.max(self.floor) + 1, tick));
                self.replay.gap();
            }
            self.last = tick;
        }
    }

    fn file(&mut self, dir: &Path, start: &Start, limit: Option<u64>) -> Result<Option<UsedFile>, Failure> {
        // A file whose beginning is damaged looks like a spare one. It is looked into only if
        // something is missing that it could hold.
        let wanted = limit.unwrap_or(self.mark);
        if start.first.is_none() && self.last >= wanted {
            return Ok(None);
        }
        let path = journal::path(dir, start.number);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(target: "forebay::log", "{} cannot be read: {error}", path.display());
                return Ok(None);
            }
        };
        let mut offset = 0;
        let mut seen = None;
        if let Some((tick, prev)) = start.first {
            self.missing(prev);
            // Numbers between `prev` and this one were given to ticks that failed.
            self.last = self.last.max(tick.saturating_sub(1));
        }
        while limit.is_none_or(|limit| self.last < limit) {
            match journal::tick_at(&bytes, offset, start.number) {
                Some(tick) if tick.number == self.last + 1 || tick.number <= self.floor => {
                    offset = tick.end;
                    self.last = self.last.max(tick.number);
                    seen = Some(tick.number);
                    self.apply(tick, start.number)?;
                }
                _ => match self.resume(&bytes, offset, (start.number, limit.unwrap_or(self.mark))) {
                    Some(found) => offset = found,
                    None => break,
                },
            }
        }
        let bytes = bytes.len() as u64;
        Ok(seen.map(|last_tick| UsedFile { number: start.number, bytes, last_tick }))
    }

    /// Finds where reading continues after bytes that are not a tick; `None` at the end of the file.
    fn resume(&mut self, bytes: &[u8], offset: usize, (file, upto): (u64, u64)) -> Option<usize> {
        if self.last >= upto {
            return None;
        }
        let found = journal::resync(bytes, offset, file, &(self.last + 1..=upto))?;
        let tick = journal::tick_at(bytes, found, file)?;
        self.missing(tick.number - 1);
        Some(found)
    }

    fn apply(&mut self, tick: journal::Tick<'_>, file: u64) -> Result<(), Failure> {
        if tick.number <= self.floor {
            return Ok(());
        }
        let mut reader = Reader(tick.entries);
        while !reader.0.is_empty() {
            match reader.entry() {
                Some(entry) => self.replay.apply(entry, file)?,
                None => {
                    // The checksum is right and the content is unknown: a newer version wrote it.
                    self.gaps.push((tick.number, tick.number));
                    self.replay.gap();
                    break;
                }
            }
        }
        Ok(())
    }

    fn loss(&mut self) -> Option<String> {
        let (cut, unknown) = self.replay.finish(!self.gaps.is_empty());
        let (first, last) = (self.gaps.first()?.0, self.gaps.last()?.1);
        let count: u64 = self.gaps.iter().map(|(from, to)| to - from + 1).sum();
        Some(format!(
            "the journal is damaged: {count} of the ticks {first} to {last} are missing, though their records had \
             been acknowledged. {cut} unfinished streams may have lost records at their end and got a new epoch; \
             records of at least {unknown} streams could not be placed"
        ))
    }
}
