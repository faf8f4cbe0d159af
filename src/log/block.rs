//! Encoded records in memory: as appended ([`Block`]) and as read ([`Chunk`]).
//!
//! Owns the layout of records side by side. Does not look into a record.

use std::sync::Arc;

use bytes::Bytes;

use crate::job::{Event, Failure, Timestamp};
use crate::wire::record;

/// Bytes of memory a block costs beyond its records: the `Arc`s, the ends, the ring slot.
const BLOCK_OVERHEAD_BYTES: usize = 96;

/// Records appended together, as stored.
#[derive(Debug)]
pub struct Block {
    /// The `seq` of the first.
    pub first_seq: u64,
    /// The stored records, one after the other.
    pub bytes: Bytes,
    /// Where each record ends in `bytes`.
    pub ends: Box<[u32]>,
}

impl Block {
    /// Encodes events that will stand from `first_seq` on.
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

    /// The `seq` after the last.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.first_seq + self.ends.len() as u64
    }

    /// The stored bytes of record `seq`, which must be in this block.
    #[must_use]
    pub fn record(&self, seq: u64) -> &[u8] {
        let index = usize::try_from(seq - self.first_seq).expect("a block is small");
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// What it costs in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.bytes.len() + 4 * self.ends.len() + BLOCK_OVERHEAD_BYTES
    }
}

/// Durable records in order, shared with the ring: reading copies nothing.
#[derive(Clone, Debug)]
pub struct Chunk {
    first_seq: u64,
    next_seq: u64,
    blocks: Vec<Arc<Block>>,
}

impl Chunk {
    /// The records `first_seq..next_seq` of `blocks`, which must be contiguous and cover them.
    #[must_use]
    pub fn new(first_seq: u64, next_seq: u64, blocks: Vec<Arc<Block>>) -> Chunk {
        Chunk { first_seq, next_seq, blocks }
    }

    /// The `seq` of the first record.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The `seq` after the last record.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next_seq - self.first_seq
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What its blocks cost in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.blocks.iter().map(|block| block.weight()).sum()
    }

    /// Each record's `seq` and stored bytes; [`record::decode`] reads them.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks.iter().flat_map(move |block| {
            let from = block.first_seq.max(self.first_seq);
            let to = block.next_seq().min(self.next_seq);
            (from..to).map(move |seq| (seq, block.record(seq)))
        })
    }
}
