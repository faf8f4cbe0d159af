//! Records as server-sent events.
//!
//! Owns the frame: `id:` is the cursor after the record, `event:` its kind, `data:` one line of
//! JSON. The connection takes a frame when the last one is on its way, so a slow reader holds
//! one. A stream that breaks is never ended politely: an `error` event, then the connection is cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hyper::HeaderMap;

use super::auth::header;
use super::body::{Cut, Pieces};
use super::context::RequestContext;
use super::query::Query;
use super::response;
use super::response::Reply;
use super::submit::DisconnectGuard;
use crate::broker::{Broker, Submitted};
use crate::config::Scope;
use crate::job::{Code, Epoch, Failure};
use crate::log::{Chunk, Followed, Follower, IdleTimer, Stream};
use crate::telemetry;
use crate::wire::{Cursor, record};

/// Stored bytes per frame. Small deltas grow eightfold when rendered, so a frame stays below 64 KiB.
pub(super) const FRAME_STORED_BYTES: usize = 8 * 1024;
/// Rendered bytes of a small record: what a frame's buffer begins with, per record.
const RENDERED_BYTES: u64 = 224;
/// A sign of life that no reader of events sees.
const COMMENT: &[u8] = b":\n\n";

/// Handles `GET /v1/jobs/{id}/events`.
pub(super) async fn follow(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let broker = context.broker();
    let from = start(&context.parts.headers, context.parts.uri.query())?;
    let stream = super::jobs::find(context, id).await?;
    let cursor = from.cursor(&stream);
    let follower = Follower::new(broker.log.clone(), Arc::clone(&stream), cursor)?;
    let mut reply = match context.is_head() {
        true => response::events(None),
        false => {
            if !matches!(from, From::Cursor(Cursor::Start)) {
                telemetry::resumed("sse");
            }
            telemetry::replayed(stream.tail().durable.saturating_sub(follower.next_seq()));
            response::events(Some(Reader::new(broker, follower, None).pieces()))
        }
    };
    response::set(&mut reply, "forebay-job-id", stream.head().id.as_str());
    Ok(reply)
}

/// Answers the submitter of a job with its records.
pub(super) fn answer(
    broker: &Arc<Broker>,
    submitted: &Submitted,
    guard: Option<DisconnectGuard>,
) -> Result<Reply, Failure> {
    let follower = Follower::new(broker.log.clone(), Arc::clone(&submitted.stream), Cursor::Start)?;
    Ok(response::events(Some(Reader::new(broker, follower, guard).pieces())))
}

/// Where a reader begins.
#[derive(Clone, Copy, PartialEq, Debug)]
enum From {
    Cursor(Cursor),
    /// After this number of records.
    Count(u64),
}

impl From {
    fn cursor(self, stream: &Stream) -> Cursor {
        match self {
            From::Cursor(cursor) => cursor,
            From::Count(seq) => stream.cursor(seq),
        }
    }
}

/// `Last-Event-ID` wins: a browser that reconnects sends it beside the address it began with.
fn start(headers: &HeaderMap, query: Option<&str>) -> Result<From, Failure> {
    let query = Query::parse(query);
    query.only(|name| matches!(name, "cursor" | "from"))?;
    let last = header(headers, "last-event-id", Code::BadCursor)?;
    match (last, query.one("cursor", Code::BadCursor)?, query.one("from", Code::BadCursor)?) {
        (Some(last), ..) => {
            Ok(From::Cursor(last.parse().map_err(|failure: Failure| failure.with_param("last-event-id"))?))
        }
        (None, Some(_), Some(_)) => Err(Failure::invalid("from", "cursor and from are two answers to one question")),
        (None, Some(cursor), None) => Ok(From::Cursor(cursor.parse()?)),
        (None, None, Some(count)) => {
            let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
            let count = count.parse().ok().filter(|_| digits);
            let bad = || Failure::new(Code::BadCursor, "from: must be a number of records").with_param("from");
            Ok(From::Count(count.ok_or_else(bad)?))
        }
        (None, None, None) => Ok(From::Cursor(Cursor::Start)),
    }
}

/// One reader: its place in the stream, and when it needs a sign of life.
struct Reader {
    follower: Follower,
    idle: IdleTimer,
    broken: bool,
    _guard: Option<DisconnectGuard>,
    _reader_count: ReaderCount,
}

/// Counts a reader in the metrics as long as it lives.
pub(super) struct ReaderCount;

impl ReaderCount {
    pub(super) fn new() -> ReaderCount {
        telemetry::readers("sse", 1.0);
        ReaderCount
    }
}

impl Drop for ReaderCount {
    fn drop(&mut self) {
        telemetry::readers("sse", -1.0);
    }
}

impl Reader {
    fn new(broker: &Broker, follower: Follower, guard: Option<DisconnectGuard>) -> Reader {
        let heartbeat = Duration::from_millis(broker.snapshot.load().config.server.heartbeat_ms.max(1));
        let idle = IdleTimer::new(heartbeat);
        let (_guard, _reader_count) = (guard, ReaderCount::new());
        Reader { follower, idle, broken: false, _guard, _reader_count }
    }

