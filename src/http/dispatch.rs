//! From a request to its answer: find the place, see who comes, hand over, note what came of it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use super::auth::Asked;
use super::connection::Connection;
use super::dialect::Dialect;
use super::response;
use super::response::Reply;
use super::route::{Place, Route, Via};
use super::{
    anthropic, cloudflare, cors, durable_streams, jobs, openai, operations, outputs, passthrough, responses, route,
    run, sse, websocket,
};
use crate::job::{Code, Failure, StreamId};

const REQUEST_ID: &str = "x-request-id";
/// Bytes of a client's own request id that are given back.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// A request that has come far enough to be served.
pub(super) struct Visit<'a> {
    pub(super) connection: &'a Arc<Connection>,
    pub(super) parts: &'a Parts,
    pub(super) asked: Asked,
    /// Whose address it came by.
    pub(super) via: Via<'a>,
    /// When its head was here.
    pub(super) arrived: Instant,
    /// When its body was.
    pub(super) read: OnceLock<Instant>,
    /// The client's own, else ours.
    pub(super) request_id: HeaderValue,
}

impl Visit<'_> {
    /// What we have taken so far, without the time in which the client sent its body.
    pub(super) fn overhead(&self) -> Duration {
        self.read.get().unwrap_or(&self.arrived).elapsed()
    }

    pub(super) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}

/// Answers one request. Never fails: a failure is an answer.
pub(super) async fn answer(connection: &Arc<Connection>, request: Request<Incoming>) -> Reply {
    let arrived = Instant::now();
    let (mut parts, body) = request.into_parts();
    let request_id = request_id(&parts.headers);
    let answered = place(connection, &mut parts, body, (arrived, request_id.clone())).await;
    let place = route::of(parts.uri.path());
    let dialect = place.and_then(|place| place.route.dialect());
    let mut reply = answered.unwrap_or_else(|failure| match dialect {
        Some(dialect) => dialect.refused(&failure, &request_id),
        None => response::refused(&failure),
    });
    if dialect == Some(Dialect::Anthropic) {
        reply.headers_mut().insert(HeaderName::from_static("request-id"), request_id.clone());
    }
    reply.headers_mut().insert(HeaderName::from_static(REQUEST_ID), request_id);
    if place.is_some_and(|place| place.via != Via::Own) {
        cloudflare::mark(&parts.headers, &mut reply);
    }
    if let Some(Place { route: Route::Stream(_) | Route::JobStream(_), .. }) = place {
        durable_streams::dress(&mut reply);
    }
    cors::tell(&connection.front.svc.live.load().config.server, &parts, &mut reply);
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

async fn place(
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
    cors::admit(&connection.front.svc.live.load().config, parts, &route)?;
    if let Route::Root | Route::Healthz | Route::Readyz | Route::OpenApi = route {
        return Ok(operations::open(route, &connection.front.svc));
    }
    if let Route::Socket | Route::JobSocket(_) = route {
        return websocket::upgrade(connection, parts, gateway, route);
    }
    let live = connection.front.svc.live.load();
    let asked = Asked::read(&live.config, &parts.headers, gateway)?;
    drop(live);
    let visit = Visit { connection, parts, asked, via, arrived, read: OnceLock::new(), request_id };
    match route {
        Route::Run(model) => run::run(&visit, model, body).await,
        Route::ChatCompletions => openai::chat(&visit, body).await,
        Route::Completions => openai::completion(&visit, body).await,
        Route::Embeddings => openai::embeddings(&visit, body).await,
        Route::Responses => responses::create(&visit, body).await,
        Route::Response(id) if visit.parts.method == Method::DELETE => responses::delete(&visit, id).await,
        Route::Response(id) => responses::show(&visit, id).await,
        Route::CancelResponse(id) => responses::cancel(&visit, id).await,
        Route::InputItems(id) => responses::input_items(&visit, id).await,
        Route::Messages => anthropic::message(&visit, body).await,
        Route::CountTokens => anthropic::count_tokens(&visit, body).await,
        Route::AiRun(model) => cloudflare::run(&visit, model, body).await,
        Route::PassedOn { provider, path } => passthrough::pass_on(&visit, provider, path, body).await,
        Route::Jobs => jobs::list(&visit).await,
        Route::Job(id) if visit.parts.method == Method::DELETE => jobs::forget(&visit, id).await,
        Route::Job(id) => jobs::show(&visit, id).await,
        Route::Cancel(id) => jobs::cancel(&visit, id).await,
        Route::Events(id) => sse::follow(&visit, id).await,
        Route::Output(id, index) => outputs::give(&visit, id, index).await,
        Route::Stream(path) => Ok(durable_streams::serve(&visit, path, body).await),
        Route::JobStream(id) => Ok(durable_streams::serve_job(&visit, id).await),
        Route::Costs => operations::costs(&visit).await,
        Route::RebuildCosts => operations::rebuild_costs(&visit).await,
        Route::Models => operations::models(&visit),
        Route::Model(id) => operations::model(&visit, id),
        Route::Providers => operations::providers(&visit),
        Route::Metrics => operations::metrics(&visit),
        Route::Root | Route::Healthz | Route::Readyz | Route::OpenApi | Route::Socket | Route::JobSocket(_) => {
            Err(Failure::internal("this route was served above"))
        }
    }
}
