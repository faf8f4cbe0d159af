//! The schema of the store: its trees, keys and rows.
//!
//! Owns their names and layout. **Persisted: change by adding fields or trees.** Rows that change are small, so that one
//! row is one write; rows that may be large (heads, jobs, packs) are written once and never changed.

use sha2::{Digest, Sha256};

use crate::job::{Epoch, Gateway, RollupKey, StreamId, Sums, Timestamp};
use crate::log::stream::Outcome;
use crate::wire::row;

/// A tree of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tree {
    /// stream + first seq → records.
    Packs,
    /// Rows of stream → [`crate::log::Head`].
    Heads,
    /// Rows of stream → [`StreamRow`].
    Streams,
    /// stream → the job's JSON.
    Jobs,
    /// stream → nothing: sealed in part and not finished.
    Open,
    /// job id → stream.
    Ids,
    /// gateway, idempotency key → stream.
    Keys,
    /// Rows of line → [`crate::job::Charge`].
    Ledger,
    /// hour + key's hash → last line added, [`Sums`].
    Rollups,
    /// hour + key's hash → [`RollupKey`].
    RollupKeys,
    /// finished at + stream → bytes: what the log's own retention applies to.
    Expiry,
    /// due at + stream → finished at, bytes: what has a retention of its own.
    ExpiryOwn,
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
    /// All trees of the store.
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
        Tree::Expiry,
        Tree::ExpiryOwn,
        Tree::Tombstones,
        Tree::TombstonesDue,
        Tree::Meta,
        Tree::Rows,
    ];

    /// Returns the tree's name on disk.
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
            Tree::Expiry => "expiry",
            Tree::ExpiryOwn => "expiry_own",
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
    /// The epoch of the stream.
    pub(crate) epoch: Epoch,
    /// The `seq` after the last sealed record.
    pub(crate) sealed: u64,
    /// Bytes of its packs in the store.
    pub(crate) bytes: u64,
    /// The outcome of the job, once it has finished.
    pub(crate) outcome: Option<Outcome>,
}

/// Returns a key for `number`; such keys sort as the numbers do.
pub(crate) fn line_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Returns the key of the pack that begins with record `first_seq`.
pub(crate) fn pack_key(stream: StreamId, first_seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&stream.0);
    key[16..].copy_from_slice(&first_seq.to_be_bytes());
    key
}

/// Reads the stream and the first record from the key of a pack.
pub(crate) fn parse_pack_key(key: &[u8]) -> Option<(StreamId, u64)> {
    let (stream, seq) = key.split_at_checked(16)?;
    Some((StreamId(stream.try_into().ok()?), u64::from_be_bytes(seq.try_into().ok()?)))
}

/// Returns a key that sorts by time.
pub(crate) fn time_key(at: Timestamp, stream: StreamId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&at.0.to_be_bytes());
    key[8..].copy_from_slice(&stream.0);
    key
}

/// Reads the time and the stream from such a key.
pub(crate) fn parse_time_key(key: &[u8]) -> Option<(Timestamp, StreamId)> {
    let (at, stream) = key.split_at_checked(8)?;
    Some((Timestamp(u64::from_be_bytes(at.try_into().ok()?)), StreamId(stream.try_into().ok()?)))
}

/// Returns the key under which an idempotency key stands.
pub(crate) fn idempotency_key(gateway: &Gateway, key: &str) -> Vec<u8> {
    [gateway.as_str().as_bytes(), &[0], key.as_bytes()].concat()
}

/// Returns the key of a rollup: its hour, then a hash of the rest.
pub(crate) fn rollup_key(key: &RollupKey) -> [u8; 20] {
    let digest = Sha256::digest(row::encode(key));
    let mut out = [0; 20];
    out[..4].copy_from_slice(&key.hour.to_be_bytes());
    out[4..].copy_from_slice(&digest[..16]);
    out
}

/// Reads the stream that a row of 16 bytes names.
pub(crate) fn stream_of(bytes: &[u8]) -> Option<StreamId> {
    bytes.try_into().ok().map(StreamId)
}

/// Reads the number that a row of 8 bytes holds.
pub(crate) fn number_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// A rollup: the last ledger line that was added, so that adding again after a crash does nothing.
pub(crate) type RollupRow = (u64, Sums);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_what_they_name() {
        let (a, b) = (StreamId([1; 16]), StreamId([2; 16]));
        assert!(pack_key(a, 255) < pack_key(a, 256) && pack_key(a, u64::MAX) < pack_key(b, 0));
        assert!(time_key(Timestamp(255), b) < time_key(Timestamp(256), a));
        assert_eq!(parse_pack_key(&pack_key(a, 7)), Some((a, 7)));
        assert_eq!(parse_time_key(&time_key(Timestamp(7), b)), Some((Timestamp(7), b)));
    }
}