    fn pieces(self) -> Pieces {
        Box::pin(stream::unfold(self, |mut reader| async { Some((reader.next().await?, reader)) }))
    }

    /// Returns the next frame. Cancel-safe.
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        if self.broken {
            return Some(Err(Cut::after_the_rest().await));
        }
        tokio::select! {
            biased;
            followed = self.follower.next(FRAME_STORED_BYTES) => {
                self.idle.restart();
                let frame = match followed {
                    Ok(Followed::Records(chunk)) => render(&chunk, self.follower.stream().epoch()),
                    Ok(Followed::End(_)) => return None,
                    Err(failure) => Err(failure),
                };
                Some(Ok(frame.unwrap_or_else(|failure| self.break_off(&failure))))
            }
            () = self.idle.elapsed() => Some(Ok(Bytes::from_static(COMMENT))),
        }
    }

    fn break_off(&mut self, failure: &Failure) -> Bytes {
        telemetry::error(failure);
        tracing::warn!(error = %failure, job = %self.follower.stream().head().id, "a reader's stream broke off");
        self.broken = true;
        let body = serde_json::json!({ "error": failure });
        format!("event: error\ndata: {body}\n\n").into()
    }
}

/// One frame of records.
fn render(chunk: &Chunk, epoch: Epoch) -> Result<Bytes, Failure> {
    let room = usize::try_from(chunk.len().saturating_mul(RENDERED_BYTES)).unwrap_or(FRAME_STORED_BYTES);
    let mut out = Vec::with_capacity(room);
    for (seq, stored) in chunk.iter() {
        let record = record::decode(seq, stored)?;
        out.extend_from_slice(b"id: ");
        cursor(epoch, seq + 1, &mut out);
        out.extend_from_slice(b"\nevent: ");
        out.extend_from_slice(record.kind().as_bytes());
        out.extend_from_slice(b"\ndata: ");
        record.write_json(&mut out);
        out.extend_from_slice(b"\n\n");
    }
    Ok(out.into())
}

fn cursor(epoch: Epoch, seq: u64, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{}", Cursor::At { epoch, seq }).expect("a Vec takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Delta, Event, Part, Timestamp};
    use crate::log::Block;

    #[test]
    fn no_text_can_break_out_of_its_line() {
        let nasty = "\r\n\n\r\u{0}\u{2028}\u{85}data: x\n\nevent: completed\n\n🦀\u{feff}";
        let delta = Delta { part: Part::Text, index: 0, text: nasty.into(), extra: None };
        let extra = Delta { extra: Some(Box::new(serde_json::json!({"a\r\n": "\n"}))), ..delta.clone() };
        let block = Block::encode(7, Timestamp(1), &[Event::Delta(delta), Event::Delta(extra)]).unwrap();
        let chunk = Chunk::new(7, 9, vec![Arc::new(block)]);
        let frame = String::from_utf8(render(&chunk, Epoch(0xab)).unwrap().to_vec()).unwrap();
        assert!(!frame.contains('\r'));
        let events: Vec<Vec<&str>> =
            frame.strip_suffix("\n\n").unwrap().split("\n\n").map(|event| event.split('\n').collect()).collect();
        assert_eq!(events.len(), 2);
        for (event, id) in events.iter().zip(["id: 000000ab_0000000008", "id: 000000ab_0000000009"]) {
            assert_eq!((event.len(), event[0], event[1]), (3, id, "event: delta"));
            let data: serde_json::Value = serde_json::from_str(event[2].strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(data["text"], nasty);
        }
    }

    #[test]
    fn a_reader_begins_where_it_says() {
        let at = |last: Option<&str>, query: &str| {
            let mut headers = HeaderMap::new();
            if let Some(last) = last {
                headers.insert("last-event-id", last.parse().unwrap());
            }
            start(&headers, Some(query)).map_err(|failure| (failure.code, failure.param.clone().unwrap_or_default()))
        };
        let place = Cursor::At { epoch: Epoch(1), seq: 5 };
        for (last, query, expected) in [
            (None, "", Ok(From::Cursor(Cursor::Start))),
            (None, "cursor=now", Ok(From::Cursor(Cursor::Now))),
            (None, "cursor=00000001%5F5", Ok(From::Cursor(place))),
            (None, "from=5", Ok(From::Count(5))),
            (Some("00000001_5"), "cursor=-1", Ok(From::Cursor(place))),
            (None, "cursor=", Err((Code::BadCursor, "cursor".into()))),
            (None, "cursor=1&cursor=1", Err((Code::BadCursor, "cursor".into()))),
            (None, "from=-1", Err((Code::BadCursor, "from".into()))),
            (None, "from=%2B1", Err((Code::BadCursor, "from".into()))),
            (None, "from=18446744073709551616", Err((Code::BadCursor, "from".into()))),
            (None, "from=1&cursor=-1", Err((Code::Invalid, "from".into()))),
            (None, "offset=1", Err((Code::Invalid, "offset".into()))),
            (Some("x"), "", Err((Code::BadCursor, "last-event-id".into()))),
        ] {
            assert_eq!(at(last, query), expected, "{last:?} {query}");
        }
    }
}
