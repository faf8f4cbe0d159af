//! Commands that send the broker one query: `cancel`, `costs`, `models` over NATS, `jobs` over HTTP.

use serde_json::{Value, json};

use super::args::{BrokerAddress, JobsArguments};
use super::nats::NatsClient;
use super::{CommandError, show};
use crate::egress::broker_client;
use crate::egress::broker_client::BrokerResponse;
use crate::job::{Code, Failure, JobId, Timestamp};

/// Sends a request to the broker over NATS. `name` is `cancel`, `costs` or `models`.
///
/// # Errors
/// Unreachable, or the broker's failure.
pub(super) async fn request(address: &BrokerAddress, name: &str, body: &Value) -> Result<Value, CommandError> {
    let broker = NatsClient::connect(&address.nats, &address.prefix, None).await?;
    Ok(broker.request(name, body).await?)
}

fn answer(fetched: Result<BrokerResponse, String>) -> Result<Value, CommandError> {
    let BrokerResponse { status, body } = fetched.map_err(CommandError::Unreachable)?;
    let value: Result<Value, _> = serde_json::from_slice(&body);
    if (200..300).contains(&status) {
        return value.map_err(|_| CommandError::Failed(Some("the broker's answer is not JSON".to_owned())));
    }
    let failure = value.ok().and_then(|body| serde_json::from_value::<Failure>(body.get("error")?.clone()).ok());
    Err(match failure {
        Some(failure) if failure.code == Code::Overloaded => CommandError::Failed(Some(failure.to_string())),
        Some(failure) => failure.into(),
        None => CommandError::Failed(Some(format!("HTTP status {status}, and no reason that we understand"))),
    })
}

/// Carries out `forebay cancel ID`.
pub(super) async fn cancel(address: &BrokerAddress, id: &str) -> Result<(), CommandError> {
    let id: JobId = id.parse()?;
    let ended = request(address, "cancel", &json!({"id": id})).await?;
    Ok(show::stdout_line(&ended.to_string())?)
}

/// Carries out `forebay jobs`.
pub(super) async fn jobs(address: &BrokerAddress, filter: JobsArguments) -> Result<(), CommandError> {
    let mut query = vec![("limit".to_owned(), filter.limit.to_string())];
    query.extend(filter.state.map(|state| ("state".to_owned(), state.as_str().to_owned())));
    query.extend(filter.after.map(|after| ("after".to_owned(), after)));
    query.extend(filter.tags.into_iter().map(|(key, value)| (format!("tag.{key}"), value)));
    let listed = answer(broker_client::get(&address.url, "/v1/jobs", &query, address.token.as_deref()).await)?;
    if filter.json {
        return Ok(show::stdout_line(&listed.to_string())?);
    }
    let rows =
        listed.get("jobs").or_else(|| listed.get("data")).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let cells = rows.iter().map(job_cells).collect::<Vec<_>>();
    if cells.is_empty() {
        show::stderr_line("no jobs");
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
