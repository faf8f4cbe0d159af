//! Cuts a reply's bytes into packets.
//!
//! Owns the parser of server-sent events (LF, CRLF and CR; byte order mark; comments; several `data`
//! lines), of JSON lines, and of AWS event streams (`framing/aws.rs`). Promises the same packets
//! however the bytes were cut on the way, work linear in them, at most 16 MiB held (64 of a whole
//! body), and no copy of an event that lies in one piece. Does not read what it cuts.
//!
//! A body is server-sent events if its content type says so or there is none, and its first visible
//! byte is not `{`: some servers put a plain JSON answer under the wrong name.

mod aws;

use std::ops::Range;

use bytes::Bytes;

use super::{Framing, Headers, Packet};
use crate::job::caps::{ANSWER_BYTES_MAX, PACKET_BYTES_MAX};
use crate::job::{Code, Failure};

/// So many bytes of a packet that is not whole yet are a sign of life. A large packet on a slow line
/// gives one in time (an idle time-out of 60 s is met at 1.1 kB/s); a provider that trickles a byte a
/// second does not, and cannot hold a job with it.
const SIGN_OF_LIFE_BYTES: usize = 64 * 1024;

/// Cuts one reply into packets. Feed it a piece, then take packets until there is none.
pub struct Framer {
    mode: Mode,
    /// The piece being read, and how far it is read.
    chunk: Bytes,
    at: usize,
    /// A line whose end has not come yet, or the whole body.
    partial: Vec<u8>,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    event: String,
    data: Data,
    /// The event in `event` and `data` was given out and goes with the next call.
    given: bool,
    /// What `Mode::Frames` reads with, instead of all the above.
    frames: aws::Frames,
    /// Count that [`Framer::signs_of_life`] returns.
    signs: u64,
    /// Number of bytes since the last sign of life.
    since_sign: usize,
}

#[derive(PartialEq)]
enum Mode {
    /// Only line ends and a byte order mark so far.
    Undecided,
    Sse,
    Lines,
    Whole,
    Frames,
}

#[derive(PartialEq)]
enum Data {
    None,
    /// One line that lies in `chunk`.
    Here(Range<usize>),
    Copied(Vec<u8>),
}

impl Framing {
    /// The content type of a reply that does not name one.
    fn content_type(self) -> &'static str {
        match self {
            Framing::AwsFrames => "application/vnd.amazon.eventstream",
            _ => "text/event-stream",
        }
    }
}

impl Framer {
    /// A framer for a reply with these headers.
    #[must_use]
    pub fn new(framing: Framing, headers: &Headers) -> Framer {
        let content_type =
            headers.get("content-type").map_or(framing.content_type(), |value| value.to_str().unwrap_or(""));
        let kind = content_type.split(';').next().unwrap_or("").trim();
        let mode = match framing {
            Framing::Sse if kind.eq_ignore_ascii_case("text/event-stream") => Mode::Undecided,
            Framing::Lines if !kind.eq_ignore_ascii_case("application/json") => Mode::Lines,
            Framing::AwsFrames if kind.eq_ignore_ascii_case(framing.content_type()) => Mode::Frames,
            _ => Mode::Whole,
        };
        Framer {
            mode,
            chunk: Bytes::new(),
            at: 0,
            partial: Vec::new(),
            after_cr: false,
            event: String::new(),
            data: Data::None,
            given: false,
            frames: aws::Frames::default(),
            signs: 0,
            since_sign: 0,
        }
    }

    /// A count that grows when the provider shows that it is alive: by a packet, by a line that is
    /// whole and says nothing (a comment, an event without data, a blank line between JSON lines),
    /// by 64 KiB of a packet that is not whole. The idle time-out begins anew when it has grown; a
    /// piece of a packet alone does not move it.
    #[must_use]
    pub fn signs_of_life(&self) -> u64 {
        self.signs
    }

    /// Takes the next piece of the body. Take all packets before the next one: what is unread is
    /// copied otherwise.
    pub fn feed(&mut self, bytes: Bytes) {
        self.since_sign += bytes.len();
        if self.since_sign >= SIGN_OF_LIFE_BYTES {
            self.sign();
        }
        if self.mode == Mode::Frames {
            return self.frames.feed(bytes);
        }
        self.release();
        if self.at == self.chunk.len() {
            self.keep_data();
            self.chunk = bytes;
        } else {
            let mut joined = Vec::with_capacity(self.chunk.len() - self.at + bytes.len());
            joined.extend_from_slice(&self.chunk[self.at..]);
            joined.extend_from_slice(&bytes);
            self.keep_data();
            self.chunk = joined.into();
        }
        self.at = 0;
    }

