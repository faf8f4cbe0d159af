//! What callers hand to the log and get from it.

use std::sync::Arc;

use super::{Head, Row, Stream, StreamWriter};
use crate::job::{Charge, Event, Gateway, Job, JobId, State, StreamId, TagValue, Timestamp, Usage};

/// Events to append together, and the charges and rows that become durable with them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// At least one, at most [`crate::job::caps::BATCH_EVENTS_MAX`]. A terminal is the last.
    pub events: Vec<Event>,
    /// Ledger lines; only beside a terminal.
    pub charges: Vec<Charge>,
    /// Rows, in this order: what must be known of the events elsewhere, such as who is to be told.
    pub rows: Vec<Row>,
}

impl From<Vec<Event>> for Batch {
    fn from(events: Vec<Event>) -> Batch {
        Batch { events, ..Batch::default() }
    }
}

/// What came of opening a stream for a job.
#[derive(Debug)]
pub enum Opened {
    /// The job is new; its `accepted` record is durable.
    New(StreamWriter),
    /// The id or idempotency key is known, with the same body: the stream of that job.
    Joined(Arc<Stream>),
}

/// What is known under a job's id.
#[derive(Clone, Debug)]
pub enum Found {
    /// A stream, live or finished.
    Stream(Arc<Stream>),
    /// It was removed by retention.
    Expired(Box<Tombstone>),
    /// Nothing.
    Nothing,
}

/// What is left of an expired job.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Tombstone {
    /// The job.
    pub id: JobId,
    /// Its gateway.
    pub gateway: Gateway,
    /// How it ended.
    pub state: State,
    /// What it consumed.
    pub usage: Usage,
    /// When it was removed.
    pub expired_at: Timestamp,
}

/// A job that had no terminal when the log was opened.
#[derive(Debug)]
pub struct Unfinished {
    /// The job as it was accepted.
    pub job: Job,
    /// The right to go on with its stream.
    pub writer: StreamWriter,
}

/// Which jobs to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only of these gateways; empty = all.
    pub gateways: Vec<Gateway>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only with these tags (compared as text).
    pub tags: Vec<(String, String)>,
    /// Only older than this stream: the last of the page before.
    pub after: Option<StreamId>,
    /// Rows at most.
    pub limit: usize,
}

impl ListQuery {
    /// Whether the job of `head` in `state` belongs in the list.
    #[must_use]
    pub fn admits(&self, head: &Head, state: State) -> bool {
        let tag = |key: &str| head.metadata.get(key).map(TagValue::to_string);
        (self.gateways.is_empty() || self.gateways.contains(&head.gateway))
            && self.state.is_none_or(|wanted| wanted == state)
            && self.after.is_none_or(|after| head.stream < after)
            && self.tags.iter().all(|(key, value)| tag(key).as_deref() == Some(value))
    }
}

/// How the log is doing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Health {
    /// Why new jobs are refused, if they are.
    pub refusing: Option<String>,
    /// What recovery had to repair or drop, for the person who runs it.
    pub notes: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Streams in memory.
    pub streams: u64,
}
