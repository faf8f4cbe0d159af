//! The entries of a journal tick, as bytes.
//!
//! Owns the layout of entries. **Persisted: change by adding kinds, never by changing what one means.** All numbers are
//! little-endian. Checksums are added by `tick.rs`.

use bytes::Bytes;

use crate::job::{Charge, Epoch, JobId, StreamId};
use crate::log::rows;
use crate::log::rows::Row;
use crate::log::{Block, Head};
use crate::wire::row;

const START: u8 = 1;
const CREATE: u8 = 2;
const APPEND: u8 = 3;
const FORGET: u8 = 4;
const ROWS: u8 = 5;

const INLINE: u8 = 0;
const FILE: u8 = 1;

/// The place of a job's JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum JobText {
    /// The JSON stands in the entry itself.
    Inline(Bytes),
    /// The JSON is in a file of its own, named after the stream.
    File,
}

impl JobText {
    /// Returns the bytes that it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        match self {
            JobText::Inline(text) => text.len(),
            JobText::File => 0,
        }
    }
}

/// One journal entry, as it is read.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The first entry of a file, with the last tick before it that counts. What older files hold after that tick was
    /// never acknowledged.
    Start { prev: u64 },
    /// A stream and its first record.
    Create { head: Box<Head>, epoch: Epoch, job: JobText, block: Block },
    /// Records, and the charges that stand in the ledger from line `first_line` on.
    Append { stream: StreamId, block: Block, first_line: u64, charges: Vec<Charge> },
    /// The removal of a stream.
    Forget { stream: StreamId, id: JobId },
    /// A batch of rows.
    Rows { rows: Vec<Row> },
}

/// Appends the bytes of an [`Entry::Start`].
pub(crate) fn put_start(out: &mut Vec<u8>, prev: u64) {
    out.push(START);
    out.extend_from_slice(&prev.to_le_bytes());
}

/// Appends the bytes of an [`Entry::Create`]; `head` is its MessagePack.
pub(crate) fn put_create(out: &mut Vec<u8>, epoch: Epoch, head: &[u8], job: &JobText, block: &Block) {
    out.push(CREATE);
    out.extend_from_slice(&epoch.0.to_le_bytes());
    put_bytes(out, head);
    match job {
        JobText::Inline(text) => {
            out.push(INLINE);
            put_bytes(out, text);
        }
        JobText::File => out.push(FILE),
    }
    put_block(out, block);
}

/// Returns the number of bytes that [`put_create`] appends.
pub(crate) fn create_len(head: &[u8], job: &JobText, block: &Block) -> usize {
    let job = match job {
        JobText::Inline(text) => 4 + text.len(),
        JobText::File => 0,
    };
    1 + 4 + 4 + head.len() + 1 + job + block_len(block)
}

/// Appends the bytes of an [`Entry::Append`]; `charges` is the MessagePack of a list, or empty.
pub(crate) fn put_append(out: &mut Vec<u8>, stream: StreamId, block: &Block, first_line: u64, charges: &[u8]) {
    out.push(APPEND);
    out.extend_from_slice(&stream.0);
    put_block(out, block);
    put_bytes(out, charges);
    if !charges.is_empty() {
        out.extend_from_slice(&first_line.to_le_bytes());
    }
}

/// Returns the number of bytes that [`put_append`] appends.
pub(crate) fn append_len(block: &Block, charges: &[u8]) -> usize {
    1 + 16 + block_len(block) + 4 + charges.len() + if charges.is_empty() { 0 } else { 8 }
}

/// Appends the bytes of an [`Entry::Forget`].
pub(crate) fn put_forget(out: &mut Vec<u8>, stream: StreamId, id: &JobId) {
    out.push(FORGET);
    out.extend_from_slice(&stream.0);
    put_bytes(out, id.as_str().as_bytes());
}

/// Returns the number of bytes that [`put_forget`] appends.
pub(crate) fn forget_len(id: &JobId) -> usize {
    1 + 16 + 4 + id.as_str().len()
}

/// Appends the bytes of an [`Entry::Rows`]; `rows` was encoded by [`rows::encode`]. Appends nothing for an empty batch.
pub(crate) fn put_rows(out: &mut Vec<u8>, rows: &[u8]) {
    if !rows.is_empty() {
        out.push(ROWS);
        put_bytes(out, rows);
    }
}

/// Returns the number of bytes that [`put_rows`] appends.
pub(crate) fn rows_len(rows: &[u8]) -> usize {
    if rows.is_empty() { 0 } else { 1 + 4 + rows.len() }
}

fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("an append is bounded far below 4 GiB").to_le_bytes()
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&len32(bytes.len()));
    out.extend_from_slice(bytes);
}

