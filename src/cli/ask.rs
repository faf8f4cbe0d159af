//! Commands that ask the broker one question: `cancel`, `costs`, `models` over NATS, `jobs` over HTTP.

use serde_json::{Value, json};

use super::args::{JobsArguments, Reach};
use super::nats::Broker;
use super::{Trouble, show};
use crate::egress::broker_client;
use crate::egress::broker_client::BrokerResponse;
use crate::job::{Code, Failure, JobId, Timestamp};

/// Asks the broker over NATS. `name` is `cancel`, `costs` or `models`.
///
/// # Errors
/// Unreachable, or what the broker says.
pub(super) async fn ask(reach: &Reach, name: &str, body: &Value) -> Result<Value, Trouble> {
    let broker = Broker::connect(&reach.nats, &reach.prefix, None).await?;
    Ok(broker.ask(name, body).await?)
}

fn answer(fetched: Result<BrokerResponse, String>) -> Result<Value, Trouble> {
    let BrokerResponse { status, body } = fetched.map_err(Trouble::Unreachable)?;
    let value: Result<Value, _> = serde_json::from_slice(&body);
    if (200..300).contains(&status) {
        return value.map_err(|_| Trouble::Failed(Some("the broker's answer is not JSON".to_owned())));
    }
    let failure = value.ok().and_then(|body| serde_json::from_value::<Failure>(body.get("error")?.clone()).ok());
    Err(match failure {
        Some(failure) if failure.code == Code::Overloaded => Trouble::Failed(Some(failure.to_string())),
        Some(failure) => failure.into(),
        None => Trouble::Failed(Some(format!("HTTP status {status}, and no reason that we understand"))),
    })
}

/// `forebay cancel ID`.
pub(super) async fn cancel(reach: &Reach, id: &str) -> Result<(), Trouble> {
    let id: JobId = id.parse()?;
    let ended = ask(reach, "cancel", &json!({"id": id})).await?;
    Ok(show::line(&ended.to_string())?)
}

/// `forebay jobs`.
pub(super) async fn jobs(reach: &Reach, filter: JobsArguments) -> Result<(), Trouble> {
    let mut query = vec![("limit".to_owned(), filter.limit.to_string())];
    query.extend(filter.state.map(|state| ("state".to_owned(), state.as_str().to_owned())));
    query.extend(filter.after.map(|after| ("after".to_owned(), after)));
    query.extend(filter.tags.into_iter().map(|(key, value)| (format!("tag.{key}"), value)));
    let listed = answer(broker_client::get(&reach.url, "/v1/jobs", &query, reach.token.as_deref()).await)?;
    if filter.json {
        return Ok(show::line(&listed.to_string())?);
    }
    let rows =
        listed.get("jobs").or_else(|| listed.get("data")).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let cells = rows.iter().map(job_cells).collect::<Vec<_>>();
    if cells.is_empty() {
        show::complain("no jobs");
    }
    Ok(show::table(&["id", "state", "model", "submitted", "usd"], &cells)?)
}

fn job_cells(job: &Value) -> Vec<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("-").to_owned();
    let at = job.get("submitted_at").or_else(|| job.get("at"));
    let at = at.map(|at| at.as_u64().map_or_else(|| text(Some(at)), |ms| Timestamp(ms).to_string()));
    vec![
        text(job.get("id")),
        text(job.get("state")),
        text(job.get("model")),
        at.unwrap_or_else(|| "-".to_owned()),
        text(job.pointer("/cost/usd")),
    ]
}
