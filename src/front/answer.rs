//! From a request to its answer: find the place, see who comes, hand over, note what came of it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request};

use super::ask::Asked;
use super::connection::Connection;
use super::dialect::Dialect;
use super::reply::{self, Reply};
use super::route::{Place, Route, Via};
use super::{
    cloudflare, cors, jobs, messages, openai, output, passing, responses, route, run, scrape, socket, sse, stream,
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
        None => reply::refused(&failure),
    });
    if dialect == Some(Dialect::Anthropic) {
        reply.headers_mut().insert(HeaderName::from_static("request-id"), request_id.clone());
    }
    reply.headers_mut().insert(HeaderName::from_static(REQUEST_ID), request_id);
    if place.is_some_and(|place| place.via != Via::Own) {
        cloudflare::mark(&parts.headers, &mut reply);
    }
    if let Some(Place { route: Route::Stream(_) | Route::JobStream(_), .. }) = place {
        stream::dress(&mut reply);
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
        return Ok(reply::options(&route));
    }
    if !route.takes(parts.method.as_str()) {
        return Ok(reply::wrong_method(&route));
    }
    cors::admit(&connection.front.svc.live.load().config, parts, &route)?;
    if let Route::Root | Route::Healthz | Route::Readyz | Route::OpenApi = route {
        return Ok(scrape::open(route, &connection.front.svc));
    }
    if let Route::Socket | Route::JobSocket(_) = route {
        return socket::upgrade(connection, parts, gateway, route);
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
        Route::Messages => messages::message(&visit, body).await,
        Route::CountTokens => messages::count_tokens(&visit, body).await,
        Route::AiRun(model) => cloudflare::run(&visit, model, body).await,
        Route::PassedOn { provider, path } => passing::pass_on(&visit, provider, path, body).await,
        Route::Jobs => jobs::list(&visit).await,
        Route::Job(id) if visit.parts.method == Method::DELETE => jobs::forget(&visit, id).await,
        Route::Job(id) => jobs::show(&visit, id).await,
        Route::Cancel(id) => jobs::cancel(&visit, id).await,
        Route::Events(id) => sse::follow(&visit, id).await,
        Route::Output(id, index) => output::give(&visit, id, index).await,
        Route::Stream(path) => Ok(stream::serve(&visit, path, body).await),
        Route::JobStream(id) => Ok(stream::serve_job(&visit, id).await),
        Route::Costs => scrape::costs(&visit).await,
        Route::RebuildCosts => scrape::rebuild_costs(&visit).await,
        Route::Models => scrape::models(&visit),
        Route::Model(id) => scrape::model(&visit, id),
        Route::Providers => scrape::providers(&visit),
        Route::Metrics => scrape::metrics(&visit),
        Route::Root | Route::Healthz | Route::Readyz | Route::OpenApi | Route::Socket | Route::JobSocket(_) => {
            Err(Failure::internal("this route was served above"))
        }
    }
}
