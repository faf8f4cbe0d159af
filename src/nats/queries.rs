//! Queries that one message answers: costs and models.

use serde_json::Value;

use super::request_body;
use crate::broker::{Broker, ModelsQuery};
use crate::job::Failure;
use crate::meter::{CostAnswer, CostQuery};
use crate::snapshot::ConfigSnapshot;

/// Returns the rows of a cost query; an empty body is a query for the total.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) async fn costs(broker: &Broker, query: &[u8]) -> Result<CostAnswer, Failure> {
    broker.meter.query(CostQuery::from_json(&request_body::parse_object(query)?)?).await
}

/// Returns the models that match the query, as many as fit into `bytes_max`; an empty body matches all
/// models that can serve jobs now.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) fn models(snapshot: &ConfigSnapshot, query: &[u8], bytes_max: usize) -> Result<Value, Failure> {
    let query: ModelsQuery = request_body::parse_object(query)?;
    Ok(snapshot.models(&query, Some(bytes_max)))
}
