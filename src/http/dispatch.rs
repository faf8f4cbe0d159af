//! From a request to its answer: find the dispatch, see who comes, hand over, note what came of it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use super::auth::RequestAuth;
use super::cloudflare_names::Via;
use super::context::{Connection, RequestContext};
use super::errors::Dialect;
use super::response;
use super::response::Reply;
use super::route::{Place, Route};
use super::{
    anthropic, cloudflare, cloudflare_headers, cors, durable_streams, jobs, openai, operations, outputs, passthrough,
    responses, route, run, sse, websocket,
};
use crate::job::{Code, Failure, StreamId};

const REQUEST_ID: &str = "x-request-id";
/// Bytes of a client's own request id that are given back.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Answers one request. Never fails: a failure is an answer.
pub(super) async fn answer(connection: &Arc<Connection>, request: Request<Incoming>) -> Reply {
    let arrived = Instant::now();
    let (mut parts, body) = request.into_parts();
    let request_id = request_id(&parts.headers);
    let answered = dispatch(connection, &mut parts, body, (arrived, request_id.clone())).await;
    let dispatch = route::of(parts.uri.path());
    let dialect = dispatch.and_then(|dispatch| dispatch.route.dialect());
    let mut reply = answered.unwrap_or_else(|failure| match dialect {
        Some(dialect) => dialect.refused(&failure, &request_id),
        None => response::refused(&failure),
    });
    if dialect == Some(Dialect::Anthropic) {
        reply.headers_mut().insert(HeaderName::from_static("request-id"), request_id.clone());
    }
    reply.headers_mut().insert(HeaderName::from_static(REQUEST_ID), request_id);
    if dispatch.is_some_and(|dispatch| dispatch.via != Via::Own) {
        cloudflare_headers::add(&parts.headers, &mut reply);
    }
    if let Some(Place { route: Route::Stream(_) | Route::JobStream(_), .. }) = dispatch {
        durable_streams::security_headers(&mut reply);
    }
    cors::tell(&connection.server.broker.snapshot.load().config.server, &parts, &mut reply);
    tracing::debug!(
        method = %parts.method,
        path = parts.uri.path(),
        status = reply.status().as_u16(),
        us = arrived.elapsed().as_micros(),
        traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok()),
        "answered"
    );
    reply
}

/// The client's own if it is fit to be given back, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID);
    let is_fit = |id: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    given.filter(is_fit).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(StreamId::generate().to_job_id().as_str()).expect("an id is letters and digits")
    })
}

async fn dispatch(
    connection: &Arc<Connection>,
    parts: &mut Parts,
    body: Incoming,
    (arrived, request_id): (Instant, HeaderValue),
) -> Result<Reply, Failure> {
    // The path is copied only where the upgrade needs the request's parts for itself.
    let path = parts.uri.clone();
    let Some(Place { gateway, route, via }) = route::of(path.path()) else {
        return Err(Failure::new(Code::NotFound, "there is no such route"));
    };
    if parts.method == Method::OPTIONS {
        return Ok(response::options(&route));
    }
    if !route.takes(parts.method.as_str()) {
        return Ok(response::wrong_method(&route));
    }
    cors::admit(&connection.server.broker.snapshot.load().config, parts, &route)?;
    if let Route::Root | Route::Healthz | Route::Readyz | Route::OpenApi = route {
        return Ok(operations::open(route, &connection.server.broker));
    }
    if let Route::Socket | Route::JobSocket(_) = route {
        return websocket::upgrade(connection, parts, gateway, route);
    }
    let snapshot = connection.server.broker.snapshot.load();
    let auth = RequestAuth::read(&snapshot.config, &parts.headers, gateway)?;
    drop(snapshot);
    let context = RequestContext { connection, parts, auth, via, arrived, body_read: OnceLock::new(), request_id };
    match route {
        Route::Run(model) => run::run(&context, model, body).await,
        Route::ChatCompletions => openai::chat(&context, body).await,
        Route::Completions => openai::completion(&context, body).await,
        Route::Embeddings => openai::embeddings(&context, body).await,
        Route::Responses => responses::create(&context, body).await,
        Route::Response(id) if context.parts.method == Method::DELETE => responses::delete(&context, id).await,
        Route::Response(id) => responses::show(&context, id).await,
        Route::CancelResponse(id) => responses::cancel(&context, id).await,
        Route::InputItems(id) => responses::input_items(&context, id).await,
        Route::Messages => anthropic::message(&context, body).await,
        Route::CountTokens => anthropic::count_tokens(&context, body).await,
        Route::AiRun(model) => cloudflare::run(&context, model, body).await,
        Route::PassedOn { provider, path } => passthrough::pass_on(&context, provider, path, body).await,
        Route::Jobs => jobs::list(&context).await,
        Route::Job(id) if context.parts.method == Method::DELETE => jobs::forget(&context, id).await,
        Route::Job(id) => jobs::show(&context, id).await,
        Route::Cancel(id) => jobs::cancel(&context, id).await,
        Route::Events(id) => sse::follow(&context, id).await,
        Route::Output(id, index) => outputs::give(&context, id, index).await,
        Route::Stream(path) => Ok(durable_streams::serve(&context, path, body).await),
        Route::JobStream(id) => Ok(durable_streams::serve_job(&context, id).await),
        Route::Costs => operations::costs(&context).await,
        Route::RebuildCosts => operations::rebuild_costs(&context).await,
        Route::Models => operations::models(&context),
        Route::Model(id) => operations::model(&context, id),
        Route::Providers => operations::providers(&context),
        Route::Metrics => operations::metrics(&context),
        Route::Root | Route::Healthz | Route::Readyz | Route::OpenApi | Route::Socket | Route::JobSocket(_) => {
            Err(Failure::internal("this route was served above"))
        }
    }
}
