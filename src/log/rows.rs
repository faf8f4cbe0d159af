//! Rows: a small durable map beside the streams, on the same journal and under the same sync.
//!
//! Owns what a row is, the bytes of a batch of them, and those that are durable but not in the store
//! yet: whoever reads looks here first. Promises that a batch counts whole or not at all, and that
//! a row pins its journal file until it, or a newer one under its key, is sealed. Does no IO.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;

use crate::job::caps::{ROW_BYTES_MAX, ROW_KEY_BYTES_MAX, ROWS_BATCH_MAX};
use crate::job::{Code, Failure};

/// Bytes of unsealed rows in memory above which they are sealed. What is overwritten or removed
/// before that never reaches the store.
const UNSEALED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of memory that a row costs beyond its key and value.
const OVERHEAD_BYTES: usize = 128;
/// Instead of a value's length: the row is to be gone.
const GONE: u32 = u32::MAX;

/// What one row shall be. Owners keep apart by the first byte of their keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// 1 to [`ROW_KEY_BYTES_MAX`] bytes. Rows are read in the order of their keys.
    pub key: Bytes,
    /// At most [`ROW_BYTES_MAX`] bytes; `None` removes it.
    pub value: Option<Bytes>,
}

impl Row {
    /// A row that shall be there, whatever was there before.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Row {
        Row { key: key.into(), value: Some(value.into()) }
    }

    /// A row that shall be gone.
    pub fn remove(key: impl Into<Bytes>) -> Row {
        Row { key: key.into(), value: None }
    }
}

/// Which rows to read, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct RowRange {
    /// What their keys begin with.
    pub prefix: Bytes,
    /// Only after this key, which has the prefix: the last of the page before.
    pub after: Option<Bytes>,
    /// Rows at most.
    pub limit: usize,
    /// Bytes of values after which the page is full; one row is always read.
    pub budget_bytes: usize,
}

impl RowRange {
    /// Whether a page of `rows` with `bytes` of values takes another.
    pub(super) fn takes(&self, rows: usize, bytes: usize) -> bool {
        rows < self.limit && (rows == 0 || bytes < self.budget_bytes)
    }

    /// The first key that is in the range, or may be.
    pub(super) fn from(&self) -> Vec<u8> {
        match &self.after {
            Some(after) => [&after[..], &[0]].concat(),
            None => self.prefix.to_vec(),
        }
    }

    /// The first key after the range.
    pub(super) fn to(&self) -> Vec<u8> {
        let mut to = self.prefix.to_vec();
        while let Some(last) = to.pop() {
            if last < u8::MAX {
                to.push(last + 1);
                return to;
            }
        }
        vec![u8::MAX; ROW_KEY_BYTES_MAX + 1]
    }
}

