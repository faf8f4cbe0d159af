//! The Durable Streams protocol as bytes: its headers and its server-sent events.
//!
//! Pure. Source of what is here and not in INTERFACE: the protocol's draft 1.0. Does not know what is
//! read, only whether it is JSON, text or neither.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::job::{Failure, Timestamp};
use crate::wire::Cursor;

/// The largest integer that every JavaScript client writes exactly: producers' epochs and numbers.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Bytes of a producer's name.
pub const PRODUCER_BYTES_MAX: usize = 256;
/// Bytes of a `Stream-Seq`.
pub const SEQ_BYTES_MAX: usize = 256;
/// Seconds of one interval of `Stream-Cursor`: readers of one interval share a cache's answer.
const CURSOR_INTERVAL_S: u64 = 20;
/// 2024-10-09T00:00:00Z in seconds: interval 0.
const CURSOR_EPOCH_S: u64 = 1_728_432_000;
/// Seconds that a reader which is ahead of the clock is moved on by, at most.
const CURSOR_JITTER_S: u64 = 3600;

/// Lifetime of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Lifetime {
    /// The stream lives until it is deleted.
    Unlimited,
    /// The stream lives so many seconds after it was last read or written.
    Idle(u64),
    /// The stream lives until this time.
    Until(Timestamp),
}

impl Lifetime {
    /// When a stream that was used last at `used_at` is over.
    #[must_use]
    pub fn ends(self, used_at: Timestamp) -> Option<Timestamp> {
        match self {
            Lifetime::Unlimited => None,
            Lifetime::Idle(seconds) => Some(used_at.plus_ms(seconds.saturating_mul(1000))),
            Lifetime::Until(at) => Some(at),
        }
    }

    /// Reads the lifetime from `Stream-TTL` and `Stream-Expires-At`.
    ///
    /// # Errors
    /// `invalid`, naming the header.
    pub fn of(ttl: Option<&str>, expires_at: Option<&str>) -> Result<Lifetime, Failure> {
        match (ttl, expires_at) {
            (None, None) => Ok(Lifetime::Unlimited),
            (Some(_), Some(_)) => {
                Err(Failure::invalid("stream-ttl", "and stream-expires-at are two answers to one question"))
            }
            (Some(ttl), None) => plain(ttl, u64::MAX)
                .map(Lifetime::Idle)
                .ok_or_else(|| Failure::invalid("stream-ttl", "must be seconds in plain decimal digits")),
            (None, Some(at)) => Timestamp::parse(at)
                .map(Lifetime::Until)
                .ok_or_else(|| Failure::invalid("stream-expires-at", "must be a date of RFC 3339")),
        }
    }
}

/// Digits without a sign or a leading zero.
fn plain(text: &str, max: u64) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|value| is_plain && *value <= max)
}

/// Whether a header is set: `true`, however it is written; anything else counts as absent.
#[must_use]
pub fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// Identity of an append: its producer, the producer's epoch and number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Producer {
    /// Name of the producer, unique in the stream.
    pub id: Box<str>,
    /// Epoch of the producer: a restarted producer takes a higher one.
    pub epoch: u64,
    /// Number of the append in that epoch, from 0.
    pub seq: u64,
}

impl Producer {
    /// Reads the producer from `Producer-Id`, `Producer-Epoch` and `Producer-Seq`: all three or none.
    ///
    /// # Errors
    /// `invalid`, naming the header.
    pub fn of(id: Option<&str>, epoch: Option<&str>, seq: Option<&str>) -> Result<Option<Producer>, Failure> {
        let (id, epoch, seq) = match (id, epoch, seq) {
            (None, None, None) => return Ok(None),
            (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
            _ => {
                return Err(Failure::invalid(
                    "producer-id",
                    "producer-epoch and producer-seq come together or not at all",
                ));
            }
        };
        if !(1..=PRODUCER_BYTES_MAX).contains(&id.len()) {
            return Err(Failure::invalid("producer-id", format!("must have 1 to {PRODUCER_BYTES_MAX} bytes")));
        }
        let number = |name, text| {
            plain(text, SAFE_INTEGER_MAX).ok_or_else(|| Failure::invalid(name, "must be a whole number, 0 to 2^53-1"))
        };
        let (epoch, seq) = (number("producer-epoch", epoch)?, number("producer-seq", seq)?);
        Ok(Some(Producer { id: id.into(), epoch, seq }))
    }
}

/// Form of a stream's content, by its content type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// JSON messages; read as an array.
    Json,
    /// Text in any encoding.
    Text,
    /// Any bytes; base64 where only text can travel.
    Binary,
}

