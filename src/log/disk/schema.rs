//! Keys and rows in sled.
//!
//! Owns what the rows are called and look like. **Persisted: change by adding fields or trees.**
//! Rows that change are small, so that one row is one write; whatever may be large (heads, jobs,
//! packs) is written once and never changed.

use sha2::{Digest, Sha256};

use super::journal::entry::{Reader, put_records};
use crate::job::{Charge, Epoch, Gateway, RollupKey, StreamId, Sums, Timestamp};
use crate::log::Block;
use crate::log::stream::Outcome;
use crate::wire::row;

/// A tree of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tree {
    /// stream + first seq → records.
    Packs,
    /// stream → [`crate::log::Head`].
    Heads,
    /// stream → [`StreamRow`].
    Streams,
    /// stream → the job's JSON.
    Jobs,
    /// stream → nothing: sealed in part and not finished.
    Open,
    /// job id → stream.
    Ids,
    /// gateway, idempotency key → stream.
    Keys,
    /// line → [`Charge`].
    Ledger,
    /// hour + key's hash → last line added, [`Sums`].
    Rollups,
    /// hour + key's hash → [`RollupKey`].
    RollupKeys,
    /// finished at + stream → bytes: what the log's own retention applies to.
    Aged,
    /// due at + stream → finished at, bytes: what has a retention of its own.
    Due,
    /// job id → stream, [`crate::log::Tombstone`].
    Tombstones,
    /// expired at + stream → job id.
    TombstonesDue,
    /// Single values by name.
    Meta,
    /// key → value: see [`crate::log::Row`].
    Rows,
}

impl Tree {
    /// All of them.
    pub(crate) const ALL: [Tree; 16] = [
        Tree::Packs,
        Tree::Heads,
        Tree::Streams,
        Tree::Jobs,
        Tree::Open,
        Tree::Ids,
        Tree::Keys,
        Tree::Ledger,
        Tree::Rollups,
        Tree::RollupKeys,
        Tree::Aged,
        Tree::Due,
        Tree::Tombstones,
        Tree::TombstonesDue,
        Tree::Meta,
        Tree::Rows,
    ];

    /// Its name on disk.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tree::Packs => "packs",
            Tree::Heads => "heads",
            Tree::Streams => "streams",
            Tree::Jobs => "jobs",
            Tree::Open => "open",
            Tree::Ids => "ids",
            Tree::Keys => "idem",
            Tree::Ledger => "ledger",
            Tree::Rollups => "rollups",
            Tree::RollupKeys => "rollup_keys",
            Tree::Aged => "expiry",
            Tree::Due => "expiry_own",
            Tree::Tombstones => "tombstones",
            Tree::TombstonesDue => "tombstones_due",
            Tree::Meta => "meta",
            Tree::Rows => "rows",
        }
    }
}

/// Name in [`Tree::Meta`] of the last tick whose every entry is sealed.
pub(crate) const FLOOR: &[u8] = b"floor";
/// In [`Tree::Meta`] while the sums are being added up again.
pub(crate) const REBUILDING: &[u8] = b"rebuilding";

/// Bytes of a row up to which the store keeps it in one piece.
pub(crate) const ROW_BYTES_MAX: usize = 6 * 1024 - 8;

/// A stream as far as it is sealed.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct StreamRow {
    /// Which life of the stream.
    pub(crate) epoch: Epoch,
    /// The `seq` after the last sealed record.
    pub(crate) sealed: u64,
    /// Bytes of its packs.
    pub(crate) bytes: u64,
    /// How it ended.
    pub(crate) outcome: Option<Outcome>,
}

/// `number` so that keys sort as numbers do.
pub(crate) fn line_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The key of the pack that begins with record `first_seq`.
pub(crate) fn pack_key(stream: StreamId, first_seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&stream.0);
    key[16..].copy_from_slice(&first_seq.to_be_bytes());
    key
}

/// What stream and record a pack's key names.
pub(crate) fn pack_of(key: &[u8]) -> Option<(StreamId, u64)> {
    let (stream, seq) = key.split_at_checked(16)?;
    Some((StreamId(stream.try_into().ok()?), u64::from_be_bytes(seq.try_into().ok()?)))
}

/// A key ordered by time.
pub(crate) fn aged_key(at: Timestamp, stream: StreamId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&at.0.to_be_bytes());
    key[8..].copy_from_slice(&stream.0);
    key
}

/// What time and stream such a key names.
pub(crate) fn aged_of(key: &[u8]) -> Option<(Timestamp, StreamId)> {
    let (at, stream) = key.split_at_checked(8)?;
    Some((Timestamp(u64::from_be_bytes(at.try_into().ok()?)), StreamId(stream.try_into().ok()?)))
}

/// The key of an idempotency key.
pub(crate) fn idempotency_key(gateway: &Gateway, key: &str) -> Vec<u8> {
    [gateway.as_str().as_bytes(), &[0], key.as_bytes()].concat()
}

/// The key of a rollup: its hour, then a hash of the rest.
pub(crate) fn rollup_key(key: &RollupKey) -> [u8; 20] {
    let digest = Sha256::digest(row::encode(key));
    let mut out = [0; 20];
    out[..4].copy_from_slice(&key.hour.to_be_bytes());
    out[4..].copy_from_slice(&digest[..16]);
    out
}

/// The stream that a row of 16 bytes names.
pub(crate) fn stream_of(bytes: &[u8]) -> Option<StreamId> {
    bytes.try_into().ok().map(StreamId)
}

/// The number that a row of 8 bytes holds.
pub(crate) fn number_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// A rollup: the last ledger line that was added, so that adding again after a crash does nothing.
pub(crate) type RollupRow = (u64, Sums);

/// A line of the ledger.
pub(crate) type LedgerRow = Charge;

/// Gathers records into packs of at most one piece each; a larger record is a pack of its own.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    first_seq: u64,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Packer {
    /// Adds a record; returns the pack that it did not fit into.
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

    /// The last pack, if anything is in it.
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

/// Reads a pack.
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

    #[test]
    fn keys_sort_as_what_they_name() {
        let (a, b) = (StreamId([1; 16]), StreamId([2; 16]));
        assert!(pack_key(a, 255) < pack_key(a, 256) && pack_key(a, u64::MAX) < pack_key(b, 0));
        assert!(aged_key(Timestamp(255), b) < aged_key(Timestamp(256), a));
        assert_eq!(pack_of(&pack_key(a, 7)), Some((a, 7)));
        assert_eq!(aged_of(&aged_key(Timestamp(7), b)), Some((Timestamp(7), b)));
    }
}
