//! The answers that are one message: the costs, the catalog.

use serde_json::{Value, json};

use super::asked;
use crate::job::Failure;
use crate::meter::{CostAnswer, CostQuery};
use crate::request::{Live, Services};

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
