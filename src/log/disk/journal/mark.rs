//! The mark: the number of the last tick that was acknowledged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The number of the last tick that a caller got an answer for. It is written after each sync and not synced itself:
/// after a crash of the broker it is exact; after a power cut it may be older, but never newer than what `durability =
/// "power"` has on disk.
#[derive(Debug)]
pub(crate) struct Mark(File);

impl Mark {
    /// Opens the mark of `dir`; also returns the tick that it names, or `None` if the file is empty or damaged.
    pub(crate) fn open(dir: &Path) -> io::Result<(Mark, Option<u64>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("mark"))?;
        let mut raw = [0; 12];
        let tick = file.read_exact_at(&mut raw, 0).ok().and_then(|()| {
            let (number, crc) = raw.split_first_chunk::<8>()?;
            (crc32fast::hash(number).to_le_bytes() == *crc).then_some(u64::from_le_bytes(*number))
        });
        Ok((Mark(file), tick))
    }

    /// Records that everything up to `tick` is acknowledged.
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

    #[test]
    fn a_mark_says_what_was_set_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mark, tick) = Mark::open(dir.path()).unwrap();
        assert_eq!(tick, None);
        mark.set(77).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().1, Some(77));
        std::fs::write(dir.path().join("mark"), [1; 12]).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().1, None);
    }
}
