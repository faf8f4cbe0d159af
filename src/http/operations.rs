//! Answers about the broker itself.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::json;

use super::context::RequestContext;
use super::query::{Query, decode};
use super::response;
use super::response::Reply;
use super::route::Route;
use super::{jobs, openapi};
use crate::broker::{Broker, ModelsQuery};
use crate::config::Scope;
use crate::job::Failure;
use crate::meter::CostQuery;
use crate::telemetry;

const LANDING: &str = "\
Forebay: a durable inference layer for agents

POST   /v1/run                       a job: {\"model\": …, \"input\": …}; Accept: text/event-stream for its records
POST   /v1/run/{model}               the same, the body is the input
POST   /v1/chat/completions, /v1/responses, /v1/embeddings: OpenAI's dialect, for its own libraries
GET    /v1/responses/{id}            the response, or its events (stream, starting_after)  DELETE: forget
GET    /v1/jobs                      list (state, tag.KEY, limit, after)
GET    /v1/jobs/{id}                 status            DELETE: forget
POST   /v1/jobs/{id}/cancel
GET    /v1/jobs/{id}/events          records as server-sent events (Last-Event-ID, cursor or from)
GET    /v1/jobs/{id}/outputs/{index}
GET    /v1/jobs/{id}/ws, /v1/ws      WebSocket
GET    /v1/costs                     what was spent (by, since, until, bucket, tag.KEY)
POST   /v1/costs/rebuild             adds the sums up again from the ledger
GET    /v1/models, /v1/models/{id}   what can be asked (q, provider, task, all)
GET    /v1/providers                 who can be asked, and how they are
GET    /metrics, /healthz, /readyz, /openapi.json

/g/{gateway}/v1/… is the same in another gateway; /v1/{account}/{gateway}/… and /accounts/{account}/ai/…
are Cloudflare's names for the same.
";

/// What needs no key.
pub(super) fn open(route: Route<'_>, broker: &Broker) -> Reply {
    match route {
        Route::Readyz => match broker.unready() {
            None => response::json(StatusCode::OK, &json!({ "ready": true })),
            Some(reason) => {
                response::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false, "reason": reason }))
            }
        },
        Route::OpenApi => {
            response::whole(StatusCode::OK, HeaderValue::from_static("application/json"), openapi::document())
        }
        Route::Healthz => response::text(StatusCode::OK, "ok\n"),
        _ => response::text(StatusCode::OK, LANDING),
    }
}

/// `GET /metrics`.
pub(super) fn metrics(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let broker = context.broker();
    broker.admission.measure(&broker.snapshot.load());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(response::whole(StatusCode::OK, kind, telemetry::render()))
}

/// `GET /v1/models?q=&provider=&task=&all=`: in the shape that OpenAI's clients read, and more.
pub(super) fn models(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let query = Query::parse(context.parts.uri.query());
    let query = ModelsQuery::parse(query.pairs())?;
    Ok(response::json(StatusCode::OK, &context.broker().snapshot.load().models(&query, None)))
}

/// `GET /v1/models/{id…}`.
pub(super) fn model(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    jobs::no_parameters(context)?;
    let name = decode(id, false).parse()?;
    Ok(response::json(StatusCode::OK, &context.broker().snapshot.load().model(&name)?))
}

/// `GET /v1/providers`: who is on, and how the targets are that have been asked.
pub(super) fn providers(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    jobs::no_parameters(context)?;
    let broker = context.broker();
    Ok(response::json(StatusCode::OK, &broker.admission.listing(&broker.snapshot.load())))
}

/// `POST /v1/costs/rebuild`: the sums anew from the ledger, for whoever doubts them.
pub(super) async fn rebuild_costs(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Admin)?;
    jobs::no_parameters(context)?;
    let lines = context.broker().meter.rebuild().await?;
    Ok(response::json(StatusCode::OK, &json!({ "lines": lines })))
}

/// `GET /v1/costs`.
pub(super) async fn costs(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let query = Query::parse(context.parts.uri.query());
    let mut costs = CostQuery::parse(query.pairs())?;
    costs.gateways = context.auth.gateways()?;
    let answer = context.broker().meter.query(costs).await?;
    Ok(response::json(StatusCode::OK, &answer))
}
