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
use crate::wire::submit::{Door, Said};

/// Any request to a provider's path that is no door of ours.
pub(super) async fn pass_on(context: &RequestContext<'_>, provider: &str, path: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Run)?;
    let gateway = context.auth.gateway.clone().unwrap_or_default();
    context.auth.access.require_in(Scope::Run, &gateway)?;
    let broker = context.broker();
    let headers = &context.parts.headers;
    let snapshot = broker.snapshot.load_full();
    let is_on = |name: &str| snapshot.on.iter().any(|(known, _)| **known == *name);
    let asked = PassthroughRequest {
        provider: cloudflare_names::provider_of(provider, is_on),
        method: context.parts.method.clone(),
        path,
        query: context.parts.uri.query(),
        headers,
        body: body::read(context).await?,
        // Beside our key, the usual headers are the provider's.
        has_own_key: headers.contains_key(auth::CLOUDFLARE_KEY),
    };
    let reading = broker.reading(&asked);
    match reading.and_then(|reading| Some((said(&asked, &reading)?, reading))) {
        Some((said, reading)) => metered(context, said, (asked, reading)).await,
        None => raw(context, asked, &gateway).await,
    }
}

/// The job that a request is; `None` where it cannot be one.
fn said(asked: &PassthroughRequest<'_>, reading: &Reading) -> Option<Said> {
    let input: Box<RawValue> = serde_json::from_slice(&asked.body).ok()?;
    let model = format!("{}/{}", asked.provider, reading.model).parse().ok()?;
    input.get().starts_with('{').then(|| Said::of(model, input, None))
}

/// What can be read: a job, whose client gets what its provider sends.
async fn metered(
    context: &RequestContext<'_>,
    mut said: Said,
    asked: (PassthroughRequest<'_>, Reading),
) -> Result<Reply, Failure> {
    submit::headers_beside(context, &mut said)?;
    check(&said.options)?;
    // `Idempotency-Key` is the provider's: we could give nobody the same bytes again.
    let door = Door { gateway: context.auth.gateway.clone(), idempotency_key: None, task: None };
    let (provider, model) = (asked.0.provider.to_owned(), asked.1.model.clone());
    let (mut taken, mut tapped) = submit::pass_on(context, (said, door), asked).await?;
    let mut reply = match tapped.head().await {
        Some((status, headers)) => {
            let submitter = taken.submitter.take();
            answer(status, headers, Body::Pieces(pieces(tapped, submitter)))
        }
        None => Dialect::Cloudflare.refused(&why(&taken).await?, &context.request_id),
    };
    response::set(&mut reply, "forebay-provider", provider.as_bytes());
    response::set(&mut reply, "forebay-model", model.as_bytes());
    taken.mark(&mut reply);
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
    let asked = never.into_iter().find(|(_, is_asked)| *is_asked);
    asked.map_or(Ok(()), |(field, _)| {
        Err(Failure::unsupported(field, "what is passed on goes to one provider, once, and its answer comes back"))
    })
}

/// Why the provider did not answer.
async fn why(taken: &SubmittedJob) -> Result<Failure, Failure> {
    let stream = &taken.submitted.stream;
    let ended = stream.watch().wait_for(|tail| tail.state.is_terminal()).await.map(drop);
    ended.map_err(|_| Failure::internal("the log is closed"))?;
    let failure = stream.outcome().and_then(|outcome| outcome.error.clone());
    Ok(failure.unwrap_or_else(|| Failure::new(Code::Cancelled, "the job was ended before its provider answered")))
}

fn pieces(tapped: TeeReader, submitter: Option<DisconnectGuard>) -> Pieces {
    Box::pin(stream::unfold((tapped, submitter), |(mut tapped, submitter)| async {
        match tapped.next().await {
            TeeItem::Piece(piece) => Some((Ok(piece), (tapped, submitter))),
            TeeItem::End => {
                // The job ends a little later; it is not to be ended by that its client goes.
                submitter.into_iter().for_each(DisconnectGuard::served);
                None
            }
            TeeItem::Broken => Some((Err(Cut::after_the_rest().await), (tapped, submitter))),
        }
    }))
}

/// What cannot be read.
async fn raw(context: &RequestContext<'_>, asked: PassthroughRequest<'_>, gateway: &Gateway) -> Result<Reply, Failure> {
    let mut own = Timeouts::default();
    if let Some(ms) = header(&context.parts.headers, "cf-aig-request-timeout", Code::Invalid)? {
        let ms = ms.parse().map_err(|_| Failure::invalid("cf-aig-request-timeout", "must be a whole number"))?;
        own.first_token_ms = Some(ms);
    }
    let passed = context.broker().pass_on(asked, own, gateway).await?;
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
