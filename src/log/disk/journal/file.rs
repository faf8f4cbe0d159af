//! Journal files: their names and sizes.
//!
//! Owns creating files with all their space, recycling and removing them. Does not know what they hold.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// Bytes of a file in a journal of the default size.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a file in a small journal.
const FILE_BYTES_MIN: u64 = 1024 * 1024;

/// Returns the bytes of one file in a journal of `journal_bytes_max`: a sixteenth, so that the oldest file can be given
/// back while the others are in use.
pub(crate) fn file_bytes(journal_bytes_max: u64) -> u64 {
    (journal_bytes_max / 16).clamp(FILE_BYTES_MIN, FILE_BYTES_MAX)
}

/// Returns the number of files in such a journal: at least one to write, one to seal from, and a reserve.
pub(crate) fn files_max(journal_bytes_max: u64) -> usize {
    usize::try_from(journal_bytes_max / file_bytes(journal_bytes_max)).unwrap_or(usize::MAX).max(4)
}

/// A journal file open for writing.
#[derive(Debug)]
pub(crate) struct JournalFile {
    /// The number that orders the files; it is part of every checksum.
    pub(crate) number: u64,
    file: File,
    /// Bytes that are preallocated.
    pub(crate) bytes: u64,
}

impl JournalFile {
    /// Creates a new file with all its space.
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

/// Removes the journal file `number`.
pub(crate) fn remove(dir: &Path, number: u64) -> io::Result<()> {
    fs::remove_file(path(dir, number))
}

/// Returns the path of file `number`.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.journal"))
}

/// Lists the numbers of all files, in order.
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