    /// The next packet, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// `provider_truncated` when a packet is over 16 MiB, a whole body over 64, or a frame is broken.
    #[expect(clippy::should_implement_trait, reason = "a packet borrows from the framer, which no iterator can say")]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, Failure> {
        self.release();
        self.decide();
        match self.mode {
            Mode::Undecided => Ok(None),
            Mode::Frames => {
                let frame = self.frames.next()?;
                if frame.is_some() {
                    (self.signs, self.since_sign) = (self.signs + 1, 0);
                }
                Ok(frame)
            }
            Mode::Whole => {
                self.partial.extend_from_slice(&self.chunk[self.at..]);
                self.at = self.chunk.len();
                self.check_size(self.partial.len())?;
                Ok(None)
            }
            Mode::Sse | Mode::Lines => {
                while let Some(line) = self.line()? {
                    if self.take_line(line)? {
                        return Ok(self.packet());
                    }
                }
                Ok(None)
            }
        }
    }

    /// The body has ended: its last event if no blank line followed it, or the whole body.
    ///
    /// # Errors
    /// As [`Framer::next`].
    pub fn finish(&mut self) -> Result<Option<Packet<'_>>, Failure> {
        self.release();
        self.decide();
        match self.mode {
            Mode::Undecided => Ok(None),
            Mode::Frames => self.frames.next(),
            Mode::Whole => {
                self.partial.extend_from_slice(&self.chunk[self.at..]);
                self.at = self.chunk.len();
                self.check_size(self.partial.len())?;
                Ok(Some(Packet::Whole(&self.partial)))
            }
            Mode::Sse | Mode::Lines => {
                if !self.partial.is_empty() {
                    self.take_line(Line::CompleteOnDrop)?;
                }
                if self.data == Data::None {
                    return Ok(None);
                }
                Ok(self.packet())
            }
        }
    }

    /// Skips what may stand before the first visible byte, and looks at that.
    fn decide(&mut self) {
        while self.mode == Mode::Undecided && self.at < self.chunk.len() {
            match self.chunk[self.at] {
                b'\r' | b'\n' | 0xef | 0xbb | 0xbf => self.at += 1,
                b'{' => self.mode = Mode::Whole,
                _ => self.mode = Mode::Sse,
            }
        }
    }

    fn sign(&mut self) {
        self.signs += 1;
        self.since_sign = 0;
    }

    /// Forgets the event that was given out.
    fn release(&mut self) {
        if self.given {
            self.given = false;
            self.event.clear();
            self.data = Data::None;
        }
    }

    /// Copies what must outlive the piece it lies in.
    fn keep_data(&mut self) {
        if let Data::Here(range) = &self.data {
            self.data = Data::Copied(self.chunk[range.clone()].to_vec());
        }
    }

    /// The next line: where it lies, or `Line::CompleteOnDrop` if its beginning came with earlier pieces.
    fn line(&mut self) -> Result<Option<Line>, Failure> {
        if self.after_cr && self.at < self.chunk.len() {
            self.after_cr = false;
            self.at += usize::from(self.chunk[self.at] == b'\n');
        }
        let rest = &self.chunk[self.at..];
        let Some(length) = memchr::memchr2(b'\n', b'\r', rest) else {
            self.partial.extend_from_slice(rest);
            self.at = self.chunk.len();
            self.check_size(self.partial.len())?;
            return Ok(None);
        };
        self.after_cr = rest[length] == b'\r';
        let range = self.at..self.at + length;
        self.at += length + 1;
        if self.partial.is_empty() {
            return Ok(Some(Line::Here(range)));
        }
        self.partial.extend_from_slice(&self.chunk[range]);
        Ok(Some(Line::CompleteOnDrop))
    }

    /// Whether the line completes a packet.
    fn take_line(&mut self, line: Line) -> Result<bool, Failure> {
        match line {
            Line::Here(range) if self.mode == Mode::Lines => {
                match self.chunk[range.clone()].trim_ascii() {
                    [] => self.sign(),
                    _ => self.data = Data::Here(range),
                }
                return Ok(self.data != Data::None);
            }
            Line::CompleteOnDrop if self.mode == Mode::Lines => {
                let line = std::mem::take(&mut self.partial);
                match line.trim_ascii() {
                    [] => self.sign(),
                    _ => self.data = Data::Copied(line),
                }
                return Ok(self.data != Data::None);
            }
            Line::Here(range) if range.is_empty() => {
                if self.data == Data::None && !self.event.is_empty() {
                    self.sign();
                    self.event.clear();
                }
                return Ok(self.data != Data::None);
            }
            Line::Here(range) => {
                let chunk = self.chunk.clone();
                self.field(&chunk[range.clone()], Some(range.start))?;
            }
            Line::CompleteOnDrop => {
                let line = std::mem::take(&mut self.partial);
                self.field(&line, None)?;
            }
        }
        Ok(false)
    }

    /// One line that is not blank. `start` is where it lies in `chunk`, if it does.
    fn field(&mut self, line: &[u8], start: Option<usize>) -> Result<(), Failure> {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let mut value = (colon + 1).min(line.len());
        value += usize::from(line.get(value) == Some(&b' '));
        match &line[..colon] {
            b"event" => {
                self.event.clear();
                self.event.push_str(&String::from_utf8_lossy(&line[value..]));
                self.check_size(self.event.len())
            }
            b"data" => self.data_line(&line[value..], start.map(|start| start + value..start + line.len())),
            b"" => {
                self.sign();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn data_line(&mut self, value: &[u8], place: Option<Range<usize>>) -> Result<(), Failure> {
        self.keep_data();
        let size = match &mut self.data {
            Data::Copied(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
                data.len()
            }
            Data::None | Data::Here(_) => {
                self.data = place.map_or_else(|| Data::Copied(value.to_vec()), Data::Here);
                value.len()
            }
        };
        self.check_size(size)
    }

    fn check_size(&self, bytes: usize) -> Result<(), Failure> {
        let (what, most) = match self.mode {
            Mode::Whole => ("an answer", ANSWER_BYTES_MAX),
            _ => ("a packet", PACKET_BYTES_MAX),
        };
        if bytes <= most {
            return Ok(());
        }
        let message = format!("{what} of the provider is over {most} bytes");
        Err(Failure::new(Code::ProviderTruncated, message).of_the_target())
    }

    fn packet(&mut self) -> Option<Packet<'_>> {
        self.given = true;
        self.sign();
        let data: &[u8] = match &self.data {
            Data::None => return None,
            Data::Here(range) => &self.chunk[range.clone()],
            Data::Copied(data) => data,
        };
        Some(match self.mode {
            Mode::Lines => Packet::Line(data),
            _ => Packet::Sse { event: &self.event, data },
        })
    }
}

enum Line {
    Here(Range<usize>),
    CompleteOnDrop,
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
