//! Cloudflare's own door, `ai/run`, and what all that comes by its addresses is answered with.
//!
//! Owns their headers on answers. Who calls one of our doors by Cloudflare's address gets the answer
//! of that door, with these headers beside it.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::Value;
use serde_json::value::RawValue;

use super::context::RequestContext;
use super::dialect::{self, Answered};
use super::errors::Dialect;
use super::openai;
use super::query::decode;
use super::response;
use super::response::Reply;
use super::submit::{self, SubmittedJob};
use crate::broker::Broker;
use crate::dialect::cloudflare;
use crate::dialect::openai::{Completion, Embeddings};
use crate::job::{Failure, Task};
use crate::log::Status;
use crate::log::Stream;
use crate::wire::collect::Collector;
use crate::wire::header_options;

/// `POST …/ai/run` and `POST …/ai/run/{model…}`.
pub(super) async fn run(context: &RequestContext<'_>, model: Option<&str>, body: Incoming) -> Result<Reply, Failure> {
    let body = dialect::read(context, body).await?;
    let said = match model {
        Some(model) => header_options::of_input(decode(model, false).parse()?, &body)?,
        None => cloudflare::run(&body)?,
    };
    drop(body);
    let is_theirs = said.model.split().is_some_and(|(provider, _)| provider == "workers-ai");
    let streamed = said.stream == Some(true);
    let (mut said, door) = submit::beside_body(context, said, None)?;
    if context.broker().snapshot.load().task_of(&said.model) == Some(Task::Embedding) {
        said.input = cloudflare::texts(said.input);
    }
    let background = said.options.background;
    let mut taken = submit::take_in(context, said, door).await?;
    let broker = context.broker();
    let stream = &taken.submitted.stream;
    let (id, task) = (&stream.head().id, stream.head().task);
    if background {
        let status = serde_json::to_value(Status::of(stream)).unwrap_or_default();
        let mut reply = response::json(StatusCode::ACCEPTED, &cloudflare::success(status));
        submit::locate(&mut reply, id);
        taken.mark(&mut reply);
        return Ok(reply);
    }
    let submitter = taken.submitter.take();
    let answered = match task {
        Task::Chat if streamed => dialect::streamed(broker, stream, cloudflare::Pieces::new(id), submitter).await,
        Task::Chat => {
            let mut whole = Completion::default();
            let read = submit::read_whole(broker, stream, |record| whole.push(record)).await;
            let served = whole.served().clone();
            let result = read.and_then(|()| whole.finish(id)).map(cloudflare::chat);
            Answered { reply: result.map(enveloped), served }
        }
        Task::Embedding => {
            let mut whole = Embeddings::default();
            let read = submit::read_whole(broker, stream, |record| whole.push(record)).await;
            let served = whole.served().clone();
            let result = match read {
                Ok(()) => vectors(broker, stream, whole, is_theirs).await,
                Err(failure) => Err(failure),
            };
            Answered { reply: result.map(enveloped), served }
        }
        _ => return other(context, &taken).await,
    };
    Ok(answered.reply(Dialect::Cloudflare, context, &taken))
}

fn enveloped(result: Value) -> Reply {
    response::json(StatusCode::OK, &cloudflare::success(result))
}

async fn vectors(
    broker: &Broker,
    stream: &Arc<Stream>,
    mut whole: Embeddings,
    is_theirs: bool,
) -> Result<Value, Failure> {
    let bytes = openai::bytes_of(broker, stream, whole.output()?).await?;
    let plain = RawValue::from_string("{}".to_owned()).map_err(|error| Failure::internal(error.to_string()))?;
    let list: Value = serde_json::from_slice(&whole.finish(&bytes, &plain)?)
        .map_err(|_| Failure::internal("the list of vectors is not JSON"))?;
    Ok(if is_theirs { cloudflare::vectors(list) } else { list })
}

/// The answer of a task that has no shape of its own here: what the provider gave, if that is one value.
async fn other(context: &RequestContext<'_>, taken: &SubmittedJob) -> Result<Reply, Failure> {
    let broker = context.broker();
    let stream = &taken.submitted.stream;
    let mut collector = Collector::default();
    submit::read_whole(broker, stream, |record| collector.push(record)).await?;
    let answer = collector.finish(stream.head().id.clone());
    let mut answer = answer.ok_or_else(|| Failure::internal("the job ended without a terminal"))?;
    let mut reply = match answer.error.take() {
        Some(failure) => Dialect::Cloudflare.refused(&failure, &context.request_id),
        None => {
            let mut outputs =
                answer.result.as_mut().map(|result| std::mem::take(&mut result.outputs)).unwrap_or_default();
            let value = match (outputs.len(), outputs.pop()) {
                (1, Some(output)) => serde_json::from_slice(&openai::bytes_of(broker, stream, output.clone()).await?)
                    .unwrap_or_else(|_| serde_json::json!(output)),
                _ => serde_json::json!(answer.result),
            };
            enveloped(value)
        }
    };
    taken.mark(&mut reply);
    Ok(reply)
}
