//! `/v1/{account}/{gateway}/{provider}/…`: to the provider as it is, and back.
//!
//! Owns which of these requests are jobs: those whose answer can be read. Their client gets the
//! provider's own head and bytes as they come, with our headers beside them.

use bytes::Bytes;
use futures_util::stream;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::value::RawValue;

use super::auth;
use super::auth::header;
use super::body::{self, Body, Cut, Pieces};
use super::cloudflare_names;
use super::context::RequestContext;
use super::errors::Dialect;
use super::response;
use super::response::Reply;
use super::submit::{self, DisconnectGuard, SubmittedJob};
use crate::broker::{PassthroughReply, PassthroughRequest, Reading, TeeItem, TeeReader};
use crate::config::Scope;
use crate::job::{Code, Failure, Gateway, Options, Timeouts};
use crate::telemetry;
use crate::wire::submit::{Entrance, JobRequest};

/// Answers a request to a provider's path that is none of our own routes.
pub(super) async fn pass_on(context: &RequestContext<'_>, provider: &str, path: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Run)?;
    let gateway = context.auth.gateway.clone().unwrap_or_default();
    context.auth.access.require_in(Scope::Run, &gateway)?;
    let broker = context.broker();
    let headers = &context.parts.headers;
    let snapshot = broker.snapshot.load_full();
    let is_on = |name: &str| snapshot.on.iter().any(|(known, _)| **known == *name);
    let upstream = PassthroughRequest {
        provider: cloudflare_names::provider_of(provider, is_on),
        method: context.parts.method.clone(),
        path,
        query: context.parts.uri.query(),
        headers,
        body: body::read(context).await?,
        // Beside our key, the usual headers are the provider's.
        has_own_key: headers.contains_key(auth::CLOUDFLARE_KEY),
    };
    let reading = broker.reading(&upstream);
    match reading.and_then(|reading| Some((job_request(&upstream, &reading)?, reading))) {
        Some((request, reading)) => metered(context, request, (upstream, reading)).await,
        None => raw(context, upstream, &gateway).await,
    }
}

/// The job that a request makes; `None` where it cannot be one.
fn job_request(upstream: &PassthroughRequest<'_>, reading: &Reading) -> Option<JobRequest> {
    let input: Box<RawValue> = serde_json::from_slice(&upstream.body).ok()?;
    let model = format!("{}/{}", upstream.provider, reading.model).parse().ok()?;
    input.get().starts_with('{').then(|| JobRequest::new(model, input, None))
}

/// Answers a request that is a job: its client gets what the provider sends.
async fn metered(
    context: &RequestContext<'_>,
    mut request: JobRequest,
    upstream: (PassthroughRequest<'_>, Reading),
) -> Result<Reply, Failure> {
    submit::apply_headers(context, &mut request)?;
    check(&request.options)?;
    // `Idempotency-Key` is the provider's: the same bytes cannot be given again.
    let entrance = Entrance { gateway: context.auth.gateway.clone(), idempotency_key: None, task: None };
    let (provider, model) = (upstream.0.provider.to_owned(), upstream.1.model.clone());
    let (mut job, mut tee) = submit::pass_on(context, (request, entrance), upstream).await?;
    let mut reply = match tee.head().await {
        Some((status, headers)) => {
            let guard = job.guard.take();
            answer(status, headers, Body::Pieces(pieces(tee, guard)))
        }
        None => Dialect::Cloudflare.failure_reply(&provider_failure(&job).await?, &context.request_id),
    };
    response::set(&mut reply, "forebay-provider", provider.as_bytes());
    response::set(&mut reply, "forebay-model", model.as_bytes());
    job.add_headers(&mut reply);
    Ok(reply)
}

/// Refuses what such a request cannot do, rather than not to do it.
fn check(options: &Options) -> Result<(), Failure> {
    let never = [
        ("options.background", options.background),
        ("options.fallbacks", !options.fallbacks.is_empty()),
        ("options.provider", options.provider.is_some()),
        ("options.hedge_ms", options.hedge_ms.is_some()),
    ];
    let unsupported = never.into_iter().find(|(_, is_set)| *is_set);
    unsupported.map_or(Ok(()), |(field, _)| {
        Err(Failure::unsupported(field, "what is passed on goes to one provider, once, and its answer comes back"))
    })
}

/// Returns the failure because of which the provider did not answer.
async fn provider_failure(job: &SubmittedJob) -> Result<Failure, Failure> {
    let stream = &job.submitted.stream;
    let ended = stream.watch().wait_for(|tail| tail.state.is_terminal()).await.map(drop);
    ended.map_err(|_| Failure::internal("the log is closed"))?;
    let failure = stream.outcome().and_then(|outcome| outcome.error.clone());
    Ok(failure.unwrap_or_else(|| Failure::new(Code::Cancelled, "the job was ended before its provider answered")))
}

fn pieces(tee: TeeReader, guard: Option<DisconnectGuard>) -> Pieces {
    Box::pin(stream::unfold((tee, guard), |(mut tee, guard)| async {
        match tee.next().await {
            TeeItem::Piece(piece) => Some((Ok(piece), (tee, guard))),
            TeeItem::End => {
                // The job ends a little later: its client may leave before that.
                guard.into_iter().for_each(DisconnectGuard::complete);
                None
            }
            TeeItem::Broken => Some((Err(Cut::after_the_rest().await), (tee, guard))),
        }
    }))
}

/// Answers a request that cannot be read as a job.
async fn raw(
    context: &RequestContext<'_>,
    upstream: PassthroughRequest<'_>,
    gateway: &Gateway,
) -> Result<Reply, Failure> {
    let mut own = Timeouts::default();
    if let Some(ms) = header(&context.parts.headers, "cf-aig-request-timeout", Code::Invalid)? {
        let ms = ms.parse().map_err(|_| Failure::invalid("cf-aig-request-timeout", "must be a whole number"))?;
        own.first_token_ms = Some(ms);
    }
    let passed = context.broker().pass_on(upstream, own, gateway).await?;
    let (status, headers) = (passed.status, passed.headers.clone());
    let body = match context.parts.method {
        Method::HEAD => Body::Whole(Bytes::new()),
        _ => Body::Pieces(Box::pin(stream::unfold(passed, piece))),
    };
    Ok(answer(status, headers, body))
}

async fn piece(mut passed: PassthroughReply) -> Option<(Result<Bytes, Cut>, PassthroughReply)> {
    match passed.next().await {
        Ok(piece) => Some((Ok(piece?), passed)),
        Err(failure) => {
            telemetry::error(&failure);
            Some((Err(Cut::after_the_rest().await), passed))
        }
    }
}

fn answer(status: u16, headers: HeaderMap, body: Body) -> Reply {
    let mut reply = response::empty(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY));
    *reply.headers_mut() = headers;
    *reply.body_mut() = body;
    reply
}