fn put_block(out: &mut Vec<u8>, block: &Block) {
    out.extend_from_slice(&block.first_seq.to_le_bytes());
    put_records(out, &block.ends, &block.bytes);
}

fn block_len(block: &Block) -> usize {
    8 + 4 + 4 * block.ends.len() + block.bytes.len()
}

/// Appends `count`, where each record ends, and the records: the body of a block and of a pack.
pub(crate) fn put_records(out: &mut Vec<u8>, ends: &[u32], bytes: &[u8]) {
    out.extend_from_slice(&len32(ends.len()));
    for end in ends {
        out.extend_from_slice(&end.to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

/// A reader of what the functions above write; its methods return `None` where the bytes are not valid.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// Reads the next entry.
    pub(crate) fn entry(&mut self) -> Option<Entry> {
        Some(match self.byte()? {
            START => Entry::Start { prev: self.u64()? },
            CREATE => {
                let epoch = Epoch(self.u32()?);
                let head = row::decode(self.bytes()?)?;
                let job = match self.byte()? {
                    INLINE => JobText::Inline(Bytes::copy_from_slice(self.bytes()?)),
                    FILE => JobText::File,
                    _ => return None,
                };
                Entry::Create { head, epoch, job, block: self.block()? }
            }
            APPEND => {
                let stream = self.stream()?;
                let block = self.block()?;
                let charges = self.bytes()?;
                let (first_line, charges) = match charges {
                    [] => (0, Vec::new()),
                    charges => (self.u64()?, row::decode(charges)?),
                };
                Entry::Append { stream, block, first_line, charges }
            }
            FORGET => {
                let stream = self.stream()?;
                let id = std::str::from_utf8(self.bytes()?).ok()?.parse().ok()?;
                Entry::Forget { stream, id }
            }
            ROWS => Entry::Rows { rows: rows::decode(&Bytes::copy_from_slice(self.bytes()?))? },
            _ => return None,
        })
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// Reads the next four bytes as a number.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn stream(&mut self) -> Option<StreamId> {
        self.take(16).and_then(|bytes| bytes.try_into().ok()).map(StreamId)
    }

    fn block(&mut self) -> Option<Block> {
        let first_seq = self.u64()?;
        self.records(first_seq)
    }

    /// Reads the body of a block or pack whose first record is `first_seq`. Copies the records.
    pub(crate) fn records(&mut self, first_seq: u64) -> Option<Block> {
        let count = self.u32()? as usize;
        let raw = self.take(count.checked_mul(4)?)?;
        let ends: Box<[u32]> = raw.as_chunks().0.iter().map(|end| u32::from_le_bytes(*end)).collect();
        if !ends.is_sorted() {
            return None;
        }
        let bytes = self.take(ends.last().copied()? as usize)?;
        Some(Block { first_seq, bytes: Bytes::copy_from_slice(bytes), ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Timestamp;

    fn block() -> Block {
        let event = crate::job::Event::Restarted(crate::job::Restarted { attempt: 3 });
        Block::encode(7, Timestamp(5), &[event.clone(), event]).unwrap()
    }

    fn written(put: impl Fn(&mut Vec<u8>), len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        assert_eq!(out.len(), len);
        out
    }

    #[test]
    fn an_entry_written_is_the_entry_read_and_a_cut_one_is_none() {
        let id: JobId = "a-job".parse().unwrap();
        let stream = StreamId([9; 16]);
        let block = block();
        let rows = [Row::put("k", "v"), Row::remove("gone")];
        let encoded = rows::encode(&rows).unwrap();
        let cases = [
            written(|out| put_append(out, stream, &block, 0, &[]), append_len(&block, &[])),
            written(|out| put_append(out, stream, &block, 8, &[0x90]), append_len(&block, &[0x90])),
            written(|out| put_forget(out, stream, &id), forget_len(&id)),
            written(|out| put_start(out, 77), 9),
            written(|out| put_rows(out, &encoded), rows_len(&encoded)),
        ];
        for bytes in cases {
            let mut reader = Reader(&bytes);
            match reader.entry().unwrap() {
                Entry::Append { stream: known, block: read, .. } => {
                    assert_eq!((known, read.first_seq, &read.bytes), (stream, 7, &block.bytes));
                    assert_eq!(read.ends, block.ends);
                }
                Entry::Forget { id: known, .. } => assert_eq!(known, id),
                Entry::Start { prev } => assert_eq!(prev, 77),
                Entry::Rows { rows: read } => assert_eq!(read, rows),
                Entry::Create { .. } => unreachable!("none was written"),
            }
            assert!(reader.0.is_empty());
            for cut in 0..bytes.len() {
                assert!(Reader(&bytes[..cut]).entry().is_none(), "{cut}");
            }
        }
    }
}
