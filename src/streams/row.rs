//! Users' streams as rows of the log.
//!
//! Owns the keys and contents of their rows. **Persisted: change by adding fields or kinds.** An append is one short row
//! and a shorter one with the position of the next; rows that grow with a stream are named by its id, so that a new stream
//! under an old path shares nothing with the old one.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Key;
use crate::dialect::durable_streams::{Lifetime, Producer};
use crate::job::{Epoch, StreamId, Timestamp};
use crate::wire::row;

/// gateway, path → [`Head`].
const HEAD: u8 = b'h';
/// Kind of the rows id → [`Mark`].
const MARK: u8 = b't';
/// id, position → content.
const CONTENT: u8 = b'm';
/// id, producer → [`Seen`].
const PRODUCER: u8 = b'p';
/// The time to check whether it has expired, id → gateway, path.
const DUE: u8 = b'e';
/// id → nothing: a stream whose rows are to be removed.
const DOOMED: u8 = b'd';

/// The head of a stream: everything about it that never changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) id: StreamId,
    pub(super) content_type: Box<str>,
    pub(super) lifetime: Lifetime,
    pub(super) created_at: Timestamp,
}

impl Head {
    /// Returns the epoch of the stream: the random end of its id.
    pub(super) fn epoch(&self) -> Epoch {
        let [.., a, b, c, d] = self.id.0;
        Epoch(u32::from_be_bytes([a, b, c, d]))
    }
}

/// The state of a stream that changes with appends.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The position of the next content.
    pub(super) next: u64,
    /// Whether the stream is closed.
    pub(super) closed: bool,
    /// The producer that closed it, and its append.
    pub(super) closed_by: Option<Producer>,
    /// The last `Stream-Seq` that a client sent.
    pub(super) seq: Option<Box<str>>,
    /// The time of the last read or write, as far as its lifetime depends on it.
    pub(super) used_at: Timestamp,
}

/// The last append that was taken from a producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) epoch: u64,
    pub(super) seq: u64,
}

fn named(kind: u8, parts: &[&[u8]]) -> Bytes {
    let mut key = Vec::with_capacity(2 + parts.iter().map(|part| part.len()).sum::<usize>());
    // The first byte keeps these rows apart from those of other owners.
    key.extend_from_slice(&[b's', kind]);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key.into()
}

fn place(key: &Key) -> Vec<u8> {
    [key.gateway.as_str().as_bytes(), &[0], key.path.as_bytes()].concat()
}

/// Returns the key of a head.
pub(super) fn head(key: &Key) -> Bytes {
    named(HEAD, &[&place(key)])
}

/// Returns the key of a mark.
pub(super) fn mark(id: StreamId) -> Bytes {
    named(MARK, &[&id.0])
}

/// Returns the prefix of the keys of a stream's content.
pub(super) fn contents(id: StreamId) -> Bytes {
    named(CONTENT, &[&id.0])
}

/// Returns the key of the content at a position.
pub(super) fn content(id: StreamId, position: u64) -> Bytes {
    named(CONTENT, &[&id.0, &position.to_be_bytes()])
}

/// Reads the position from such a key.
pub(super) fn position(key: &[u8]) -> Option<u64> {
    key.last_chunk().copied().map(u64::from_be_bytes)
}

/// Returns the prefix of the keys of a stream's producers.
pub(super) fn producers(id: StreamId) -> Bytes {
    named(PRODUCER, &[&id.0])
}

/// Returns the key of a producer.
pub(super) fn producer(id: StreamId, name: &str) -> Bytes {
    named(PRODUCER, &[&id.0, name.as_bytes()])
}

/// Returns the prefix of the keys of all streams that are to be removed.
pub(super) fn all_doomed() -> Bytes {
    named(DOOMED, &[])
}

/// Returns the key that marks a stream for removal.
pub(super) fn to_delete(id: StreamId) -> Bytes {
    named(DOOMED, &[&id.0])
}

/// Reads the stream from such a key.
pub(super) fn doomed_of(key: &[u8]) -> Option<StreamId> {
    key.last_chunk().copied().map(StreamId)
}

/// Returns the prefix of the keys of all streams that may expire; the earliest is first.
pub(super) fn all_due() -> Bytes {
    named(DUE, &[])
}

/// Returns the key under which the expiry checks a stream.
pub(super) fn due(at: Timestamp, id: StreamId) -> Bytes {
    named(DUE, &[&at.0.to_be_bytes(), &id.0])
}

/// Returns the content of the row under [`due`].
pub(super) fn due_row(key: &Key) -> Bytes {
    place(key).into()
}

/// Reads the time and the stream from such a row.
pub(super) fn due_of(key: &[u8], row: &[u8]) -> Option<(Timestamp, StreamId, Key)> {
    let (at, id) = key.get(2..)?.split_first_chunk()?;
    let split = row.iter().position(|byte| *byte == 0)?;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let key = Key { gateway: text(&row[..split])?.parse().ok()?, path: text(&row[split + 1..])?.into() };
    Some((Timestamp(u64::from_be_bytes(*at)), StreamId(id.try_into().ok()?), key))
}

/// Encodes a row's value.
pub(super) fn bytes(value: &impl Serialize) -> Bytes {
    row::encode(value).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_names_is_read_from_it() {
        let id = StreamId([7; 16]);
        let key = Key { gateway: "team".parse().unwrap(), path: "a/b".into() };
        let at = Timestamp(1_795_255_200_123);
        assert_eq!(due_of(&due(at, id), &due_row(&key)), Some((at, id, key)));
        assert_eq!(position(&content(id, 300)), Some(300));
        assert_eq!(doomed_of(&to_delete(id)), Some(id));
        assert!(content(id, 255) < content(id, 256) && content(id, 1).starts_with(&contents(id)));
        assert!(due(Timestamp(255), id) < due(Timestamp(256), StreamId([0; 16])));
    }

    #[test]
    fn a_row_written_is_the_row_read() {
        let mark = Mark { next: 3, closed: true, seq: Some("09".into()), ..Mark::default() };
        assert_eq!(row::decode(&bytes(&mark)), Some(mark));
        for lifetime in [Lifetime::Unlimited, Lifetime::Idle(5), Lifetime::Until(Timestamp(9))] {
            let head =
                Head { id: StreamId([1; 16]), content_type: "text/plain".into(), lifetime, created_at: Timestamp(1) };
            assert_eq!(row::decode(&bytes(&head)), Some(head));
        }
    }
}
