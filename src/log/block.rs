//! Encoded records in memory: as appended ([`Block`]) and as read ([`Chunk`]).
//!
//! Owns the layout of records side by side. Does not look into a record.

use std::sync::Arc;

use bytes::Bytes;

use crate::job::{Event, Failure, Timestamp};
use crate::wire::record;

/// Bytes of memory that a block costs beyond its records: the `Arc`s, the ends, the ring slot.
const BLOCK_OVERHEAD_BYTES: usize = 96;

/// A block: records that were appended together, as they are stored.
#[derive(Debug)]
pub struct Block {
    /// The `seq` of the first record.
    pub first_seq: u64,
    /// The stored records, one after the other.
    pub bytes: Bytes,
    /// The offsets at which the records end in `bytes`.
    pub ends: Box<[u32]>,
}

impl Block {
    /// Encodes events whose first record gets `first_seq`.
    ///
    /// # Errors
    /// `too_large`.
    pub fn encode(first_seq: u64, at: Timestamp, events: &[Event]) -> Result<Block, Failure> {
        let mut bytes = Vec::with_capacity(64 * events.len());
        let mut ends = Vec::with_capacity(events.len());
        for event in events {
            record::encode(at, event, &mut bytes)?;
            ends.push(u32::try_from(bytes.len()).map_err(|_| Failure::internal("a batch over 4 GiB"))?);
        }
        Ok(Block { first_seq, bytes: bytes.into(), ends: ends.into() })
    }

    /// Returns the `seq` after the last record.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.first_seq + self.ends.len() as u64
    }

    /// Returns the stored bytes of record `seq`, which must be in this block.
    #[must_use]
    pub fn record(&self, seq: u64) -> &[u8] {
        let index = usize::try_from(seq - self.first_seq).expect("a block is small");
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// Returns the bytes of memory that the block takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.bytes.len() + 4 * self.ends.len() + BLOCK_OVERHEAD_BYTES
    }
}

/// A chunk of durable records in order, shared with the ring: reading copies nothing.
#[derive(Clone, Debug)]
pub struct Chunk {
    first_seq: u64,
    next_seq: u64,
    blocks: Vec<Arc<Block>>,
}

impl Chunk {
    /// Makes a chunk of the records `first_seq..next_seq` of `blocks`, which must be contiguous and cover them.
    #[must_use]
    pub fn new(first_seq: u64, next_seq: u64, blocks: Vec<Arc<Block>>) -> Chunk {
        Chunk { first_seq, next_seq, blocks }
    }

    /// Returns the `seq` of the first record.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Returns the `seq` after the last record.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next_seq - self.first_seq
    }

    /// Returns whether the chunk has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of memory that its blocks take.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.blocks.iter().map(|block| block.weight()).sum()
    }

    /// Iterates over the records: each one's `seq` and stored bytes, which [`record::decode`] reads.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks.iter().flat_map(move |block| {
            let from = block.first_seq.max(self.first_seq);
            let to = block.next_seq().min(self.next_seq);
            (from..to).map(move |seq| (seq, block.record(seq)))
        })
    }
}
