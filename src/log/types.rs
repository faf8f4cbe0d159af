//! Types that callers hand to the log and get from it.

use std::sync::Arc;

use super::{Head, Row, Stream, StreamWriter};
use crate::job::{Charge, Event, Gateway, Job, JobId, State, StreamId, TagValue, Timestamp, Usage};

/// A batch of events to append together, with the charges and rows that become durable with them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Events in their order: at least one, at most [`crate::job::caps::BATCH_EVENTS_MAX`]. A terminal is the last.
    pub events: Vec<Event>,
    /// Charges for the ledger; only beside a terminal.
    pub charges: Vec<Charge>,
    /// Rows, in this order: what must be durable with the events, such as a webhook that is due.
    pub rows: Vec<Row>,
}

impl From<Vec<Event>> for Batch {
    fn from(events: Vec<Event>) -> Batch {
        Batch { events, ..Batch::default() }
    }
}

/// The result of opening a stream for a job.
#[derive(Debug)]
pub enum Opened {
    /// The job is new; its `accepted` record is durable.
    New(StreamWriter),
    /// The id or idempotency key is known and the body is the same: the stream of that job.
    Joined(Arc<Stream>),
}

/// The result of looking for a job's id.
#[derive(Clone, Debug)]
pub enum Found {
    /// The stream of a job that runs or has finished.
    Stream(Arc<Stream>),
    /// The tombstone of a job that retention removed.
    Expired(Box<Tombstone>),
    /// No job is known under the id.
    Nothing,
}

/// The tombstone of an expired job.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Tombstone {
    /// The id of the job.
    pub id: JobId,
    /// The gateway of the job.
    pub gateway: Gateway,
    /// The state in which it ended.
    pub state: State,
    /// The usage over all its attempts.
    pub usage: Usage,
    /// The time at which it was removed.
    pub expired_at: Timestamp,
}

/// A job that had no terminal when the log was opened.
#[derive(Debug)]
pub struct Unfinished {
    /// The job as it was accepted.
    pub job: Job,
    /// The writer that continues its stream.
    pub writer: StreamWriter,
}

/// A query for jobs, which are listed newest first.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Lists only jobs of these gateways; empty means all.
    pub gateways: Vec<Gateway>,
    /// Lists only jobs in this state.
    pub state: Option<State>,
    /// Lists only jobs with these tags (compared as text).
    pub tags: Vec<(String, String)>,
    /// Lists only jobs older than this stream, which is the last one of the page before.
    pub after: Option<StreamId>,
    /// The greatest number of jobs in the page.
    pub limit: usize,
}

impl ListQuery {
    /// Returns whether the job of `head` in `state` belongs in the list.
    #[must_use]
    pub fn admits(&self, head: &Head, state: State) -> bool {
        let tag = |key: &str| head.metadata.get(key).map(TagValue::to_string);
        (self.gateways.is_empty() || self.gateways.contains(&head.gateway))
            && self.state.is_none_or(|wanted| wanted == state)
            && self.after.is_none_or(|after| head.stream < after)
            && self.tags.iter().all(|(key, value)| tag(key).as_deref() == Some(value))
    }
}

/// The health of the log.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Health {
    /// The reason why new jobs are refused, if they are.
    pub refusing: Option<String>,
    /// Notes for the operator: what recovery had to repair or drop.
    pub notes: Vec<String>,
    /// Number of bytes on disk.
    pub bytes: u64,
    /// Number of streams in memory.
    pub streams: u64,
}
