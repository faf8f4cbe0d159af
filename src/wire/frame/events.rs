//! `events`, written straight from stored records.

use crate::job::Failure;
use crate::wire::{Cursor, record};

use super::{Label, Protocol};

/// Bytes of an `events` message beyond its items, at most: field names, a label, a cursor.
const ENVELOPE_BYTES_MAX: usize = 512;

/// An `events` message under construction at the end of a buffer.
pub struct EventsFrame<'b> {
    protocol: Protocol,
    out: &'b mut Vec<u8>,
    start: usize,
    count_at: usize,
    count: u32,
    bytes_max: usize,
}

impl<'b> EventsFrame<'b> {
    /// Begins a message of about `bytes_max` bytes at the end of `out`.
    #[must_use]
    pub fn begin(protocol: Protocol, sub: &Label, out: &'b mut Vec<u8>, bytes_max: usize) -> EventsFrame<'b> {
        let start = out.len();
        let mut count_at = start;
        match protocol {
            Protocol::Json => {
                out.extend_from_slice(br#"{"type":"events","sub":"#);
                serde_json::to_writer(&mut *out, sub).expect("a label is a string or a number");
                out.extend_from_slice(br#","items":["#);
            }
            Protocol::Msgpack => {
                // A map of 4; the items are an array with a 32-bit count, which is filled in at the end.
                out.push(0x84);
                msgpack(out, &"type");
                msgpack(out, &"events");
                msgpack(out, &"sub");
                msgpack(out, sub);
                msgpack(out, &"items");
                out.push(0xdd);
                count_at = out.len();
                out.extend_from_slice(&[0; 4]);
            }
        }
        let bytes_max = bytes_max.saturating_sub(ENVELOPE_BYTES_MAX);
        EventsFrame { protocol, out, start, count_at, count: 0, bytes_max }
    }

    /// Adds a stored record, unless it no longer fits; the first always does. Returns whether it is in.
    ///
    /// # Errors
    /// `internal` when the record is damaged; the message is as before then.
    pub fn push(&mut self, seq: u64, stored: &[u8]) -> Result<bool, Failure> {
        let before = self.out.len();
        if self.count > 0 && before - self.start >= self.bytes_max {
            return Ok(false);
        }
        let record = record::decode(seq, stored)?;
        match self.protocol {
            Protocol::Json => {
                if self.count > 0 {
                    self.out.push(b',');
                }
                record.write_json(self.out);
            }
            Protocol::Msgpack => record.write_msgpack(self.out),
        }
        if self.count > 0 && self.out.len() - self.start > self.bytes_max {
            self.out.truncate(before);
            return Ok(false);
        }
        self.count += 1;
        Ok(true)
    }

    /// Ends the message. `cursor` is the place after the last record.
    pub fn finish(self, cursor: Cursor) {
        let cursor = cursor.to_string();
        match self.protocol {
            Protocol::Json => {
                self.out.extend_from_slice(br#"],"cursor":""#);
                self.out.extend_from_slice(cursor.as_bytes());
                self.out.extend_from_slice(br#""}"#);
            }
            Protocol::Msgpack => {
                self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_be_bytes());
                msgpack(self.out, &"cursor");
                msgpack(self.out, &cursor);
            }
        }
    }
}

fn msgpack<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    rmp_serde::encode::write_named(out, value).expect("plain data, and a Vec takes every byte");
}
