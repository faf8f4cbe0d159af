//! The answers that are one message: a job's status, the costs, the catalog.

use serde_json::{Value, json};

use super::asked;
use crate::job::Failure;
use crate::log::Stream;
use crate::meter::{CostAnswer, CostQuery};
use crate::request::{Live, Services};

/// Where a job stands.
pub(super) fn status(stream: &Stream) -> Value {
    let (head, tail) = (stream.head(), stream.tail());
    let mut status = json!({
        "id": head.id,
        "gateway": head.gateway,
        "model": head.model,
        "task": head.task,
        "metadata": head.metadata,
        "state": tail.state,
        "submitted_at": head.submitted_at.to_string(),
        "cursor": stream.cursor(tail.durable).to_string(),
    });
    if let Some(outcome) = stream.outcome() {
        status["ended_at"] = outcome.at.to_string().into();
        status["usage"] = json!(outcome.usage);
        status["cost"] = json!(outcome.cost);
        for (name, value) in [
            ("attempts", outcome.attempts.map(Value::from)),
            ("finish_reason", outcome.finish_reason.as_deref().map(Value::from)),
            ("error", outcome.error.as_ref().map(|error| json!(**error))),
        ] {
            if let Some(value) = value {
                status[name] = value;
            }
        }
    }
    status
}

/// The rows that a cost query asks for; an empty body asks for the total.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) async fn costs(svc: &Services, query: &[u8]) -> Result<CostAnswer, Failure> {
    svc.meter.query(CostQuery::from_json(&asked::read(query)?)?).await
}

/// The models that the configuration names, and the providers that are on.
pub(super) fn models(live: &Live) -> Value {
    let named = live.config.models.iter();
    let models: Vec<Value> =
        named.map(|(id, model)| json!({"id": id, "task": model.task, "targets": model.targets})).collect();
    json!({ "models": models, "providers": live.registry.names().collect::<Vec<_>>() })
}
