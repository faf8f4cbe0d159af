//! How a job's records become another dialect's stream.
//!
//! Owns what every such rendering has in common: record by record, from record 0, the same bytes at
//! every reading. Does not know a dialect or a reader.

use crate::job::{Cost, Event, Failure};
use crate::wire::record::RecordRef;

/// State of a rendered stream after a record.
#[derive(Debug)]
pub enum RenderState {
    /// The stream goes on.
    More,
    /// The stream has come to its own end.
    Done,
    /// The stream broke: an error was written, and nothing may follow.
    Broken(Failure),
}

/// Renders one job in one dialect. Pure: what it writes depends on the records alone.
pub trait Render: Send + 'static {
    /// What a reader may be sent at any time between two pushes as a sign of life.
    const KEEP_ALIVE: &'static [u8];

    /// Appends the rendering of the next record to `out`.
    fn push(&mut self, record: RecordRef<'_>, out: &mut Vec<u8>) -> RenderState;

    /// Whether part of the answer was written: until then a failure may be an HTTP status.
    fn has_begun(&self) -> bool;

    /// Appends what was held back, since the head of the answer is sent before there is any of the answer.
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// Attempts, target and cost of the job, as far as its records were read.
    fn served(&self) -> &Served;

    /// Appends the error that ends a stream which breaks.
    fn error(&mut self, failure: &Failure, out: &mut Vec<u8>);
}

/// Collects the records of one job into the whole answer of one dialect.
pub trait Collect: Send {
    /// Adds the next record.
    fn push(&mut self, record: RecordRef<'_>);

    /// Attempts, target and cost of the job, as far as its records were read.
    fn served(&self) -> &Served;
}

/// Attempts, target and cost of a job, as far as its records were read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Served {
    /// Number of attempts that were made.
    pub attempts: u32,
    /// Target of the last attempt: provider and the provider's own id of the model.
    pub target: Option<(Box<str>, Box<str>)>,
    /// Number of times that the target changed.
    pub step: u32,
    /// Cost of the job, known with its terminal record.
    pub cost: Option<Cost>,
}

impl Served {
    /// Notes what an event contains about attempts and cost.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Attempt(attempt) => {
                self.attempts = attempt.attempt;
                let target = Some((attempt.provider.clone(), attempt.model.clone()));
                let before = std::mem::replace(&mut self.target, target);
                self.step += u32::from(before.is_some() && before != self.target);
            }
            Event::Completed(end) => self.cost = Some(end.cost),
            Event::Failed(end) => self.cost = Some(end.cost),
            Event::Cancelled(end) => self.cost = Some(end.cost),
            Event::Interrupted(end) => self.cost = Some(end.cost),
            _ => {}
        }
    }
}
