//! Cloudflare's own doors: `ai/run`, and a provider's paths passed on as they are.
//!
//! Owns their headers on answers. Who calls one of our doors by Cloudflare's address gets the answer
//! of that door, with these headers beside it.

use std::sync::Arc;

use futures_util::stream;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Visit;
use super::ask::{self, header};
use super::body::{self, Body, Cut};
use super::dialect::{self, Answered, Dialect};
use super::query::decode;
use super::reply::{self, Reply};
use super::run::{self, TakenIn};
use super::{openai, route_cloudflare};
use crate::config::Scope;
use crate::job::{Code, Failure, Task, Timeouts};
use crate::log::Stream;
use crate::request::{Asked, Passed, Services, Status};
use crate::telemetry;
use crate::wire::collect::Collector;
use crate::wire::openai::{Completion, Embeddings};
use crate::wire::{beside, cloudflare};

/// The client's own id of the event, which is given back.
const EVENT_ID: &str = "cf-aig-event-id";

/// How often a job turned to somebody else before it was answered: beside an answer, for its headers.
#[derive(Clone, Copy)]
pub(super) struct Step(pub(super) u32);

/// Adds Cloudflare's names of what the answer's headers say.
pub(super) fn mark(asked: &HeaderMap, reply: &mut Reply) {
    for (from, names) in [
        ("forebay-job-id", &["cf-aig-log-id", "cf-aig-request-id", EVENT_ID][..]),
        ("forebay-provider", &["cf-aig-provider"]),
        ("forebay-model", &["cf-aig-model"]),
    ] {
        let Some(value) = reply.headers().get(from).cloned() else { continue };
        for name in names {
            reply::set(reply, name, value.as_bytes());
        }
    }
    if let Some(id) = asked.get(EVENT_ID) {
        reply::set(reply, EVENT_ID, id.as_bytes());
    }
    let cache = reply.headers().get("forebay-cache").map(|value| value.as_bytes() == b"miss");
    if let Some(is_miss) = cache {
        // Who joins a job costs nothing either.
        reply::set(reply, "cf-aig-cache-status", if is_miss { "MISS" } else { "HIT" });
    }
    if let Some(Step(step)) = reply.extensions().get().copied() {
        reply::set(reply, "cf-aig-step", step.to_string());
    }
}

/// `POST …/ai/run` and `POST …/ai/run/{model…}`.
pub(super) async fn run(visit: &Visit<'_>, model: Option<&str>, body: Incoming) -> Result<Reply, Failure> {
    let body = dialect::read(visit, body).await?;
    let said = match model {
        Some(model) => beside::of_input(decode(model, false).parse()?, &body)?,
        None => cloudflare::run(&body)?,
    };
    drop(body);
    let is_theirs = said.model.split().is_some_and(|(provider, _)| provider == "workers-ai");
    let streamed = said.stream == Some(true);
    let (mut said, door) = run::beside_body(visit, said, None)?;
    if visit.connection.front.svc.live.load().task_of(&said.model) == Some(Task::Embedding) {
        said.input = cloudflare::texts(said.input);
    }
    let background = said.options.background;
    let mut taken = run::take_in(visit, said, door).await?;
    let svc = &visit.connection.front.svc;
    let stream = &taken.submitted.stream;
    let (id, task) = (&stream.head().id, stream.head().task);
    if background {
        let status = serde_json::to_value(Status::of(stream)).unwrap_or_default();
        let mut reply = reply::json(StatusCode::ACCEPTED, &cloudflare::success(status));
        run::locate(&mut reply, id);
        taken.mark(&mut reply);
        return Ok(reply);
    }
    let submitter = taken.submitter.take();
    let answered = match task {
        Task::Chat if streamed => dialect::streamed(svc, stream, cloudflare::Pieces::new(id), submitter).await,
        Task::Chat => {
            let mut whole = Completion::default();
            let read = run::read_whole(svc, stream, |record| whole.push(record)).await;
            let served = whole.served().clone();
            let result = read.and_then(|()| whole.finish(id)).map(cloudflare::chat);
            Answered { reply: result.map(enveloped), served }
        }
        Task::Embedding => {
            let mut whole = Embeddings::default();
            let read = run::read_whole(svc, stream, |record| whole.push(record)).await;
            let served = whole.served().clone();
            let result = match read {
                Ok(()) => vectors(svc, stream, whole, is_theirs).await,
                Err(failure) => Err(failure),
            };
            Answered { reply: result.map(enveloped), served }
        }
        _ => return other(visit, &taken).await,
    };
    Ok(answered.reply(Dialect::Cloudflare, visit, &taken))
}

