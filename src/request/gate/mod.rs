//! stub
use crate::job::*;
use crate::policy::walk::Candidate;
use std::time::Duration;
pub struct Gate;
pub(super) struct Pass(Target);
pub(super) struct Shut {
    pub until: Timestamp,
    pub reason: QueueReason,
}
pub(super) struct Waiting {
    pub stream: StreamId,
    pub candidates: Vec<Candidate>,
    pub priority: u8,
    pub share: Option<Box<str>>,
    pub since: Timestamp,
}
pub(super) struct Ticket;
pub(super) enum Turn {
    Queued(Queued),
    Go(Pass),
}
impl Ticket {
    pub(super) async fn next(&mut self) -> Turn {
        std::future::pending().await
    }
}
impl Gate {
    pub(super) fn enter(&self, c: &[Candidate]) -> Result<Pass, Shut> {
        c.first().map(|c| Pass(c.target.clone())).ok_or(Shut { until: Timestamp(0), reason: QueueReason::Cooling })
    }
    pub(super) fn wait(&self, _w: Waiting) -> Result<Ticket, Failure> {
        Ok(Ticket)
    }
}
impl Pass {
    pub(super) fn target(&self) -> &Target {
        &self.0
    }
    pub(super) fn spoke(&mut self, _d: Duration) {}
    pub(super) fn learn(&self, _l: &Limits) {}
    pub(super) fn lost(self, _f: &Failure) {}
    pub(super) fn ended(self) {}
}
