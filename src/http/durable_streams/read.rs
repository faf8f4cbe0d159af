//! Reading a durable stream: catching up, long polls, and `HEAD`.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};

use super::live;
use super::params::{Mode, ReadParams};
use super::source::{End, Source, budget, no_stream};
use crate::dialect::durable_streams;
use crate::dialect::durable_streams::Lifetime;
use crate::http::context::RequestContext;
use crate::http::response;
use crate::http::response::Reply;
use crate::job::Failure;
use crate::streams::Page;
use crate::telemetry;
use crate::wire::Cursor;

/// Bytes of content in one answer.
const PAGE_BYTES: usize = 1024 * 1024;

/// Answers `GET` and `HEAD`.
pub(super) async fn answer(context: &RequestContext<'_>, source: Source) -> Result<Reply, Failure> {
    if context.is_head() {
        return Ok(head(&source));
    }
    let params = ReadParams::of(context.parts.uri.query())?;
    let end = source.end();
    let from = params.offset.unwrap_or(Cursor::Start).resolve(source.epoch(), end.next)?;
    source.touch();
    if from > 0 {
        telemetry::resumed("stream");
    }
    telemetry::replayed(end.next - from);
    match params.mode {
        Mode::Events => Ok(live::events(context, source, from, params)),
        Mode::LongPoll => long_poll(context, &source, from, &params).await,
        Mode::CatchUp if params.offset == Some(Cursor::Now) => {
            let mut reply = whole(&source, Page { content: Vec::new(), next: from }, end);
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(reply)
        }
        Mode::CatchUp => {
            let page = source.read(from, budget(&source, PAGE_BYTES)).await?;
            Ok(cached(context, whole(&source, page, source.end()), from))
        }
    }
}

/// A page in an answer of its own.
fn whole(source: &Source, page: Page, end: End) -> Reply {
    let next = page.next;
    let mut reply = response::whole(StatusCode::OK, type_of(source), source.form().body(page.content));
    place(&mut reply, source, next, end);
    reply
}

fn type_of(source: &Source) -> HeaderValue {
    HeaderValue::try_from(source.content_type()).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// Adds the headers that say where the reader is.
fn place(reply: &mut Reply, source: &Source, next: u64, end: End) {
    response::set(reply, "stream-next-offset", source.cursor(next).to_string());
    // What came after the page was read is not in it.
    if next >= end.next {
        response::set(reply, "stream-up-to-date", "true");
        if end.closed {
            response::set(reply, "stream-closed", "true");
        }
    }
}

/// What a cache may do with an answer, or that its reader has it already. The tag holds whatever the
/// answer depends on.
fn cached(context: &RequestContext<'_>, mut reply: Reply, from: u64) -> Reply {
    let header = |name: &'static str| reply.headers().get(name).and_then(|value| value.to_str().ok());
    let flag = |name, letter| if header(name).is_some() { letter } else { "" };
    let next = header("stream-next-offset").unwrap_or_default();
    let tag = format!("\"{next}-{from}{}{}\"", flag("stream-up-to-date", "u"), flag("stream-closed", "c"));
    let known = context.parts.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    });
    if is_known {
        let mut same = response::empty(StatusCode::NOT_MODIFIED);
        let keep = ["stream-next-offset", "stream-up-to-date", "stream-closed"].map(HeaderName::from_static);
        for name in keep {
            if let Some(value) = reply.headers().get(&name) {
                same.headers_mut().insert(name, value.clone());
            }
        }
        reply = same;
    }
    let control = match context.auth.access.gateways {
        None => "public, max-age=60, stale-while-revalidate=300",
        Some(_) => "private, max-age=60, stale-while-revalidate=300",
    };
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(control));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

async fn long_poll(
    context: &RequestContext<'_>,
    source: &Source,
    from: u64,
    params: &ReadParams,
) -> Result<Reply, Failure> {
    let limit = Duration::from_millis(context.broker().snapshot.load().config.server.long_poll_ms);
    source.wait_for(from, limit).await?;
    let end = source.end();
    if end.gone {
        return Err(no_stream());
    }
    source.touch();
    let mut reply = if end.next > from {
        let page = source.read(from, budget(source, PAGE_BYTES)).await?;
        cached(context, whole(source, page, source.end()), from)
    } else {
        let mut reply = response::empty(StatusCode::NO_CONTENT);
        place(&mut reply, source, from, end);
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    };
    let now = context.broker().clock.now();
    let cursor = durable_streams::stream_cursor(now, params.cursor.as_deref(), fastrand::u64(..));
    response::set(&mut reply, "stream-cursor", cursor.to_string());
    Ok(reply)
}

fn head(source: &Source) -> Reply {
    let mut reply = response::empty(StatusCode::OK);
    let end = source.end();
    reply.headers_mut().insert(CONTENT_TYPE, type_of(source));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response::set(&mut reply, "stream-next-offset", source.cursor(end.next).to_string());
    if end.closed {
        response::set(&mut reply, "stream-closed", "true");
    }
    if let Source::UserStream(feed, _) = source {
        match feed.lifetime() {
            Lifetime::Unlimited => {}
            Lifetime::Idle(seconds) => response::set(&mut reply, "stream-ttl", seconds.to_string()),
            Lifetime::Until(at) => response::set(&mut reply, "stream-expires-at", at.to_string()),
        }
    }
    reply
}
