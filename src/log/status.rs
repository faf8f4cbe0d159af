//! The status of a job, which is the same over NATS, WebSocket and HTTP.

use schemars::JsonSchema;
use serde::Serialize;

use crate::job::{Cost, Failure, Gateway, JobId, ModelName, State, Tags, Task, Usage};
use crate::log::Stream;

/// Where a job stands, and what it came to.
#[derive(Serialize, JsonSchema)]
pub struct Status {
    id: JobId,
    gateway: Gateway,
    model: ModelName,
    task: Task,
    metadata: Tags,
    state: State,
    submitted_at: String,
    cursor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

impl Status {
    /// Returns the status of a stream as it is now.
    #[must_use]
    pub fn of(stream: &Stream) -> Status {
        let (head, tail, outcome) = (stream.head(), stream.tail(), stream.outcome());
        let outcome = outcome.as_deref();
        Status {
            id: head.id.clone(),
            gateway: head.gateway.clone(),
            model: head.model.clone(),
            task: head.task,
            metadata: head.metadata.clone(),
            state: tail.state,
            submitted_at: head.submitted_at.to_string(),
            cursor: stream.cursor(tail.durable).to_string(),
            ended_at: outcome.map(|outcome| outcome.at.to_string()),
            usage: outcome.map(|outcome| outcome.usage.clone()),
            cost: outcome.map(|outcome| outcome.cost),
            attempts: outcome.and_then(|outcome| outcome.attempts),
            finish_reason: outcome.and_then(|outcome| outcome.finish_reason.clone()),
            error: outcome.and_then(|outcome| outcome.error.clone()),
        }
    }
}
