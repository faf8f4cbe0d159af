//! The attempts of a job: what the ledger will say of each.

use std::ops::{Index, IndexMut};
use std::sync::{Arc, OnceLock};

use super::attempt::ReportSlot;
use crate::job::{AttemptOutcome, Bill, Failure, Target, Timestamp, Usage};
use crate::provider::Upstream;

/// One attempt, as the ledger will have it.
#[derive(Debug)]
pub(crate) struct AttemptRecord {
    /// The target that was asked.
    pub(crate) target: Target,
    /// How the attempt ended; `None` while it is under way.
    pub(crate) outcome: Option<AttemptOutcome>,
    /// The reason for which it was lost, if it was.
    pub(crate) failure: Option<Failure>,
    /// The provider's own numbers, as far as it gave them.
    pub(crate) usage: Option<Usage>,
    /// Facts other than usage on which the price depends.
    pub(crate) bill: Bill,
    /// The moment at which the answer ended.
    pub(crate) ended_at: Option<Timestamp>,
    /// Number of bytes of the answer that were emitted; an estimate of usage is made of it.
    pub(crate) emitted_bytes: u64,
    /// Whether the provider was given the beginning of the answer to continue.
    pub(crate) is_prefilled: bool,
    /// Whether the provider refused the request because of that beginning.
    pub(crate) is_prefill_refused: bool,
    /// Whether the provider had accepted the request.
    pub(crate) was_accepted: bool,
    /// Index of the earlier attempt whose answer this one continues to receive, if it does.
    pub(crate) continues: Option<usize>,
    /// Whether a later attempt received the rest of the answer and has its usage.
    pub(crate) is_superseded: bool,
    /// The answer that went on at the provider when the attempt ended.
    pub(crate) upstream: Option<Upstream>,
    /// The place in which the attempt itself leaves its report.
    pub(crate) report_slot: ReportSlot,
}

impl AttemptRecord {
    /// Makes the record of an attempt that begins at `target`.
    pub(crate) fn new(target: Target) -> AttemptRecord {
        AttemptRecord {
            target,
            outcome: None,
            failure: None,
            usage: None,
            bill: Bill::default(),
            ended_at: None,
            emitted_bytes: 0,
            is_prefilled: false,
            is_prefill_refused: false,
            was_accepted: false,
            continues: None,
            is_superseded: false,
            upstream: None,
            report_slot: ReportSlot::default(),
        }
    }

    /// Returns whether the provider did work that may have to be paid for. An answer that was cancelled
    /// after the provider had accepted the request counts; one that never came is billed by no provider
    /// that we know.
    pub(crate) fn is_billable(&self) -> bool {
        if self.is_superseded {
            return false;
        }
        let given_up = self.was_accepted && self.outcome == Some(AttemptOutcome::Cancelled);
        self.outcome == Some(AttemptOutcome::Completed) || self.emitted_bytes > 0 || given_up
    }
}

/// All attempts of a job, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    records: Vec<AttemptRecord>,
    /// Index of the attempt whose answer readers get: where two race, the one whose output came first.
    pub(crate) speaking: usize,
}

impl Attempts {
    /// The number of the attempt at `place` as readers see it: the first is 1.
    pub(crate) fn number(place: usize) -> u32 {
        u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Adds an attempt that begins at `target`; returns its index.
    pub(crate) fn push(&mut self, target: Target) -> usize {
        self.records.push(AttemptRecord::new(target));
        self.speaking = self.records.len() - 1;
        self.speaking
    }

    /// The attempt whose answer readers get.
    pub(crate) fn current(&mut self) -> &mut AttemptRecord {
        let speaking = self.speaking;
        self.records.get_mut(speaking).expect("an attempt is pushed before it begins")
    }

    /// Number of attempts so far.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether no attempt has begun.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The attempt at `place`, if there is one.
    pub(crate) fn get(&self, place: usize) -> Option<&AttemptRecord> {
        self.records.get(place)
    }

    /// The attempt at `place`, to be changed.
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut AttemptRecord> {
        self.records.get_mut(place)
    }

    /// The attempt that began last.
    pub(crate) fn last(&self) -> Option<&AttemptRecord> {
        self.records.last()
    }

    /// Iterates over all attempts from the first.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, AttemptRecord> {
        self.records.iter()
    }

    /// Iterates over all attempts from the first, to change them.
    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, AttemptRecord> {
        self.records.iter_mut()
    }

    /// Takes over the reports of all attempts, which are over, and gives `outcome` to those that have none.
    pub(crate) fn close(&mut self, outcome: AttemptOutcome) {
        for record in &mut self.records {
            record.outcome.get_or_insert(outcome);
            if let Some(report) = Arc::get_mut(&mut record.report_slot).and_then(OnceLock::take) {
                record.usage = record.usage.take().or(report.usage);
                record.bill = report.bill;
                record.ended_at = Some(report.at);
                record.was_accepted = report.was_accepted;
                record.upstream = report.upstream;
            }
        }
        self.merge_superseded();
    }

    /// Merges an answer that several attempts received: all of it belongs to the last of them.
    fn merge_superseded(&mut self) {
        for place in 0..self.records.len() {
            let record = &self.records[place];
            let has_heard = record.was_accepted || record.emitted_bytes > 0;
            let mut earlier = record.continues.filter(|_| has_heard);
            while let Some(at) = earlier {
                let before = &mut self.records[at];
                before.is_superseded = true;
                let emitted_bytes = std::mem::take(&mut before.emitted_bytes);
                earlier = before.continues;
                self.records[place].emitted_bytes += emitted_bytes;
            }
        }
    }
}

impl Index<usize> for Attempts {
    type Output = AttemptRecord;

    fn index(&self, place: usize) -> &AttemptRecord {
        &self.records[place]
    }
}

impl IndexMut<usize> for Attempts {
    fn index_mut(&mut self, place: usize) -> &mut AttemptRecord {
        &mut self.records[place]
    }
}