/// The bytes of a batch. Nothing is written of an empty one.
///
/// # Errors
/// `too_large`.
pub(super) fn encode(rows: &[Row]) -> Result<Bytes, Failure> {
    let too_large = |what: String| Failure::new(Code::TooLarge, what);
    if rows.len() > ROWS_BATCH_MAX {
        return Err(too_large(format!("a batch of over {ROWS_BATCH_MAX} rows")));
    }
    let len = |row: &Row| 6 + row.key.len() + row.value.as_ref().map_or(0, Bytes::len);
    let mut out = Vec::with_capacity(rows.iter().map(len).sum());
    for Row { key, value } in rows {
        let key_len = u16::try_from(key.len()).ok().filter(|len| (1..=ROW_KEY_BYTES_MAX).contains(&usize::from(*len)));
        let key_len = key_len.ok_or_else(|| too_large(format!("a row's key of {} bytes", key.len())))?;
        let value_len = match value {
            None => GONE,
            Some(value) => u32::try_from(value.len())
                .ok()
                .filter(|_| value.len() <= ROW_BYTES_MAX)
                .ok_or_else(|| too_large(format!("a row is over {ROW_BYTES_MAX} bytes")))?,
        };
        out.extend_from_slice(&key_len.to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&value_len.to_le_bytes());
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    Ok(out.into())
}

/// Reads what [`encode`] wrote, sharing its bytes; `None` as soon as something does not add up.
pub(super) fn decode(bytes: &Bytes) -> Option<Vec<Row>> {
    let mut rest = bytes.clone();
    let mut take = |len: usize| (rest.len() >= len).then(|| rest.split_to(len));
    let mut rows = Vec::new();
    while let Some(len) = take(2) {
        let key = take(usize::from(u16::from_le_bytes(len[..].try_into().ok()?)))?;
        let value = match u32::from_le_bytes(take(4)?[..].try_into().ok()?) {
            GONE => None,
            len => Some(take(len as usize)?),
        };
        rows.push(Row { key, value });
    }
    rest.is_empty().then_some(rows)
}

/// A row that is durable and not sealed.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) value: Option<Bytes>,
    /// Counts what was held before it: a newer row under the same key has a higher one.
    pub(super) version: u64,
    /// The journal file that has it.
    file: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unsealed {
    rows: BTreeMap<Bytes, Held>,
    /// How many rows each file holds.
    files: HashMap<u64, usize>,
    bytes: usize,
    version: u64,
}

impl Unsealed {
    /// A batch is durable in `file`.
    pub(super) fn put(&mut self, file: u64, rows: Vec<Row>) {
        for Row { key, value } in rows {
            self.version += 1;
            self.bytes += weight(&key, value.as_ref());
            *self.files.entry(file).or_default() += 1;
            let held = Held { value, version: self.version, file };
            if let Some(before) = self.rows.insert(key.clone(), held) {
                self.let_go(&key, &before);
            }
        }
    }

    /// A row is in the store as it was at `version`.
    pub(super) fn sealed(&mut self, key: &Bytes, version: u64) {
        if self.rows.get(key).is_some_and(|held| held.version == version)
            && let Some(held) = self.rows.remove(key)
        {
            self.let_go(key, &held);
        }
    }

    fn let_go(&mut self, key: &Bytes, held: &Held) {
        self.bytes -= weight(key, held.value.as_ref());
        if let Some(count) = self.files.get_mut(&held.file) {
            *count -= 1;
            if *count == 0 {
                self.files.remove(&held.file);
            }
        }
    }

    /// The row under `key`; `Some(None)` if it is gone, `None` if only the store knows.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.rows.get(key).map(|held| held.value.clone())
    }

    /// The rows from `from` to before `to` in order, those that are gone included, until `limit` of
    /// them are there.
    pub(super) fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Bytes, Option<Bytes>)> {
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

    /// The next rows after `after`, none of them newer than `version`.
    pub(super) fn page(&self, after: Option<&Bytes>, version: u64, limit: usize) -> Vec<(Bytes, Held)> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(&after[..]));
        let rows = self.rows.range::<[u8], _>((from, Bound::Unbounded));
        let due = rows.filter(|(_, held)| held.version <= version).take(limit);
        due.map(|(key, held)| (key.clone(), held.clone())).collect()
    }

    /// The version of the newest row.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether they weigh so much that they are to be sealed.
    pub(super) fn is_heavy(&self) -> bool {
        self.bytes > UNSEALED_BYTES_MAX
    }

    /// Whether a row is unsealed that only `file` has.
    pub(super) fn pins(&self, file: u64) -> bool {
        self.files.contains_key(&file)
    }
}

fn weight(key: &Bytes, value: Option<&Bytes>) -> usize {
    OVERHEAD_BYTES + key.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        vec![
            Row::put("a", "1"),
            Row::put(vec![0; ROW_KEY_BYTES_MAX], ""),
            Row::remove("b"),
            Row::put("a", vec![7; 999]),
        ]
    }

    #[test]
    fn a_batch_written_is_the_batch_read_and_a_cut_one_is_another() {
        let bytes = encode(&rows()).unwrap();
        assert_eq!(decode(&bytes), Some(rows()));
        for cut in 0..bytes.len() {
            assert_ne!(decode(&bytes.slice(..cut)), Some(rows()), "{cut}");
        }
        assert_eq!(decode(&Bytes::new()), Some(Vec::new()));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        for row in
            [Row::remove(""), Row::remove(vec![0; ROW_KEY_BYTES_MAX + 1]), Row::put("a", vec![0; ROW_BYTES_MAX + 1])]
        {
            assert_eq!(encode(&[row]).unwrap_err().code, Code::TooLarge);
        }
        assert_eq!(encode(&vec![Row::remove("a"); ROWS_BATCH_MAX + 1]).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn a_file_is_pinned_by_what_nothing_newer_stands_for() {
        let mut unsealed = Unsealed::default();
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

    #[test]
    fn a_range_is_what_begins_with_its_prefix() {
        let range = |prefix: &'static [u8], after: Option<&'static [u8]>| {
            let range = RowRange { prefix: prefix.into(), after: after.map(Bytes::from), limit: 9, budget_bytes: 9 };
            (range.from(), range.to())
        };
        assert_eq!(range(b"ab", None), (b"ab".to_vec(), b"ac".to_vec()));
        assert_eq!(range(b"ab", Some(b"abc")), (b"abc\0".to_vec(), b"ac".to_vec()));
        assert_eq!(range(b"a\xff", None), (b"a\xff".to_vec(), b"b".to_vec()));
        assert_eq!(range(b"\xff", None).1, vec![0xff; ROW_KEY_BYTES_MAX + 1]);
    }
}
