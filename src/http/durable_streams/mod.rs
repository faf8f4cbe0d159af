//! The entrance of the Durable Streams protocol: jobs' streams to read, users' own to read and write.
//!
//! Owns the protocol's headers. A position is a cursor, as at every other entrance.
//! Promises that a reader sees only what is durable, and that a waiting reader holds a connection and
//! nothing else. Errors have our own envelope.

mod live;
mod params;
mod read;
mod source;
mod write;

use std::borrow::Cow;
use std::sync::Arc;

use hyper::Method;

use super::context::RequestContext;
use super::jobs;
use super::query::decode;
use super::response;
use super::response::Reply;
use crate::config::Scope;
use crate::job::Failure;
use crate::streams::{Key, PATH_BYTES_MAX};
use source::{Source, find, no_stream};

/// Paths that the protocol keeps for itself.
const RESERVED: &str = "__ds";

/// Answers a request to `/v1/stream/{path}`.
pub(super) async fn serve(context: &RequestContext<'_>, path: &str) -> Result<Reply, Failure> {
    let is_read = matches!(context.parts.method, Method::GET | Method::HEAD);
    let key = key(context, path)?;
    if !is_read {
        context.auth.access.require_in(Scope::Run, &key.gateway)?;
        return write::answer(context, key).await;
    }
    context.auth.access.require(Scope::Read)?;
    let feed = match context.auth.sees(&key.gateway) {
        true => find(context, &key).await?,
        false => return Err(no_stream()),
    };
    read::answer(context, Source::UserStream(feed, Arc::clone(&context.broker().user_streams))).await
}

/// Answers a request to `/v1/stream/jobs/{id}`.
pub(super) async fn serve_job(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let log = Arc::clone(&context.broker().log);
    read::answer(context, Source::Job(jobs::find(context, id).await?, log)).await
}

/// Adds the headers of every answer of this entrance: content of users must not pass as a page of ours.
pub(super) fn security_headers(reply: &mut Reply) {
    response::set(reply, "x-content-type-options", "nosniff");
    // Pages of other origins read with CORS, where they may, or not at all.
    response::set(reply, "cross-origin-resource-policy", "same-origin");
    response::set(reply, "content-security-policy", "sandbox; default-src 'none'");
}

fn key(context: &RequestContext<'_>, path: &str) -> Result<Key, Failure> {
    let path: Cow<'_, str> = decode(path, false);
    let is_plain = path.chars().all(|c| !c.is_control() && c != '\u{fffd}');
    if !(1..=PATH_BYTES_MAX).contains(&path.len()) || !is_plain {
        return Err(Failure::invalid("path", format!("must have 1 to {PATH_BYTES_MAX} bytes of text")));
    }
    if path.split('/').next() == Some(RESERVED) {
        return Err(Failure::unsupported("path", "subscriptions are not to be had here"));
    }
    Ok(Key { gateway: context.auth.gateway.clone().unwrap_or_default(), path: path.into() })
}
