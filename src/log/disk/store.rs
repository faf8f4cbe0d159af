//! The store: the one file that names sled.
//!
//! Owns trees of checked rows of any size, and everything that sled 0.34.7 needs around it: no row over 6 KiB (its pages
//! would become blob files, which it neither syncs nor frees), a sync of its file, which its own `flush` does not do,
//! removal of leftovers before it is opened, and moving a database aside that it cannot open.

use std::fs::{self, File};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use super::schema::{ROW_BYTES_MAX, Tree};
use crate::job::{Failure, Timestamp};

/// Bytes of a segment of sled's file. A page of 16 rows must stay below a quarter of it, or sled
/// makes a blob file of it: hence [`ROW_BYTES_MAX`].
const SEGMENT_BYTES: usize = 512 * 1024;
/// Bytes of pages that sled keeps in memory.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Milliseconds between sled's own flushes; the sealer's come about once a second.
const FLUSH_EVERY_MS: u64 = 500;
/// Bytes before a row's content: its length and its checksum.
const ROW_HEADER_BYTES: usize = 8;

/// sled, with rows of any size (cut into pieces), checked, and with errors instead of panics.
///
/// A row's pieces have its key and one byte more. The first piece is written last: without it the
/// others do not count.
pub(crate) struct Store {
    dir: PathBuf,
    /// sled's file, opened a second time to sync it.
    file: File,
    trees: Vec<sled::Tree>,
    db: sled::Db,
}

impl Store {
    /// Opens the store in `dir`, moving one aside that cannot be opened. Blocks. Returns notes for the operator.
    pub(crate) fn open(dir: &Path, now: Timestamp) -> Result<(Store, Vec<String>), Failure> {
        let why = match Store::open_once(dir) {
            Ok(store) => return Ok((store, Vec::new())),
            Err(OpenError::Io(failure)) => return Err(failure),
            Err(OpenError::Broken(why)) => why,
        };
        let aside = dir.with_file_name(format!("sled.broken-{}", now.0));
        fs::rename(dir, &aside).map_err(|error| Failure::internal(format!("{}: {error}", dir.display())))?;
        let note = format!(
            "the database of sealed jobs could not be opened ({why}); it was moved to {} and the log goes on with what \
             the journal holds: sealed jobs and the ledger are missing",
            aside.display()
        );
        match Store::open_once(dir) {
            Ok(store) => Ok((store, vec![note])),
            Err(OpenError::Io(failure)) => Err(failure),
            Err(OpenError::Broken(why)) => Err(Failure::internal(format!("sled cannot make a database: {why}"))),
        }
    }

