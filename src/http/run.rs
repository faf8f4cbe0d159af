//! `/v1/run`: a job in our own format, answered collected, streamed, or at once.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{ACCEPT, CONTENT_TYPE};

use super::body;
use super::context::RequestContext;
use super::query::{Query, decode};
use super::response;
use super::response::Reply;
use super::sse;
use super::submit::{self as jobs, DisconnectGuard};
use crate::broker::{Broker, Submitted};
use crate::config::Scope;
use crate::job::Failure;
use crate::log::{Status, Stream};
use crate::wire::collect::{Answer, Collector};
use crate::wire::header_options;
use crate::wire::submit::{self, JobRequest};

/// `POST /v1/run` and `POST /v1/run/{model…}`.
pub(super) async fn run(context: &RequestContext<'_>, model: Option<&str>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Run)?;
    Query::parse(context.parts.uri.query()).only(|_| false)?;
    let server = &context.connection.server;
    let packed = jobs::is_msgpack(context.parts.headers.get(CONTENT_TYPE))?;
    let body = body::read(context).await?;
    let request = match model {
        Some(_) if packed => {
            return Err(Failure::invalid("content-type", "with the model in the address the body is JSON"));
        }
        Some(model) => header_options::of_input(decode(model, false).parse()?, &body)?,
        None if packed => submit::from_msgpack(&body)?,
        None => submit::from_json(&body)?,
    };
    // A large body is not held while its job is under way.
    drop(body);
    let (request, entrance) = jobs::with_headers(context, request, None)?;
    let (background, streamed) = (request.options.background, wants_stream(context, &request));
    let mut job = jobs::submit_job(context, request, entrance).await?;
    let (submitted, guard) = (&job.submitted, job.guard.take());
    let mut reply = match (background, streamed) {
        (true, _) => accepted(submitted),
        (false, true) => sse::answer(&server.broker, submitted, guard)?,
        (false, false) => collected(&server.broker, submitted, guard).await?,
    };
    job.add_headers(&mut reply);
    Ok(reply)
}

/// The body's `stream` has the last word; without it, `Accept` has.
fn wants_stream(context: &RequestContext<'_>, request: &JobRequest) -> bool {
    request.stream.unwrap_or_else(|| {
        let accepts = context.parts.headers.get_all(ACCEPT).iter();
        accepts.filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/event-stream")
        })
    })
}

fn accepted(submitted: &Submitted) -> Reply {
    let mut reply = response::json(StatusCode::ACCEPTED, &Status::of(&submitted.stream));
    jobs::set_location(&mut reply, &submitted.stream.head().id);
    reply
}

async fn collected(
    broker: &Arc<Broker>,
    submitted: &Submitted,
    guard: Option<DisconnectGuard>,
) -> Result<Reply, Failure> {
    let answer = collect(broker, &submitted.stream).await?;
    drop(guard);
    let mut reply = match &answer.error {
        None => response::json(StatusCode::OK, &answer),
        Some(failure) => response::failure_reply_with(failure, &answer),
    };
    response::set(&mut reply, "forebay-attempts", answer.attempts.to_string());
    if answer.cost.priced {
        response::set(&mut reply, "forebay-cost-usd", answer.cost.usd.to_string());
    }
    if let Some((provider, model)) = &answer.target {
        response::set(&mut reply, "forebay-provider", provider.as_bytes());
        response::set(&mut reply, "forebay-model", model.as_bytes());
    }
    Ok(reply)
}

async fn collect(broker: &Arc<Broker>, stream: &Arc<Stream>) -> Result<Answer, Failure> {
    let mut collector = Collector::default();
    jobs::read_whole(broker, stream, |record| collector.push(record)).await?;
    collector.finish(stream.head().id.clone()).ok_or_else(|| Failure::internal("the job ended without a terminal"))
}
