//! The one shape of the entrances for clients of other APIs: parse, submit, then stream or collect.
//!
//! Owns the headers of these answers. An entrance defines how a body becomes a job, and how the job's records
//! become the answer; `x-should-retry` keeps clients from repeating what the job itself has tried.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::body;
use super::cloudflare_headers::Step;
use super::context::RequestContext;
use super::errors::{Dialect, SHOULD_RETRY};
use super::query::Query;
use super::rendered;
use super::response;
use super::response::Reply;
use super::submit::{self, SubmittedJob};
use crate::broker::Broker;
use crate::config::Scope;
use crate::dialect::render::{Collect, Render, Served};
use crate::job::{Failure, JobId, State, Task};
use crate::log::Stream;
use crate::wire::submit::JobRequest;

/// How the records of a job become an answer in another API's format.
pub(super) trait Answers: Sized {
    /// The API in whose form errors are answered.
    const DIALECT: Dialect;
    /// Renders the records as the API's stream.
    type Events: Render;
    /// Collects the records into the API's whole answer.
    type Whole: Collect;

    /// The stream of `job`; `None` if there is no streamed answer.
    fn events(&self, job: &JobId) -> Option<Self::Events>;

    /// The beginning of the whole answer of `job`.
    fn whole(&self, job: &JobId) -> Self::Whole;

    /// The whole answer, once all records were collected.
    async fn finish(self, whole: Self::Whole, broker: &Broker, stream: &Arc<Stream>) -> Result<Reply, Failure>;
}

/// An entrance whose request is a job by itself.
pub(super) trait ApiEntrance: Answers {
    /// The task of its jobs.
    const TASK: Task;

    /// The job that `body` describes, and how it is to be answered.
    fn parse(context: &RequestContext<'_>, body: &[u8]) -> Result<(JobRequest, Self), Failure>;
}

/// Answers a request at the entrance `E`.
pub(super) async fn serve<E: ApiEntrance>(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    let body = read(context).await?;
    let (request, entrance) = E::parse(context, &body)?;
    // A large body is not held while its job is under way.
    drop(body);
    let streamed = request.stream == Some(true);
    let (request, entrance_facts) = submit::with_headers(context, request, Some(E::TASK))?;
    if request.options.background {
        let message = "this dialect has no answer at once: leave it out, or submit to /v1/run";
        return Err(Failure::unsupported("options.background", message));
    }
    let job = submit::submit_job(context, request, entrance_facts).await?;
    Ok(answer(context, entrance, job, streamed).await)
}

/// Reads the body of a request that submits a job.
pub(super) async fn read(context: &RequestContext<'_>) -> Result<Bytes, Failure> {
    context.auth.access.require(Scope::Run)?;
    Query::parse(context.parts.uri.query()).only(|name| matches!(name, "api-version" | "beta"))?;
    if submit::is_msgpack(context.parts.headers.get(CONTENT_TYPE))? {
        return Err(Failure::invalid("content-type", "must be application/json"));
    }
    body::read(context).await
}

/// Answers a submitted job, streamed or collected.
pub(super) async fn answer<A: Answers>(
    context: &RequestContext<'_>,
    answers: A,
    mut job: SubmittedJob,
    streamed: bool,
) -> Reply {
    let broker = context.broker();
    let stream = Arc::clone(&job.submitted.stream);
    let guard = job.guard.take();
    let events = if streamed { answers.events(&stream.head().id) } else { None };
    let answered = match events {
        Some(events) => {
            let (reply, served) = rendered::stream(broker, &stream, events, guard).await;
            JobAnswer { reply, served }
        }
        None => {
            let mut whole = answers.whole(&stream.head().id);
            let read = submit::read_whole(broker, &stream, |record| whole.push(record)).await;
            drop(guard);
            let served = whole.served().clone();
            let reply = match read {
                Ok(()) => answers.finish(whole, broker, &stream).await,
                Err(failure) => Err(failure),
            };
            JobAnswer { reply, served }
        }
    };
    answered.reply(A::DIALECT, context, &job)
}

/// An answer or a failure; and the job's attempts, target and cost.
pub(super) struct JobAnswer {
    pub(super) reply: Result<Reply, Failure>,
    pub(super) served: Served,
}

impl JobAnswer {
    /// Makes the reply, with its headers.
    pub(super) fn reply(self, dialect: Dialect, context: &RequestContext<'_>, job: &SubmittedJob) -> Reply {
        let mut reply = self.reply.unwrap_or_else(|failure| {
            let mut reply = dialect.failure_reply(&failure, &context.request_id);
            // All that could be tried was. One that we broke off ourselves may be asked anew.
            if job.submitted.stream.tail().state != State::Interrupted {
                reply.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            reply
        });
        if self.served.attempts > 0 {
            response::set(&mut reply, "forebay-attempts", self.served.attempts.to_string());
            reply.extensions_mut().insert(Step(self.served.step));
        }
        if let Some(cost) = self.served.cost.filter(|cost| cost.priced) {
            response::set(&mut reply, "forebay-cost-usd", cost.usd.to_string());
        }
        if let Some((provider, model)) = &self.served.target {
            response::set(&mut reply, "forebay-provider", provider.as_bytes());
            response::set(&mut reply, "forebay-model", model.as_bytes());
        }
        job.add_headers(&mut reply);
        reply
    }
}
