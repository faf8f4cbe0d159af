//! Journal files: ticks one after the other, each checked, each whole or not there.
//!
//! Owns names, layout and checksums of the files, and the `mark`. A tick is
//! `[len u32][crc32 u32][tick u64][entries]`; its checksum covers the file's number, the tick's
//! number and the length, so that what a recycled file held before never looks valid. **Persisted.**
//! Does not know entries.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// Bytes of entries after which a tick is closed: large enough to share its header, small enough
/// that a torn one costs little.
pub(crate) const TICK_BYTES_MAX: usize = 48 * 1024;
/// Bytes before a tick's entries.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of entries that any tick may hold: one append may be larger than [`TICK_BYTES_MAX`].
pub(crate) const ENTRY_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Bytes of a file in a journal of the default size.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a file in a small journal.
const FILE_BYTES_MIN: u64 = 1024 * 1024;

/// Bytes of one file in a journal of `journal_bytes_max`: a sixteenth, so that the oldest can be
/// given back while the others are in use.
pub(crate) fn file_bytes(journal_bytes_max: u64) -> u64 {
    (journal_bytes_max / 16).clamp(FILE_BYTES_MIN, FILE_BYTES_MAX)
}

/// Files of such a journal: at least one to write, one to seal from, and a reserve.
pub(crate) fn files_max(journal_bytes_max: u64) -> usize {
    usize::try_from(journal_bytes_max / file_bytes(journal_bytes_max)).unwrap_or(usize::MAX).max(4)
}

/// A journal file open for writing.
#[derive(Debug)]
pub(crate) struct JournalFile {
    /// Orders the files; part of every checksum.
    pub(crate) number: u64,
    file: File,
    /// Bytes that are preallocated.
    pub(crate) bytes: u64,
}

impl JournalFile {
    /// Makes a new file with all its space.
    pub(crate) fn create(dir: &Path, number: u64, bytes: u64) -> io::Result<JournalFile> {
        let path = path(dir, number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let made = fallocate(&file, FallocateFlags::empty(), 0, bytes)
            .map_err(io::Error::from)
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_dir(dir));
        if let Err(error) = made {
            // Best effort: a leftover without ticks is removed at the next start.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(JournalFile { number, file, bytes })
    }

    /// Gives file `old` a new number. Its extents are written already, which makes syncs cheap.
    pub(crate) fn recycle(dir: &Path, old: u64, number: u64) -> io::Result<JournalFile> {
        fs::rename(path(dir, old), path(dir, number))?;
        sync_dir(dir)?;
        let file = OpenOptions::new().read(true).write(true).open(path(dir, number))?;
        let bytes = file.metadata()?.len();
        Ok(JournalFile { number, file, bytes })
    }

    /// Writes ticks at `offset`, and waits for the disk if `sync`.
    pub(crate) fn write(&self, offset: u64, ticks: &[u8], sync: bool) -> io::Result<()> {
        self.file.write_all_at(ticks, offset)?;
        if sync { self.file.sync_data() } else { Ok(()) }
    }
}

/// Removes a file.
pub(crate) fn remove(dir: &Path, number: u64) -> io::Result<()> {
    fs::remove_file(path(dir, number))
}

/// Where file `number` is.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.journal"))
}

/// The numbers of all files, in order.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        numbers.extend(number.and_then(|hex| u64::from_str_radix(hex, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes created, renamed and removed names of `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn checksum(file: u64, tick: u64, entries: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&file.to_le_bytes());
    crc.update(&tick.to_le_bytes());
    crc.update(&(entries.len() as u64).to_le_bytes());
    crc.update(entries);
    crc.finalize()
}

/// Leaves room for a tick's header; the entries follow.
pub(crate) fn open_tick(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    start
}

/// Completes the tick that began at `start`.
pub(crate) fn close_tick(out: &mut [u8], start: usize, file: u64, tick: u64) {
    let entries = &out[start + HEADER_BYTES..];
    let len = u32::try_from(entries.len()).expect("an entry is bounded far below 4 GiB");
    let crc = checksum(file, tick, entries);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&tick.to_le_bytes());
}

/// A tick as read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tick<'a> {
    /// Counts up through all files.
    pub(crate) number: u64,
    /// What is in it.
    pub(crate) entries: &'a [u8],
    /// Where the next one begins.
    pub(crate) end: usize,
}