fn enveloped(result: Value) -> Reply {
    reply::json(StatusCode::OK, &cloudflare::success(result))
}

async fn vectors(
    svc: &Services,
    stream: &Arc<Stream>,
    mut whole: Embeddings,
    is_theirs: bool,
) -> Result<Value, Failure> {
    let bytes = openai::bytes_of(svc, stream, whole.output()?).await?;
    let plain = RawValue::from_string("{}".to_owned()).map_err(|error| Failure::internal(error.to_string()))?;
    let list: Value = serde_json::from_slice(&whole.finish(&bytes, &plain)?)
        .map_err(|_| Failure::internal("the list of vectors is not JSON"))?;
    Ok(if is_theirs { cloudflare::vectors(list) } else { list })
}

/// The answer of a task that has no shape of its own here: what the provider gave, if that is one value.
async fn other(visit: &Visit<'_>, taken: &TakenIn) -> Result<Reply, Failure> {
    let svc = &visit.connection.front.svc;
    let stream = &taken.submitted.stream;
    let mut collector = Collector::default();
    run::read_whole(svc, stream, |record| collector.push(record)).await?;
    let answer = collector.finish(stream.head().id.clone());
    let mut answer = answer.ok_or_else(|| Failure::internal("the job ended without a terminal"))?;
    let mut reply = match answer.error.take() {
        Some(failure) => Dialect::Cloudflare.refused(&failure, &visit.request_id),
        None => {
            let mut outputs =
                answer.result.as_mut().map(|result| std::mem::take(&mut result.outputs)).unwrap_or_default();
            let value = match (outputs.len(), outputs.pop()) {
                (1, Some(output)) => serde_json::from_slice(&openai::bytes_of(svc, stream, output.clone()).await?)
                    .unwrap_or_else(|_| serde_json::json!(output)),
                _ => serde_json::json!(answer.result),
            };
            enveloped(value)
        }
    };
    taken.mark(&mut reply);
    Ok(reply)
}

/// `/v1/{account}/{gateway}/{provider}/…`: to the provider as it is, and back.
pub(super) async fn pass_on(visit: &Visit<'_>, provider: &str, path: &str, body: Incoming) -> Result<Reply, Failure> {
    visit.asked.access.require(Scope::Run)?;
    let gateway = visit.asked.gateway.clone().unwrap_or_default();
    visit.asked.access.require_in(Scope::Run, &gateway)?;
    let svc = &visit.connection.front.svc;
    let headers = &visit.parts.headers;
    let live = svc.live.load_full();
    let is_on = |name: &str| live.on.iter().any(|(known, _)| **known == *name);
    let asked = Asked {
        provider: route_cloudflare::provider_of(provider, is_on),
        method: visit.parts.method.clone(),
        path,
        query: visit.parts.uri.query(),
        headers,
        body: body::read(visit, body).await?,
        // Beside our key, the usual headers are the provider's.
        has_own_key: headers.contains_key(ask::CLOUDFLARE_KEY),
    };
    let mut own = Timeouts::default();
    if let Some(ms) = header(headers, "cf-aig-request-timeout", Code::Invalid)? {
        let ms = ms.parse().map_err(|_| Failure::invalid("cf-aig-request-timeout", "must be a whole number"))?;
        own.first_token_ms = Some(ms);
    }
    let passed = svc.pass_on(asked, own, &gateway).await?;
    let mut reply = reply::empty(StatusCode::from_u16(passed.status).unwrap_or(StatusCode::BAD_GATEWAY));
    *reply.headers_mut() = passed.headers.clone();
    if visit.parts.method != Method::HEAD {
        *reply.body_mut() = Body::Pieces(Box::pin(stream::unfold(passed, piece)));
    }
    Ok(reply)
}

async fn piece(mut passed: Passed) -> Option<(Result<bytes::Bytes, Cut>, Passed)> {
    match passed.next().await {
        Ok(piece) => Some((Ok(piece?), passed)),
        Err(failure) => {
            telemetry::error(&failure);
            Some((Err(Cut::after_the_rest().await), passed))
        }
    }
}
