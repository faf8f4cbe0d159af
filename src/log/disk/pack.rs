//! Packs: records of one stream side by side in one row of the store.
//!
//! Owns how records are gathered into rows of at most one piece, and read again. **Persisted.**

use super::journal::entry::{Reader, put_records};
use super::schema::ROW_BYTES_MAX;
use crate::log::Block;

/// A packer: it gathers records into packs of at most one piece each; a larger record is a pack of its own.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    first_seq: u64,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Packer {
    /// Adds a record; returns the pack that was full before it.
    pub(crate) fn add(&mut self, seq: u64, record: &[u8]) -> Option<(u64, Vec<u8>)> {
        let grown = 4 + 4 * (self.ends.len() + 1) + self.bytes.len() + record.len();
        let full = if grown > ROW_BYTES_MAX { self.finish() } else { None };
        if self.ends.is_empty() {
            self.first_seq = seq;
        }
        self.bytes.extend_from_slice(record);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a pack is small"));
        full
    }

    /// Returns the last pack, if there are records in it.
    pub(crate) fn finish(&mut self) -> Option<(u64, Vec<u8>)> {
        if self.ends.is_empty() {
            return None;
        }
        let mut row = Vec::with_capacity(4 + 4 * self.ends.len() + self.bytes.len());
        put_records(&mut row, &self.ends, &self.bytes);
        self.ends.clear();
        self.bytes.clear();
        Some((self.first_seq, row))
    }
}

/// Reads the records of a pack.
pub(crate) fn unpack(first_seq: u64, row: &[u8]) -> Option<Block> {
    Reader(row).records(first_seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_of_packs_as_they_went_in() {
        let records: Vec<Vec<u8>> = (0..200_usize).map(|i| vec![i as u8; (i * 37) % 7000]).collect();
        let mut packer = Packer::default();
        let mut packs = Vec::new();
        for (seq, record) in (5..).zip(&records) {
            packs.extend(packer.add(seq, record));
        }
        packs.extend(packer.finish());
        let mut next = 5;
        for (first, row) in packs {
            let block = unpack(first, &row).unwrap();
            assert_eq!(block.first_seq, next);
            assert!(row.len() <= ROW_BYTES_MAX || block.ends.len() == 1);
            for seq in first..block.next_seq() {
                assert_eq!(block.record(seq), records[seq as usize - 5]);
            }
            next = block.next_seq();
        }
        assert_eq!(next, 205);
    }
}
