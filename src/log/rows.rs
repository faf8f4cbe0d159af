//! Rows: a small durable map beside the streams, on the same journal and under the same sync.
//!
//! Owns the types of rows, ranges and conditions, and the bytes of a batch. Promises that a batch counts whole or not at
//! all. Does no IO.

use bytes::Bytes;

use crate::job::caps::{ROW_BYTES_MAX, ROW_KEY_BYTES_MAX, ROWS_BATCH_MAX};
use crate::job::{Code, Failure};

/// The length that stands for a row that is removed.
const REMOVED: u32 = u32::MAX;

/// A row that is to be written or removed. Owners keep apart by the first byte of their keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// 1 to [`ROW_KEY_BYTES_MAX`] bytes. Rows are read in the order of their keys.
    pub key: Bytes,
    /// At most [`ROW_BYTES_MAX`] bytes; `None` removes it.
    pub value: Option<Bytes>,
}

impl Row {
    /// Makes a row that replaces any earlier value.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Row {
        Row { key: key.into(), value: Some(value.into()) }
    }

    /// Makes the removal of a row.
    pub fn remove(key: impl Into<Bytes>) -> Row {
        Row { key: key.into(), value: None }
    }
}

/// A condition on a stored row, for a conditional batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowCondition {
    /// Key of the row that is compared.
    pub key: Bytes,
    /// The value that the row must have; `None` if there must be no row.
    pub expected: Option<Bytes>,
}

impl RowCondition {
    /// Makes the condition that the row has this value.
    pub fn equals(key: impl Into<Bytes>, value: impl Into<Bytes>) -> RowCondition {
        RowCondition { key: key.into(), expected: Some(value.into()) }
    }

    /// Makes the condition that there is no row under the key.
    pub fn absent(key: impl Into<Bytes>) -> RowCondition {
        RowCondition { key: key.into(), expected: None }
    }
}

/// The result of a conditional write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowsWritten {
    /// All conditions held; the rows are durable.
    Written,
    /// A condition did not hold; nothing was written.
    Mismatch {
        /// The key of the first row that did not fit its condition.
        key: Bytes,
        /// The value that the row has; `None` if there is no row.
        found: Option<Bytes>,
    },
}

/// Compares conditions, in order, with the rows that `current` gives.
pub(super) fn compare(
    conditions: &[RowCondition],
    mut current: impl FnMut(&RowCondition) -> Option<Bytes>,
) -> RowsWritten {
    for condition in conditions {
        let found = current(condition);
        if found != condition.expected {
            return RowsWritten::Mismatch { key: condition.key.clone(), found };
        }
    }
    RowsWritten::Written
}

/// Checks the sizes of a conditional batch.
///
/// # Errors
/// `invalid` without conditions or rows, `too_large`.
pub(super) fn check_conditions(conditions: &[RowCondition], rows: &[Row]) -> Result<(), Failure> {
    if conditions.is_empty() || rows.is_empty() {
        return Err(Failure::invalid("rows", "a conditional batch needs a condition and a row"));
    }
    match conditions.len() {
        ..=ROWS_BATCH_MAX => Ok(()),
        _ => Err(Failure::new(Code::TooLarge, format!("a batch of over {ROWS_BATCH_MAX} conditions"))),
    }
}

/// A page of rows to read, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct RowRange {
    /// The prefix of the keys that are read.
    pub prefix: Bytes,
    /// The key after which the page begins: the last one of the page before. It has the prefix.
    pub after: Option<Bytes>,
    /// The greatest number of rows in the page.
    pub limit: usize,
    /// Bytes of values after which the page is full; one row is always read.
    pub budget_bytes: usize,
}

impl RowRange {
    /// Returns whether a page of `rows` with `bytes` of values takes another row.
    pub(super) fn takes(&self, rows: usize, bytes: usize) -> bool {
        rows < self.limit && (rows == 0 || bytes < self.budget_bytes)
    }

    /// Returns the first key that may be in the range.
    pub(super) fn from(&self) -> Vec<u8> {
        match &self.after {
            Some(after) => [&after[..], &[0]].concat(),
            None => self.prefix.to_vec(),
        }
    }

    /// Returns the first key after the range.
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

/// Encodes a batch. An empty batch has no bytes.
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
            None => REMOVED,
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

/// Reads a batch that [`encode`] wrote, sharing its bytes; `None` where the bytes are not valid.
pub(super) fn decode(bytes: &Bytes) -> Option<Vec<Row>> {
    let mut rest = bytes.clone();
    let mut take = |len: usize| (rest.len() >= len).then(|| rest.split_to(len));
    let mut rows = Vec::new();
    while let Some(len) = take(2) {
        let key = take(usize::from(u16::from_le_bytes(len[..].try_into().ok()?)))?;
        let value = match u32::from_le_bytes(take(4)?[..].try_into().ok()?) {
            REMOVED => None,
            len => Some(take(len as usize)?),
        };
        rows.push(Row { key, value });
    }
    rest.is_empty().then_some(rows)
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
