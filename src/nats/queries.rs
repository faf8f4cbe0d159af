//! The answers that are one message: the costs, the catalog.

use serde_json::Value;

use super::request;
use crate::broker::{Broker, ModelsQuery};
use crate::job::Failure;
use crate::meter::{CostAnswer, CostQuery};
use crate::snapshot::ConfigSnapshot;

/// The rows that a cost query asks for; an empty body asks for the total.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) async fn costs(svc: &Broker, query: &[u8]) -> Result<CostAnswer, Failure> {
    svc.meter.query(CostQuery::from_json(&request::read(query)?)?).await
}

/// The models that are asked for, as many as fit into `bytes_max`; an empty body asks for all that
/// can be asked now.
///
/// # Errors
/// `invalid`, naming the field.
pub(super) fn models(snapshot: &ConfigSnapshot, query: &[u8], bytes_max: usize) -> Result<Value, Failure> {
    let query: ModelsQuery = request::read(query)?;
    Ok(snapshot.models(&query, Some(bytes_max)))
}
