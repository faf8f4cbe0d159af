//! Ticks: the units that are written to the journal, each whole or not there.
//!
//! Owns layout and checksums. A tick is `[len u32][crc32 u32][tick u64][entries]`; its checksum covers the file's
//! number, the tick's number and the length, so that what a recycled file held before never looks valid.
//! **Persisted.** Does not know entries.

/// Bytes of entries after which a tick is closed: large enough to share its header, small enough
/// that a torn one costs little.
pub(crate) const TICK_BYTES_MAX: usize = 48 * 1024;
/// Bytes before a tick's entries.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of entries that any tick may hold: one append may be larger than [`TICK_BYTES_MAX`].
pub(crate) const ENTRY_BYTES_MAX: usize = 24 * 1024 * 1024;
fn checksum(file: u64, tick: u64, entries: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&file.to_le_bytes());
    crc.update(&tick.to_le_bytes());
    crc.update(&(entries.len() as u64).to_le_bytes());
    crc.update(entries);
    crc.finalize()
}

/// Reserves the space of a tick's header; the entries follow. Returns where the tick begins.
pub(crate) fn open_tick(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    start
}

/// Completes the tick that began at `start`.
pub(crate) fn close_tick(out: &mut [u8], start: usize, file: u64, tick: u64) {
    let entries = &out[start + HEADER_BYTES..];
    let len = u32::try_from(entries.len()).expect("an entry is bounded far below 4 GiB");
    let crc = checksum(file, tick, entries);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&tick.to_le_bytes());
}

/// A tick, as it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tick<'a> {
    /// The number of the tick; it counts up through all files.
    pub(crate) number: u64,
    /// The bytes of its entries.
    pub(crate) entries: &'a [u8],
    /// The offset at which the next tick begins.
    pub(crate) end: usize,
}

/// Returns the valid tick at `offset` of file `file`, if there is one.
pub(crate) fn tick_at(bytes: &[u8], offset: usize, file: u64) -> Option<Tick<'_>> {
    let header = bytes.get(offset..offset + HEADER_BYTES)?;
    let (len, rest) = header.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(rest.try_into().ok()?);
    let len = u32::from_le_bytes(*len) as usize;
    if len == 0 || len > ENTRY_BYTES_MAX {
        return None;
    }
    let end = offset + HEADER_BYTES + len;
    let entries = bytes.get(offset + HEADER_BYTES..end)?;
    (checksum(file, number, entries) == u32::from_le_bytes(*crc)).then_some(Tick { number, entries, end })
}

/// Finds the first valid tick after `offset` with a number in `wanted`: reading continues there after a damaged
/// stretch. Looks at every byte, but checksums only what could be wanted.
pub(crate) fn resync(bytes: &[u8], offset: usize, file: u64, wanted: &std::ops::RangeInclusive<u64>) -> Option<usize> {
    (offset..bytes.len().saturating_sub(HEADER_BYTES)).find(|&at| {
        let number = bytes[at + 8..at + 16].try_into().map(u64::from_le_bytes);
        number.is_ok_and(|number| wanted.contains(&number)) && tick_at(bytes, at, file).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(file: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for tick in 1..=3 {
            let start = open_tick(&mut out);
            out.extend_from_slice(&[tick as u8; 100]);
            close_tick(&mut out, start, file, tick);
        }
        out
    }

    #[test]
    fn a_tick_is_read_only_where_it_was_written_and_only_whole() {
        let bytes = ticks(7);
        let first = tick_at(&bytes, 0, 7).unwrap();
        assert_eq!((first.number, first.entries, first.end), (1, &[1; 100][..], 116));
        assert_eq!(tick_at(&bytes, 0, 8), None, "another file's tick");
        for byte in 0..116 {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 0x10;
            assert_eq!(tick_at(&flipped, 0, 7), None, "byte {byte} flipped");
        }
        for cut in 0..116 {
            assert_eq!(tick_at(&bytes[..cut], 0, 7), None, "cut at {cut}");
        }
    }

    #[test]
    fn after_a_damaged_tick_the_next_whole_one_is_found() {
        let mut bytes = ticks(7);
        bytes[0] ^= 1;
        assert_eq!(resync(&bytes, 1, 7, &(2..=9)), Some(116));
        assert_eq!(resync(&bytes, 1, 7, &(3..=9)), Some(232));
        assert_eq!(resync(&bytes, 1, 7, &(4..=9)), None);
    }
}
