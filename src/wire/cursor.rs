//! Cursors as text: `<epoch>_<seq>`, `-1`, `now`.
//!
//! The epoch is 8 hexadecimal digits and `seq` is padded to 10 decimal ones, so cursors of one
//! stream sort as text. Reading is lenient about the padding and strict about everything else.

use std::fmt;
use std::str::FromStr;

use crate::job::{Code, Epoch, Failure};

/// Bytes of the longest text that may be a cursor.
const CURSOR_BYTES_MAX: usize = 64;

/// A position in a stream as a client names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cursor {
    /// `-1`: before the first record.
    Start,
    /// `now`: after the last record that is durable when it is asked.
    Now,
    /// After the records before `seq`, in this epoch of the stream.
    At {
        /// Epoch of the stream: it changes when the stream is created anew.
        epoch: Epoch,
        /// Place of the next record to read.
        seq: u64,
    },
}

impl Cursor {
    /// Returns the record to read next in a stream of `epoch` with durable tail `tail`.
    ///
    /// # Errors
    /// `epoch_mismatch` or `cursor_ahead`.
    pub fn resolve(self, epoch: Epoch, tail: u64) -> Result<u64, Failure> {
        match self {
            Cursor::Start => Ok(0),
            Cursor::Now => Ok(tail),
            Cursor::At { epoch: other, .. } if other != epoch => {
                Err(Failure::new(Code::EpochMismatch, "the cursor belongs to another life of this stream; start at -1"))
            }
            Cursor::At { seq, .. } if seq > tail => {
                Err(Failure::new(Code::CursorAhead, format!("the cursor is after the tail, which is {tail}")))
            }
            Cursor::At { seq, .. } => Ok(seq),
        }
    }
}

impl FromStr for Cursor {
    type Err = Failure;
    /// # Errors
    /// `bad_cursor`.
    fn from_str(text: &str) -> Result<Cursor, Failure> {
        let bad = || {
            Failure::new(Code::BadCursor, "cursor: must be -1, now, or one that this broker gave").with_param("cursor")
        };
        match text {
            "-1" => return Ok(Cursor::Start),
            "now" => return Ok(Cursor::Now),
            _ if text.len() > CURSOR_BYTES_MAX => return Err(bad()),
            _ => {}
        }
        let (epoch, seq) = text.split_once('_').ok_or_else(bad)?;
        let hex = epoch.len() == 8 && epoch.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let decimal = !seq.is_empty() && seq.bytes().all(|b| b.is_ascii_digit());
        if !hex || !decimal {
            return Err(bad());
        }
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| bad())?;
        Ok(Cursor::At { epoch: Epoch(epoch), seq: seq.parse().map_err(|_| bad())? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cursor::Start => f.write_str("-1"),
            Cursor::Now => f.write_str("now"),
            Cursor::At { epoch, seq } => write!(f, "{:08x}_{seq:010}", epoch.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_given_is_a_cursor_taken() {
        let given = Cursor::At { epoch: Epoch(0xab12), seq: 17 };
        assert_eq!(given.to_string(), "0000ab12_0000000017");
        assert_eq!(given.to_string().parse(), Ok(given));
        assert_eq!("0000ab12_17".parse(), Ok(given));
        let largest = Cursor::At { epoch: Epoch(u32::MAX), seq: u64::MAX };
        assert_eq!(largest.to_string().parse(), Ok(largest));
    }

    #[test]
    fn what_is_not_a_cursor_is_refused() {
        let long = "1".repeat(10_000);
        for bad in [
            "",
            " ",
            "-2",
            "0",
            "now ",
            "_",
            "0000ab12_",
            "_1",
            "0000ab12_-1",
            "0000ab12_18446744073709551616",
            "0000AB12_1",
            "ab12_1",
            "0000ab12%5f1",
            "0000ab12_1_1",
            "0000ab12_+1",
            "0000ab12_1\n",
            long.as_str(),
        ] {
            assert_eq!(bad.parse::<Cursor>().map_err(|f| f.code), Err(Code::BadCursor), "{bad:.40}");
        }
    }

    #[test]
    fn another_epoch_or_the_future_is_not_served() {
        let at = |epoch, seq| Cursor::At { epoch: Epoch(epoch), seq }.resolve(Epoch(1), 5).map_err(|f| f.code);
        assert_eq!(at(1, 5), Ok(5));
        assert_eq!(at(1, 6), Err(Code::CursorAhead));
        assert_eq!(at(2, 0), Err(Code::EpochMismatch));
        assert_eq!(Cursor::Now.resolve(Epoch(1), 5).ok(), Some(5));
    }
}
