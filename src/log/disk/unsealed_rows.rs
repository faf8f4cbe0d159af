//! Rows that are durable and not in the store yet: readers look here first.
//!
//! Promises that a row pins its journal file until it, or a newer one under its key, is sealed. Does no IO.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;

use crate::log::rows::Row;

/// Bytes of unsealed rows in memory above which they are sealed. What is overwritten or removed
/// before that never reaches the store.
const UNSEALED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of memory that a row costs beyond its key and value.
const OVERHEAD_BYTES: usize = 128;

/// A row that is durable and not sealed.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) value: Option<Bytes>,
    /// The version of the row: a newer row under the same key has a higher one.
    pub(crate) version: u64,
    /// The journal file that holds the row.
    file: u64,
}

/// The rows by key, with what keeps their journal files.
#[derive(Debug, Default)]
pub(crate) struct UnsealedRows {
    rows: BTreeMap<Bytes, Held>,
    /// Number of rows that each file holds.
    files: HashMap<u64, usize>,
    bytes: usize,
    version: u64,
    /// Keys that a conditional write on its way compares.
    watched: HashMap<Bytes, Watched>,
}

/// A key that conditional writes compare, and the row that was sealed since the first of them began.
#[derive(Debug, Default)]
struct Watched {
    writes: usize,
    /// The row that was sealed last; `None` if none was.
    sealed: Option<Option<Bytes>>,
}

impl UnsealedRows {
    /// Adds a batch that is durable in `file`.
    pub(crate) fn put(&mut self, file: u64, rows: Vec<Row>) {
        for Row { key, value } in rows {
            self.version += 1;
            self.bytes += weight(&key, value.as_ref());
            *self.files.entry(file).or_default() += 1;
            let held = Held { value, version: self.version, file };
            if let Some(before) = self.rows.insert(key.clone(), held) {
                self.release(&key, &before);
            }
        }
    }

    /// Removes a row that is in the store as it was at `version`.
    pub(crate) fn sealed(&mut self, key: &Bytes, version: u64) {
        if self.rows.get(key).is_some_and(|held| held.version == version)
            && let Some(held) = self.rows.remove(key)
        {
            self.release(key, &held);
            if let Some(watched) = self.watched.get_mut(key) {
                watched.sealed = Some(held.value);
            }
        }
    }

    fn release(&mut self, key: &Bytes, held: &Held) {
        self.bytes -= weight(key, held.value.as_ref());
        if let Some(count) = self.files.get_mut(&held.file) {
            *count -= 1;
            if *count == 0 {
                self.files.remove(&held.file);
            }
        }
    }

    /// Returns the row under `key`; `Some(None)` if it was removed, `None` if only the store can tell.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.rows.get(key).map(|held| held.value.clone())
    }

    /// Remembers the row under `key` while a conditional write is on its way, even if it is sealed meanwhile.
    pub(crate) fn watch(&mut self, key: &Bytes) {
        self.watched.entry(key.clone()).or_default().writes += 1;
    }

    /// Ends one call of [`UnsealedRows::watch`].
    pub(crate) fn unwatch(&mut self, key: &Bytes) {
        if let Some(watched) = self.watched.get_mut(key) {
            watched.writes -= 1;
            if watched.writes == 0 {
                self.watched.remove(key);
            }
        }
    }

    /// Returns the row under a watched key; `None` if it is still the row that the store held when the watch began.
    pub(crate) fn get_watched(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.get(key).or_else(|| self.watched.get(key).and_then(|watched| watched.sealed.clone()))
    }

    /// Returns the rows from `from` to before `to` in order, removed ones included, until `limit` rows with a value are
    /// found.
    pub(crate) fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Bytes, Option<Bytes>)> {
        let (mut found, mut there) = (Vec::new(), 0);
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        if from >= to {
            return found;
        }
        for (key, held) in self.rows.range::<[u8], _>(bounds) {
            if there == limit {
                break;
            }
            there += usize::from(held.value.is_some());
            found.push((key.clone(), held.value.clone()));
        }
        found
    }

    /// Returns the next rows after `after`, none of them newer than `version`.
    pub(crate) fn page(&self, after: Option<&Bytes>, version: u64, limit: usize) -> Vec<(Bytes, Held)> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(&after[..]));
        let rows = self.rows.range::<[u8], _>((from, Bound::Unbounded));
        let due = rows.filter(|(_, held)| held.version <= version).take(limit);
        due.map(|(key, held)| (key.clone(), held.clone())).collect()
    }

    /// Returns the version of the newest row.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns whether no row is unsealed.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether the rows take so much memory that they should be sealed.
    pub(crate) fn is_heavy(&self) -> bool {
        self.bytes > UNSEALED_BYTES_MAX
    }

    /// Returns whether `file` holds a row that is not sealed.
    pub(crate) fn pins(&self, file: u64) -> bool {
        self.files.contains_key(&file)
    }
}

fn weight(key: &Bytes, value: Option<&Bytes>) -> usize {
    OVERHEAD_BYTES + key.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_pinned_by_what_nothing_newer_stands_for() {
        let mut unsealed = UnsealedRows::default();
        let one = |key: &'static str| vec![Row::put(key, "v")];
        unsealed.put(1, one("a"));
        unsealed.put(1, one("b"));
        unsealed.put(2, one("a"));
        assert!(unsealed.pins(1) && unsealed.pins(2));
        let page = unsealed.page(None, unsealed.version(), 10);
        unsealed.put(3, one("b"));
        assert!(!unsealed.pins(1), "both its rows are newer elsewhere");
        for (key, held) in page {
            unsealed.sealed(&key, held.version);
        }
        assert!(!unsealed.pins(2) && unsealed.pins(3), "what is newer than what was sealed stays");
        unsealed.sealed(&"b".into(), unsealed.version());
        assert!(unsealed.is_empty());
        assert_eq!((unsealed.bytes, unsealed.files.len()), (0, 0));
    }
}
