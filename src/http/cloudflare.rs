//! Cloudflare's own entrance, `ai/run`.
//!
//! The task of its job decides the form of the answer: a chat, a list of vectors, or the provider's own.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;

use super::context::RequestContext;
use super::entrance::{self, Answers};
use super::errors::Dialect;
use super::query::decode;
use super::response;
use super::response::Reply;
use super::submit::{self, SubmittedJob};
use crate::broker::Broker;
use crate::dialect::cloudflare;
use crate::dialect::openai::{Completion, Embeddings};
use crate::job::{Failure, JobId, Task};
use crate::log::{Status, Stream};
use crate::wire::collect::Collector;
use crate::wire::header_options;

/// `POST …/ai/run` and `POST …/ai/run/{model…}`.
pub(super) async fn run(context: &RequestContext<'_>, model: Option<&str>) -> Result<Reply, Failure> {
    let body = entrance::read(context).await?;
    let request = match model {
        Some(model) => header_options::of_input(decode(model, false).parse()?, &body)?,
        None => cloudflare::run(&body)?,
    };
    drop(body);
    let is_theirs = request.model.split().is_some_and(|(provider, _)| provider == "workers-ai");
    let streamed = request.stream == Some(true);
    let (mut request, entrance) = submit::with_headers(context, request, None)?;
    if context.broker().snapshot.load().task_of(&request.model) == Some(Task::Embedding) {
        request.input = cloudflare::texts(request.input);
    }
    let background = request.options.background;
    let job = submit::submit_job(context, request, entrance).await?;
    if background {
        return Ok(accepted(&job));
    }
    match job.submitted.stream.head().task {
        Task::Chat => Ok(entrance::answer(context, Chat, job, streamed).await),
        Task::Embedding => Ok(entrance::answer(context, Vectors { is_theirs }, job, false).await),
        _ => other(context, &job).await,
    }
}

fn accepted(job: &SubmittedJob) -> Reply {
    let stream = &job.submitted.stream;
    let status = serde_json::to_value(Status::of(stream)).unwrap_or_default();
    let mut reply = response::json(StatusCode::ACCEPTED, &cloudflare::success(status));
    submit::set_location(&mut reply, &stream.head().id);
    job.add_headers(&mut reply);
    reply
}

/// The answer to a chat.
struct Chat;

impl Answers for Chat {
    const DIALECT: Dialect = Dialect::Cloudflare;
    type Events = cloudflare::ResponseChunks;
    type Whole = Completion;

    fn events(&self, job: &JobId) -> Option<cloudflare::ResponseChunks> {
        Some(cloudflare::ResponseChunks::new(job))
    }

    fn whole(&self, _job: &JobId) -> Completion {
        Completion::default()
    }

    async fn finish(self, whole: Completion, _: &Broker, stream: &Arc<Stream>) -> Result<Reply, Failure> {
        Ok(enveloped(cloudflare::chat(whole.finish(&stream.head().id)?)))
    }
}

/// The answer to an embedding.
struct Vectors {
    /// Whether the model is one of Workers AI, whose list has a form of its own.
    is_theirs: bool,
}

impl Answers for Vectors {
    const DIALECT: Dialect = Dialect::Cloudflare;
    type Events = cloudflare::ResponseChunks;
    type Whole = Embeddings;

    fn events(&self, _job: &JobId) -> Option<cloudflare::ResponseChunks> {
        None
    }

    fn whole(&self, _job: &JobId) -> Embeddings {
        Embeddings::default()
    }

    async fn finish(self, mut whole: Embeddings, broker: &Broker, stream: &Arc<Stream>) -> Result<Reply, Failure> {
        let bytes = submit::bytes_of(broker, stream, whole.output()?).await?;
        let plain = RawValue::from_string("{}".to_owned()).map_err(|error| Failure::internal(error.to_string()))?;
        let list: Value = serde_json::from_slice(&whole.finish(&bytes, &plain)?)
            .map_err(|_| Failure::internal("the list of vectors is not JSON"))?;
        Ok(enveloped(if self.is_theirs { cloudflare::vectors(list) } else { list }))
    }
}

fn enveloped(result: Value) -> Reply {
    response::json(StatusCode::OK, &cloudflare::success(result))
}

/// The answer of a task that has no shape of its own here: what the provider gave, if that is one value.
async fn other(context: &RequestContext<'_>, job: &SubmittedJob) -> Result<Reply, Failure> {
    let broker = context.broker();
    let stream = &job.submitted.stream;
    let mut collector = Collector::default();
    submit::read_whole(broker, stream, |record| collector.push(record)).await?;
    let answer = collector.finish(stream.head().id.clone());
    let mut answer = answer.ok_or_else(|| Failure::internal("the job ended without a terminal"))?;
    let mut reply = match answer.error.take() {
        Some(failure) => Dialect::Cloudflare.failure_reply(&failure, &context.request_id),
        None => {
            let mut outputs =
                answer.result.as_mut().map(|result| std::mem::take(&mut result.outputs)).unwrap_or_default();
            let value = match (outputs.len(), outputs.pop()) {
                (1, Some(output)) => serde_json::from_slice(&submit::bytes_of(broker, stream, output.clone()).await?)
                    .unwrap_or_else(|_| serde_json::json!(output)),
                _ => serde_json::json!(answer.result),
            };
            enveloped(value)
        }
    };
    job.add_headers(&mut reply);
    Ok(reply)
}
