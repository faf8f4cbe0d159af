//! Cuts an AWS event stream into frames.
//!
//! Owns when a frame is whole: its length is believed only after the checksum of its first twelve
//! bytes holds, and never beyond the limit of a packet. Promises that what is given out passed both
//! checksums, and the same frames however the bytes were cut on the way. A frame that the end of the
//! body cuts off is no frame: whether the reply was complete without it is the decoder's to say.

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::Message;
use bytes::Bytes;

use crate::job::caps::PACKET_BYTES_MAX;
use crate::job::{Code, Failure};
use crate::provider::Packet;

/// Total length, length of the headers, checksum of these two.
const PRELUDE_BYTES: usize = 12;
/// A prelude and the checksum of everything before it: a frame without headers or payload.
const FRAME_BYTES_MIN: usize = PRELUDE_BYTES + 4;

/// Cuts one body. Feed it a piece, then take frames until there is none.
pub(super) struct Frames {
    /// What is unread of the last piece.
    chunk: Bytes,
    /// The beginning of a frame that came with earlier pieces.
    partial: Vec<u8>,
    /// The frame that was given out last.
    frame: Bytes,
    /// The headers of an earlier frame as they came, and as they were read: all frames of one kind
    /// have the same, and reading them costs more than everything else.
    raw: Vec<u8>,
    read: Message,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            chunk: Bytes::new(),
            partial: Vec::new(),
            frame: Bytes::new(),
            raw: Vec::new(),
            read: Message::new(Bytes::new()),
        }
    }
}

impl Frames {
    pub(super) fn feed(&mut self, bytes: Bytes) {
        if !self.chunk.is_empty() {
            self.partial.extend_from_slice(&self.chunk);
        }
        self.chunk = bytes;
    }

    pub(super) fn next(&mut self) -> Result<Option<Packet<'_>>, Failure> {
        let Some(frame) = self.whole()? else { return Ok(None) };
        self.frame = frame;
        let (before, checksum) = self.frame.split_at(self.frame.len() - 4);
        let headers = PRELUDE_BYTES + number(before, 4) as usize;
        let (raw, payload) = (&before[PRELUDE_BYTES..headers], &before[headers..]);
        if self.raw == raw {
            if crc32fast::hash(before) != number(checksum, 0) {
                return Err(malformed("its checksum is wrong"));
            }
        } else {
            self.read = read_message_from(&self.frame[..]).map_err(|error| malformed(&error.to_string()))?;
            self.raw = raw.to_vec();
        }
        packet(&self.read, payload).map(Some)
    }

    /// The bytes of the next frame, if they are all there.
    fn whole(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.partial.is_empty() {
            if let Some(length) = frame_bytes(&self.chunk)?
                && length <= self.chunk.len()
            {
                return Ok(Some(self.chunk.split_to(length)));
            }
            self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
            return Ok(None);
        }
        self.carry_up_to(PRELUDE_BYTES);
        let Some(length) = frame_bytes(&self.partial)? else { return Ok(None) };
        self.carry_up_to(length);
        if self.partial.len() < length {
            return Ok(None);
        }
        let rest = self.partial.split_off(length);
        Ok(Some(std::mem::replace(&mut self.partial, rest).into()))
    }

    /// Takes from the piece until so many bytes of the frame are together.
    fn carry_up_to(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.partial.len()).min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
    }
}

/// How long the frame is that begins here, once its prelude is there.
fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(prelude) = bytes.first_chunk::<PRELUDE_BYTES>() else { return Ok(None) };
    if crc32fast::hash(&prelude[..8]) != number(prelude, 8) {
        return Err(malformed("the checksum of its prelude is wrong"));
    }
    let (length, headers) = (number(prelude, 0) as usize, number(prelude, 4) as usize);
    if length < FRAME_BYTES_MIN || headers > length - FRAME_BYTES_MIN {
        return Err(malformed("its lengths contradict each other"));
    }
    if length > PACKET_BYTES_MAX {
        return Err(malformed(&format!("it is over {PACKET_BYTES_MAX} bytes")));
    }
    Ok(Some(length))
}

/// The number that stands there. There are so many bytes.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// An error may have its words in a header and no payload: then these are its data.
fn packet<'a>(read: &'a Message, payload: &'a [u8]) -> Result<Packet<'a>, Failure> {
    let text = |name: &str| {
        let header = read.headers().iter().find(|header| header.name().as_str() == name)?;
        header.value().as_string().ok().map(aws_smithy_types::str_bytes::StrBytes::as_str)
    };
    let kind = text(":message-type").ok_or_else(|| malformed("it does not say its kind"))?;
    let event = match kind {
        "exception" => text(":exception-type"),
        "error" => text(":error-code"),
        _ => text(":event-type"),
    };
    let data = match payload {
        [] => text(":error-message").map_or(payload, str::as_bytes),
        _ => payload,
    };
    Ok(Packet::Frame { message: kind, event: event.unwrap_or(""), data })
}

fn malformed(why: &str) -> Failure {
    let message = format!("the provider sent a broken frame: {why}");
    Failure::new(Code::ProviderTruncated, message).of_the_target()
}

#[cfg(test)]
#[path = "aws_tests.rs"]
mod tests;
