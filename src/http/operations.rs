//! Handlers about the broker itself: costs, models, providers, metrics, health and descriptions.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::json;

use super::context::RequestContext;
use super::query::{Query, decode};
use super::response;
use super::response::Reply;
use super::routes::Routes;
use super::{jobs, openapi};
use crate::broker::{Broker, ModelsQuery};
use crate::config::Scope;
use crate::job::Failure;
use crate::meter::CostQuery;
use crate::telemetry;

/// First line of the landing page.
const TITLE: &str = "Forebay: a durable inference layer for agents";
/// Last lines of the landing page.
const OTHER_PATHS: &str = "\
/g/{gateway}/v1/… is the same in another gateway; /v1/{account}/{gateway}/… and /accounts/{account}/ai/…
are Cloudflare's names for the same.
";

/// Handles `GET /healthz`.
pub(super) fn healthz() -> Reply {
    response::text(StatusCode::OK, "ok\n")
}

/// Handles `GET /readyz`.
pub(super) fn readyz(broker: &Broker) -> Reply {
    match broker.unready() {
        None => response::json(StatusCode::OK, &json!({ "ready": true })),
        Some(reason) => response::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false, "reason": reason })),
    }
}

/// Handles `GET /openapi.json`.
pub(super) fn openapi(routes: Routes) -> Reply {
    response::whole(StatusCode::OK, HeaderValue::from_static("application/json"), openapi::document(routes))
}

/// Handles `GET /`.
pub(super) fn landing(routes: Routes) -> Reply {
    response::text(StatusCode::OK, landing_page(routes))
}

/// The text of the landing page: a line for each operation.
pub(super) fn landing_page(routes: Routes) -> String {
    let rows = routes.iter().copied().flatten().flat_map(|route| {
        let path = route.path();
        route.operations.iter().map(move |operation| (operation.method, path.clone(), operation.summary))
    });
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(_, path, _)| path.len()).max().unwrap_or_default();
    let lines = rows.iter().map(|(method, path, summary)| format!("{method:<6} {path:<width$}  {summary}\n"));
    format!("{TITLE}\n\n{}\n{OTHER_PATHS}", lines.collect::<String>())
}

/// Handles `GET /metrics`.
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

/// Handles `GET /v1/models/{id…}`.
pub(super) fn model(context: &RequestContext<'_>, id: &str) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    jobs::no_parameters(context)?;
    let name = decode(id, false).parse()?;
    Ok(response::json(StatusCode::OK, &context.broker().snapshot.load().model(&name)?))
}

/// `GET /v1/providers`: the providers that are on, and the state of their targets.
pub(super) fn providers(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    jobs::no_parameters(context)?;
    let broker = context.broker();
    Ok(response::json(StatusCode::OK, &broker.admission.listing(&broker.snapshot.load())))
}

/// `POST /v1/costs/rebuild`: adds the sums up again from the ledger.
pub(super) async fn rebuild_costs(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Admin)?;
    jobs::no_parameters(context)?;
    let lines = context.broker().meter.rebuild().await?;
    Ok(response::json(StatusCode::OK, &json!({ "lines": lines })))
}

/// Handles `GET /v1/costs`.
pub(super) async fn costs(context: &RequestContext<'_>) -> Result<Reply, Failure> {
    context.auth.access.require(Scope::Read)?;
    let query = Query::parse(context.parts.uri.query());
    let mut costs = CostQuery::parse(query.pairs())?;
    costs.gateways = context.auth.gateways()?;
    let answer = context.broker().meter.query(costs).await?;
    Ok(response::json(StatusCode::OK, &answer))
}
