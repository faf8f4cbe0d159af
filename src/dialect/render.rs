//! How a job's records become another dialect's stream.
//!
//! Owns what every such rendering has in common: record by record, from record 0, the same bytes at
//! every reading. Does not know a dialect, nor who reads.

use crate::job::{Cost, Event, Failure};
use crate::wire::record::RecordRef;

/// What became of a stream with a record.
#[derive(Debug)]
pub enum Told {
    /// It goes on.
    More,
    /// It has come to its own end.
    Done,
    /// It broke: an error was written, and nothing may follow.
    Broken(Failure),
}

/// Renders one job in one dialect. Pure: what it writes depends on the records alone.
pub trait Render: Send + 'static {
    /// What a reader may be sent at any time between two pushes as a sign of life.
    const KEEP_ALIVE: &'static [u8];

    /// Appends what the next record says to `out`.
    fn push(&mut self, record: RecordRef<'_>, out: &mut Vec<u8>) -> Told;

    /// Whether part of the answer was told: until then a failure may be an HTTP status.
    fn has_begun(&self) -> bool;

    /// The head leaves before there is anything to tell. Appends what was held back for it.
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    /// Who served it, as far as it was read.
    fn served(&self) -> &Served;

    /// Appends the error that ends a stream which breaks.
    fn error(&mut self, failure: &Failure, out: &mut Vec<u8>);
}

/// Collects the records of one job into the whole answer of one dialect.
pub trait Collect: Send {
    /// Takes the next record.
    fn push(&mut self, record: RecordRef<'_>);

    /// Who served it, as far as it was read.
    fn served(&self) -> &Served;
}

/// Who served a job, and for how much, as far as its records tell.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Served {
    /// How many attempts were made.
    pub attempts: u32,
    /// Who was asked last: provider and the provider's own id of the model.
    pub target: Option<(Box<str>, Box<str>)>,
    /// How often somebody else was turned to.
    pub step: u32,
    /// With the terminal.
    pub cost: Option<Cost>,
}

impl Served {
    /// Notes what an event says of it.
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