impl Form {
    /// The form of a content type.
    #[must_use]
    pub fn of(content_type: &str) -> Form {
        let essence = essence(content_type);
        match () {
            () if essence.eq_ignore_ascii_case("application/json") => Form::Json,
            () if essence.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/")) => Form::Text,
            () => Form::Binary,
        }
    }

    /// A whole body of this content; JSON messages become an array.
    #[must_use]
    pub fn body(self, content: Vec<u8>) -> Vec<u8> {
        match self {
            Form::Json => [b"[", &content[..], b"]"].concat(),
            Form::Text | Form::Binary => content,
        }
    }
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether two content types are one: parameters, such as a charset, do not matter.
#[must_use]
pub fn same_type(one: &str, other: &str) -> bool {
    essence(one).eq_ignore_ascii_case(essence(other))
}

/// The `Stream-Cursor` of an answer given now to a reader that sent `client_cursor`: if that is not behind
/// the clock, a random larger one, so that no request is repeated. `chance` is any number.
#[must_use]
pub fn stream_cursor(now: Timestamp, client_cursor: Option<&str>, chance: u64) -> u64 {
    let current = (now.0 / 1000).saturating_sub(CURSOR_EPOCH_S) / CURSOR_INTERVAL_S;
    match client_cursor.and_then(|client_cursor| plain(client_cursor, SAFE_INTEGER_MAX)) {
        Some(client_cursor) if client_cursor >= current => {
            client_cursor + ((1 + chance % CURSOR_JITTER_S) / CURSOR_INTERVAL_S).max(1)
        }
        _ => current,
    }
}

/// Appends one `data` event.
pub fn put_data(out: &mut Vec<u8>, form: Form, content: &[u8]) {
    out.extend_from_slice(b"event: data\n");
    match form {
        Form::Json => {
            put_lines(out, &[b"[", content, b"]"].concat());
        }
        Form::Text => put_lines(out, String::from_utf8_lossy(content).as_bytes()),
        Form::Binary => put_lines(out, BASE64_STANDARD.encode(content).as_bytes()),
    }
    out.push(b'\n');
}

/// Each line with its prefix: no byte of the text can end the event.
fn put_lines(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        out.extend_from_slice(b"data:");
        // A reader takes one blank away.
        if rest.first() == Some(&b' ') {
            out.push(b' ');
        }
        out.extend_from_slice(&rest[..end]);
        out.push(b'\n');
        let after = match (rest.get(end), rest.get(end + 1)) {
            (None, _) => return,
            (Some(b'\r'), Some(b'\n')) => end + 2,
            _ => end + 1,
        };
        rest = &rest[after..];
    }
}

/// Fields of a `control` event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    /// Cursor from which to resume.
    pub next: Cursor,
    /// The `Stream-Cursor` of the answer.
    pub cursor: u64,
    /// Whether everything was read.
    pub up_to_date: bool,
    /// Whether the stream is closed and nothing more will come.
    pub closed: bool,
}

/// Appends one `control` event.
pub fn put_control(out: &mut Vec<u8>, control: &Control) {
    use std::io::Write;
    let mut put = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a Vec takes every byte");
    put(format_args!("event: control\ndata:{{\"streamNextOffset\":\"{}\"", control.next));
    if !control.closed {
        put(format_args!(",\"streamCursor\":\"{}\"", control.cursor));
    }
    if control.up_to_date {
        put(format_args!(",\"upToDate\":true"));
    }
    if control.closed {
        put(format_args!(",\"streamClosed\":true"));
    }
    put(format_args!("}}\n\n"));
}

#[cfg(test)]
#[path = "durable_streams_tests.rs"]
mod tests;
