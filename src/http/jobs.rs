//! Jobs that exist: find, show, list, cancel, forget.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::json;

use super::context::RequestContext;
use super::query::{Query, decode};
use super::response;
use super::response::Reply;
use crate::config::Scope;
use crate::job::caps::LIST_ROWS_MAX;
use crate::job::{Code, Failure, JobId, State, StreamId};
use crate::log::Status;
use crate::log::{Found, ListQuery, Stream};

/// Rows of a list if the request does not say how many.
const LIST_ROWS_DEFAULT: usize = 100;

/// Finds the stream of a job, if the key of the request may see it.
///
/// # Errors
/// `invalid` for what is no id, `not_found`, `expired`.
pub(super) async fn find(context: &RequestContext<'_>, id: &str) -> Result<Arc<Stream>, Failure> {
    let id: JobId = decode(id, false).parse()?;
    match context.broker().log.find(&id).await? {
        Found::Stream(stream) if context.auth.sees(&stream.head().gateway) => Ok(stream),
        Found::Expired(tombstone) if context.auth.sees(&tombstone.gateway) => {
            Err(Failure::new(Code::Expired, "the job was removed after its retention"))
        }
        _ => Err(Failure::new(Code::NotFound, "no such job")),
    }
}

/// Handles `GET /v1/jobs/{id}`.
pub(super) async fn show(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    no_parameters(context)?;
    let stream = find(context, id).await?;
    Ok(status(&stream))
}

/// `POST /v1/jobs/{id}/cancel`: answers when the terminal is durable.
pub(super) async fn cancel(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Run)?;
    no_parameters(context)?;
    let found = find(context, id).await?;
    let stream = context.broker().cancel(&found.head().id, "client").await?;
    Ok(status(&stream))
}

fn status(stream: &Stream) -> Reply {
    let mut reply = response::json(StatusCode::OK, &Status::of(stream));
    response::set(&mut reply, "forebay-job-id", stream.head().id.as_str());
    reply
}

/// Handles `DELETE /v1/jobs/{id}`.
pub(super) async fn forget(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Run)?;
    no_parameters(context)?;
    let found = find(context, id).await?;
    context.broker().log.forget(&found.head().id).await?;
    Ok(response::json(StatusCode::OK, &json!({ "id": found.head().id, "deleted": true })))
}

/// Handles `GET /v1/jobs?state=&tag.teamId=&limit=&after=`. `after` is the `next` of the page before, or
/// the id of its last job.
pub(super) async fn list(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let query = Query::parse(context.parts.uri.query());
    query.only(|name| {
        matches!(name, "state" | "limit" | "after") || name.strip_prefix("tag.").is_some_and(|key| !key.is_empty())
    })?;
    let one = |name| query.one(name, Code::Invalid).map(|value| value.filter(|value| !value.is_empty()));
    let limit = one("limit")?.map_or(Ok(LIST_ROWS_DEFAULT), limit_of)?;
    let state = one("state")?.map(state_of).transpose()?;
    let after = match one("after")? {
        Some(after) => Some(after_of(context, after).await?),
        None => None,
    };
    let mut tags = Vec::new();
    for (name, value) in query.pairs() {
        if let Some(key) = name.strip_prefix("tag.") {
            query.one(name, Code::Invalid)?;
            tags.push((key.to_owned(), value.to_owned()));
        }
    }
    let rows = match context.auth.gateways()? {
        // For the log an empty list means all gateways.
        Some(none) if none.is_empty() => Vec::new(),
        gateways => {
            let gateways = gateways.unwrap_or_default();
            // One more than asked for tells whether there is a next page.
            let query = ListQuery { gateways, state, tags, after, limit: limit + 1 };
            context.broker().log.list(query).await?
        }
    };
    let next = (rows.len() > limit).then(|| rows[limit - 1].head().stream.to_job_id());
    let jobs: Vec<Status> = rows.iter().take(limit).map(|stream| Status::of(stream)).collect();
    Ok(response::json(StatusCode::OK, &json!({ "jobs": jobs, "next": next })))
}

fn limit_of(text: &str) -> Result<usize, Failure> {
    let limit = text.parse().ok().filter(|limit| (1..=LIST_ROWS_MAX).contains(limit));
    limit.ok_or_else(|| Failure::invalid("limit", format!("must be 1 to {LIST_ROWS_MAX}")))
}

fn state_of(text: &str) -> Result<State, Failure> {
    serde_json::from_value(text.into()).map_err(|_| {
        Failure::invalid("state", "must be pending, streaming, completed, failed, cancelled or interrupted")
    })
}

async fn after_of(context: &RequestContext<'_>, text: &str) -> Result<StreamId, Failure> {
    let wrong = || Failure::invalid("after", "must be the `next` of a page, or the id of a job");
    if let Ok(id) = text.parse::<JobId>()
        && let Found::Stream(stream) = context.broker().log.find(&id).await?
        && context.auth.sees(&stream.head().gateway)
    {
        return Ok(stream.head().stream);
    }
    uuid::Uuid::parse_str(text).map(|uuid| StreamId(uuid.into_bytes())).map_err(|_| wrong())
}

/// # Errors
/// `invalid`, naming the first parameter: the route takes none.
pub(super) fn no_parameters(context: &RequestContext<'_>) -> Result<(), Failure> {
    Query::parse(context.parts.uri.query()).only(|_| false)
}