    fn open_once(dir: &Path) -> Result<Store, OpenError> {
        let io = |error: std::io::Error| OpenError::Io(Failure::internal(format!("{}: {error}", dir.display())));
        fs::create_dir_all(dir).map_err(io)?;
        for entry in fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            // What a kill leaves of an unfinished snapshot; sled would refuse to open for it.
            if path.extension().is_some_and(|extension| extension == "generating") {
                fs::remove_file(&path).map_err(io)?;
            }
        }
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let config = sled::Config::new().path(dir).segment_size(SEGMENT_BYTES).cache_capacity(CACHE_BYTES);
            let db = config.flush_every_ms(Some(FLUSH_EVERY_MS)).open()?;
            let trees = Tree::ALL.iter().map(|tree| db.open_tree(tree.name())).collect::<Result<_, _>>()?;
            Ok::<_, sled::Error>((db, trees))
        }));
        match opened {
            Ok(Ok((db, trees))) => {
                let file = File::open(dir.join("db")).map_err(io)?;
                Ok(Store { dir: dir.to_owned(), file, trees, db })
            }
            Ok(Err(sled::Error::Io(error))) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(io(error)),
            Ok(Err(error)) => Err(OpenError::Broken(error.to_string())),
            Err(_) => Err(OpenError::Broken("it panicked".into())),
        }
    }

    fn tree(&self, tree: Tree) -> &sled::Tree {
        &self.trees[tree as usize]
    }

    /// Writes a row. Writing it again does nothing.
    pub(crate) fn put(&self, tree: Tree, key: &[u8], row: &[u8]) -> Result<(), Failure> {
        let len = u32::try_from(row.len()).map_err(|_| Failure::internal("a row over 4 GiB"))?;
        let (head, rest) = row.split_at(row.len().min(ROW_BYTES_MAX));
        guarded(|| {
            for (piece, part) in rest.chunks(ROW_BYTES_MAX).enumerate() {
                self.tree(tree).insert(piece_key(key, piece + 1)?, part)?;
            }
            let mut first = Vec::with_capacity(ROW_HEADER_BYTES + head.len());
            first.extend_from_slice(&len.to_le_bytes());
            first.extend_from_slice(&crc32fast::hash(row).to_le_bytes());
            first.extend_from_slice(head);
            self.tree(tree).insert(piece_key(key, 0)?, first)?;
            Ok(())
        })
    }

    /// Reads a row. A damaged one is an error.
    pub(crate) fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let first = guarded(|| self.tree(tree).get(piece_key(key, 0)?))?;
        first.map(|first| self.whole(tree, key, &first)).transpose()
    }

    fn whole(&self, tree: Tree, key: &[u8], first: &[u8]) -> Result<Vec<u8>, Failure> {
        let damaged = || Failure::internal(format!("a row of {} is damaged", tree.name()));
        let (len, rest) = first.split_first_chunk().ok_or_else(damaged)?;
        let (crc, head) = rest.split_first_chunk().ok_or_else(damaged)?;
        let len = u32::from_le_bytes(*len) as usize;
        let mut row = head.to_vec();
        let mut piece = 1;
        while row.len() < len {
            let part = guarded(|| self.tree(tree).get(piece_key(key, piece)?))?.ok_or_else(damaged)?;
            row.extend_from_slice(&part);
            piece += 1;
        }
        (crc32fast::hash(&row) == u32::from_le_bytes(*crc)).then_some(row).ok_or_else(damaged)
    }

    /// Removes a row and all its pieces.
    pub(crate) fn remove(&self, tree: Tree, key: &[u8]) -> Result<(), Failure> {
        guarded(|| {
            let Some(first) = self.tree(tree).remove(piece_key(key, 0)?)? else { return Ok(()) };
            for piece in 1..pieces_of(&first) {
                self.tree(tree).remove(piece_key(key, piece)?)?;
            }
            Ok(())
        })
    }

    /// Replaces a row, whatever was there before. An interrupted replacement leaves a damaged row: the caller keeps the
    /// new value until this is done.
    pub(crate) fn replace(&self, tree: Tree, key: &[u8], row: Option<&[u8]>) -> Result<(), Failure> {
        guarded(|| {
            let before = self.tree(tree).get(piece_key(key, 0)?)?;
            // From the back, so that a repeat after a crash still finds how many there were.
            for piece in (pieces(row)..before.as_deref().map_or(0, pieces_of)).rev() {
                self.tree(tree).remove(piece_key(key, piece)?)?;
            }
            Ok(())
        })?;
        row.map_or(Ok(()), |row| self.put(tree, key, row))
    }

    /// Removes all rows of a tree.
    pub(crate) fn clear(&self, tree: Tree) -> Result<(), Failure> {
        guarded(|| self.tree(tree).clear())
    }

    /// Visits rows from `from` to before `to` until the visitor returns `false`.
    pub(crate) fn scan(&self, tree: Tree, from: &[u8], to: &[u8], visit: Visitor<'_>) -> Result<(), Failure> {
        self.scan_unknown(tree, (from, to), &|_| false, visit)
    }

    /// Visits rows as [`Store::scan`] does, without reading the rows that are `known`.
    pub(crate) fn scan_unknown(
        &self,
        tree: Tree,
        (from, to): (&[u8], &[u8]),
        known: &dyn Fn(&[u8]) -> bool,
        visit: Visitor<'_>,
    ) -> Result<(), Failure> {
        let mut rows = self.tree(tree).range(from..to);
        while let Some((key, first)) = guarded(|| rows.next().transpose())? {
            if let Some((0, key)) = key.split_last()
                && !known(key)
                && !visit(key, self.whole(tree, key, &first)?)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Visits keys from before `to` downwards until the visitor returns `false`.
    pub(crate) fn scan_back(
        &self,
        tree: Tree,
        to: &[u8],
        visit: &mut dyn FnMut(&[u8]) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut rows = self.tree(tree).range(..to);
        while let Some((key, _)) = guarded(|| rows.next_back().transpose())? {
            if let Some((0, key)) = key.split_last()
                && !visit(key)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Makes every row written so far survive a power cut. `flush` alone does not.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        guarded(|| self.db.flush().map(|_| ()))?;
        self.file.sync_data().map_err(|error| Failure::internal(format!("sled's file: {error}")))
    }

    /// Returns the bytes on disk, and the number of blob files.
    pub(crate) fn size(&self) -> (u64, u64) {
        let bytes = self.file.metadata().map_or(0, |meta| meta.len());
        let blobs = fs::read_dir(self.dir.join("blobs")).map_or(0, |files| files.count() as u64);
        (bytes, blobs)
    }
}

/// A visitor gets a row's key and content and returns whether to go on.
type Visitor<'a> = &'a mut dyn FnMut(&[u8], Vec<u8>) -> Result<bool, Failure>;

enum OpenError {
    /// The disk or the directory failed: another try may succeed.
    Io(Failure),
    /// The database itself cannot be used.
    Broken(String),
}

/// Returns the number of pieces of a row.
fn pieces(row: Option<&[u8]>) -> usize {
    row.map_or(0, |row| row.len().div_ceil(ROW_BYTES_MAX).max(1))
}

/// Returns the number of pieces of the row whose first piece is `first`.
fn pieces_of(first: &[u8]) -> usize {
    let len = first.first_chunk().map_or(0, |len| u32::from_le_bytes(*len) as usize);
    len.div_ceil(ROW_BYTES_MAX).max(1)
}

fn piece_key(key: &[u8], piece: usize) -> sled::Result<Vec<u8>> {
    let piece = u8::try_from(piece).map_err(|_| sled::Error::Unsupported("a row of over 255 pieces".into()))?;
    let mut whole = Vec::with_capacity(key.len() + 1);
    whole.extend_from_slice(key);
    whole.push(piece);
    Ok(whole)
}

/// Runs `work` on sled, and turns a panic of sled into an error.
fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| Failure::internal(format!("sled: {error}"))),
        Err(_) => Err(Failure::internal("sled panicked")),
    }
}