/// The valid tick at `offset` of file `file`, if there is one.
pub(crate) fn tick_at(bytes: &[u8], offset: usize, file: u64) -> Option<Tick<'_>> {
    let header = bytes.get(offset..offset + HEADER_BYTES)?;
    let (len, rest) = header.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(rest.try_into().ok()?);
    let len = u32::from_le_bytes(*len) as usize;
    if len == 0 || len > ENTRY_BYTES_MAX {
        return None;
    }
    let end = offset + HEADER_BYTES + len;
    let entries = bytes.get(offset + HEADER_BYTES..end)?;
    (checksum(file, number, entries) == u32::from_le_bytes(*crc)).then_some(Tick { number, entries, end })
}

/// The first valid tick after `offset` with a number in `wanted`: where reading goes on after a
/// damaged stretch. Looks at every byte, but checksums only what could be wanted.
pub(crate) fn resync(bytes: &[u8], offset: usize, file: u64, wanted: &std::ops::RangeInclusive<u64>) -> Option<usize> {
    (offset..bytes.len().saturating_sub(HEADER_BYTES)).find(|&at| {
        let number = bytes[at + 8..at + 16].try_into().map(u64::from_le_bytes);
        number.is_ok_and(|number| wanted.contains(&number)) && tick_at(bytes, at, file).is_some()
    })
}

/// The number of the last tick that somebody was told of. Written after each sync and not synced
/// itself: after our death it is exact, after a power cut it may be older, never newer than what
/// `durability = "power"` has on disk.
#[derive(Debug)]
pub(crate) struct Mark(File);

impl Mark {
    /// Opens the mark of `dir`; also what it says, `None` when it says nothing sensible.
    pub(crate) fn open(dir: &Path) -> io::Result<(Mark, Option<u64>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("mark"))?;
        let mut raw = [0; 12];
        let said = file.read_exact_at(&mut raw, 0).ok().and_then(|()| {
            let (tick, crc) = raw.split_first_chunk::<8>()?;
            (crc32fast::hash(tick).to_le_bytes() == *crc).then_some(u64::from_le_bytes(*tick))
        });
        Ok((Mark(file), said))
    }

    /// Says that everything up to `tick` is acknowledged.
    pub(crate) fn set(&self, tick: u64) -> io::Result<()> {
        let tick = tick.to_le_bytes();
        let mut raw = [0; 12];
        raw[..8].copy_from_slice(&tick);
        raw[8..].copy_from_slice(&crc32fast::hash(&tick).to_le_bytes());
        self.0.write_all_at(&raw, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(file: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for tick in 1..=3 {
            let start = open_tick(&mut out);
            out.extend_from_slice(&[tick as u8; 100]);
            close_tick(&mut out, start, file, tick);
        }
        out
    }

    #[test]
    fn a_tick_is_read_only_where_it_was_written_and_only_whole() {
        let bytes = ticks(7);
        let first = tick_at(&bytes, 0, 7).unwrap();
        assert_eq!((first.number, first.entries, first.end), (1, &[1; 100][..], 116));
        assert_eq!(tick_at(&bytes, 0, 8), None, "another file's tick");
        for byte in 0..116 {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 0x10;
            assert_eq!(tick_at(&flipped, 0, 7), None, "byte {byte} flipped");
        }
        for cut in 0..116 {
            assert_eq!(tick_at(&bytes[..cut], 0, 7), None, "cut at {cut}");
        }
    }

    #[test]
    fn after_a_damaged_tick_the_next_whole_one_is_found() {
        let mut bytes = ticks(7);
        bytes[0] ^= 1;
        assert_eq!(resync(&bytes, 1, 7, &(2..=9)), Some(116));
        assert_eq!(resync(&bytes, 1, 7, &(3..=9)), Some(232));
        assert_eq!(resync(&bytes, 1, 7, &(4..=9)), None);
    }

    #[test]
    fn a_mark_says_what_was_set_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mark, said) = Mark::open(dir.path()).unwrap();
        assert_eq!(said, None);
        mark.set(77).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().1, Some(77));
        fs::write(dir.path().join("mark"), [1; 12]).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().1, None);
    }
}
