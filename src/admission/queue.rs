//! Who waits in line, and who is let in.
//!
//! Owns the line. It is behind a lock, since a job that is dropped must be able to leave at once;
//! who goes next is decided in one place only, which the gate's actor calls. Locks are taken in one
//! order: the line's, then a target's.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::permit::Permit;
use super::targets::{TargetHealth, Targets};
use super::{Candidate, Turn, Waiting};
use crate::clock::Clock;
use crate::config::{Config, HealthConfig, QueueConfig};
use crate::job::{Code, Failure, QueueReason, Queued, Timestamp};
use crate::policy::breaker::Unavailable;
use crate::policy::fair_queue::{Entry, FairQueue, Place};
use crate::telemetry;

/// How often a waiting job is told its position, if that changed: it becomes a durable event.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Milliseconds that a client is advised to wait when the line is full.
const FULL_RETRY_AFTER_MS: u64 = 1000;

/// What the gate's handles, passes and tickets share.
pub(super) struct AdmissionQueue {
    pub(super) board: Targets,
    pub(super) rules: ArcSwap<Rules>,
    /// When the desk opened, by both clocks: from then on only the one that cannot be set counts,
    /// so that no correction of the date shuts a target for hours.
    opened: (Timestamp, Instant),
    line: Mutex<InLine>,
    /// Wakes the actor: somebody joined, or a target may have become free.
    pub(super) wake: Arc<Notify>,
}

/// What an operator said.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) health: HealthConfig,
    pub(super) queue: QueueConfig,
}

impl Rules {
    pub(super) fn of(config: &Config) -> Rules {
        Rules { health: config.health, queue: config.queue.clone() }
    }
}

#[derive(Default)]
struct InLine {
    jobs: FairQueue<Waiter>,
    /// The gates that somebody waits for, by their ids.
    wanted: HashMap<u64, Arc<TargetHealth>>,
}

struct Waiter {
    candidates: Box<[(Arc<TargetHealth>, bool)]>,
    go: oneshot::Sender<Permit>,
}

impl AdmissionQueue {
    pub(super) fn open(clock: Clock, rules: Rules) -> AdmissionQueue {
        AdmissionQueue {
            board: Targets::default(),
            rules: ArcSwap::from_pointee(rules),
            opened: (clock.now(), Instant::now()),
            line: Mutex::default(),
            wake: Arc::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        let (date, instant) = self.opened;
        date.plus_ms(u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn line(&self) -> MutexGuard<'_, InLine> {
        self.line.lock().expect("nothing panics while it holds this lock")
    }

    /// A newcomer's pass through the first of `candidates` that is free, or the soonest opening.
    pub(super) fn enter(self: &Arc<Self>, candidates: &[Candidate]) -> Result<Permit, Unavailable> {
        let (now, rules) = (self.now(), self.rules.load());
        let mut soonest: Option<Unavailable> = None;
        for candidate in candidates {
            let gate = self.board.gate(&candidate.target, &rules.health, now);
            let entered = gate.enter(candidate.is_retry, &rules.health, now);
            match entered {
                Ok(is_probe) => {
                    // First calls pay for retries.
                    if gate.waits(true) {
                        self.wake.notify_one();
                    }
                    return Ok(Permit::new(gate, Arc::clone(self), is_probe));
                }
                Err(shut) => soonest = sooner(soonest, shut),
            }
        }
        Err(soonest.unwrap_or(Unavailable { until: now, reason: QueueReason::Capacity }))
    }

    /// A place in line.
    pub(super) fn wait(self: &Arc<Self>, waiting: Waiting) -> Result<Ticket, Failure> {
        let (now, rules) = (self.now(), self.rules.load());
        let gate = |candidate: &Candidate| (self.board.gate(&candidate.target, &rules.health, now), candidate.is_retry);
        let candidates: Box<[_]> = waiting.candidates.iter().map(gate).collect();
        let (go, come) = oneshot::channel();
        let mut line = self.line();
        if line.jobs.len() >= rules.queue.waiting_max {
            let full = Failure::new(Code::Overloaded, "too many jobs wait for targets that cannot be asked now");
            return Err(full.with_retry_after_ms(FULL_RETRY_AFTER_MS));
        }
        for (gate, is_retry) in &candidates {
            gate.joined(*is_retry);
            line.wanted.insert(gate.id, Arc::clone(gate));
        }
        let Waiting { stream, priority, share, since, .. } = waiting;
        let place = line.jobs.join(Entry { priority, share, since, stream }, Waiter { candidates, go });
        telemetry::queue_depth(line.jobs.len());
        drop(line);
        self.wake.notify_one();
        Ok(Ticket { desk: Arc::clone(self), place, come: Some(come), told: None })
    }

    /// Lets in whom the targets take, in the order of the line. Returns when the next target opens
    /// that somebody waits for; `None` while nobody waits for time to pass.
    pub(super) fn let_in(self: &Arc<Self>) -> Option<Timestamp> {
        let mut line = self.line();
        if line.jobs.is_empty() {
            return None;
        }
        let (now, rules) = (self.now(), self.rules.load());
        let (mut free, mut soonest) = line.free(&rules.health, now);
        let mut going = Vec::new();
        for (place, waiter) in line.jobs.in_order() {
            if free.is_empty() {
                break;
            }
            for (gate, is_retry) in &waiter.candidates {
                if !free.contains(&(gate.id, *is_retry)) {
                    continue;
                }
                let entered = gate.health().enter(*is_retry, &rules.health, now);
                match entered {
                    Ok(is_probe) => {
                        going.push((place.clone(), Permit::new(Arc::clone(gate), Arc::clone(self), is_probe)));
                        break;
                    }
                    Err(shut) => {
                        free.remove(&(gate.id, *is_retry));
                        soonest = sooner(soonest, shut);
                    }
                }
            }
        }
        for (place, pass) in going {
            if let Some(waiter) = line.jobs.serve(&place) {
                line.forget(&waiter);
                // Who has left meanwhile drops the pass, and with it frees the place of a probe.
                let _ = waiter.go.send(pass);
            }
        }
        telemetry::queue_depth(line.jobs.len());
        soonest.map(|shut| shut.until)
    }

    /// What a waiting job is told.
    fn queued(&self, place: &Place) -> Option<Queued> {
        let line = self.line();
        let waiter = line.jobs.get(place)?;
        let (now, rules) = (self.now(), self.rules.load());
        let mut shut = Some(Unavailable { until: Timestamp(u64::MAX), reason: QueueReason::Capacity });
        for (gate, is_retry) in &waiter.candidates {
            let free = Unavailable { until: now, reason: QueueReason::Capacity };
            shut = sooner(shut, gate.health().check(*is_retry, &rules.health, now).err().unwrap_or(free));
        }
        let shut = shut.filter(|shut| shut.until.0 < u64::MAX);
        Some(Queued {
            reason: shut.map_or(QueueReason::Capacity, |shut| shut.reason),
            position: line.jobs.position(place).map(|position| position as u64),
            eta_ms: shut.map(|shut| shut.until.ms_since(now)),
        })
    }

    /// A target's state changed: whoever waits for it may go now, or must wait longer.
    pub(super) fn changed(&self, gate: &TargetHealth) {
        if gate.waits(false) || gate.waits(true) {
            self.wake.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn line_len(&self) -> usize {
        self.line().jobs.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let line = self.line();
        let unwanted = self.board.all().iter().all(|gate| !gate.waits(false) && !gate.waits(true));
        line.jobs.is_empty() && line.wanted.is_empty() && unwanted
    }
}

impl Drop for AdmissionQueue {
    fn drop(&mut self) {
        // The actor finds that there is no desk any more, and ends.
        self.wake.notify_one();
    }
}

impl InLine {
    /// What could be asked now of what is waited for, and the soonest opening of the rest.
    fn free(&self, rules: &HealthConfig, now: Timestamp) -> (HashSet<(u64, bool)>, Option<Unavailable>) {
        let (mut free, mut soonest) = (HashSet::new(), None);
        for gate in self.wanted.values() {
            for is_retry in [false, true].into_iter().filter(|is_retry| gate.waits(*is_retry)) {
                let checked = gate.health().check(is_retry, rules, now);
                match checked {
                    Ok(_) => {
                        free.insert((gate.id, is_retry));
                    }
                    Err(shut) => soonest = sooner(soonest, shut),
                }
            }
        }
        (free, soonest)
    }

    /// A waiter is out of the line.
    fn forget(&mut self, waiter: &Waiter) {
        for (gate, is_retry) in &waiter.candidates {
            gate.left(*is_retry);
            if !gate.waits(false) && !gate.waits(true) {
                self.wanted.remove(&gate.id);
            }
        }
    }
}

fn sooner(soonest: Option<Unavailable>, shut: Unavailable) -> Option<Unavailable> {
    Some(soonest.filter(|soonest| soonest.until <= shut.until).unwrap_or(shut))
}

/// A place in line. Dropping it leaves the line.
pub(crate) struct Ticket {
    desk: Arc<AdmissionQueue>,
    place: Place,
    /// `None` once it has gone.
    come: Option<oneshot::Receiver<Permit>>,
    /// The position that was told last, and when.
    told: Option<(Option<u64>, Instant)>,
}

impl Ticket {
    /// What comes next: the news of its place, at once and then when that changes, or its turn.
    /// Cancel-safe. After its turn it has nothing more to say and does not resolve.
    pub(crate) async fn next(&mut self) -> Turn {
        while let Some(come) = &mut self.come {
            let told = self.told;
            let time_to_tell = async move {
                if let Some((_, at)) = told {
                    tokio::time::sleep_until(at + TOLD_EVERY).await;
                }
            };
            tokio::select! {
                biased;
                pass = come => {
                    self.come = None;
                    // The sender is in line as long as this ticket is, or has sent.
                    if let Ok(pass) = pass {
                        return Turn::Go(pass);
                    }
                }
                () = time_to_tell => {
                    // Out of line, and the pass not here: it is on its way.
                    let Some(queued) = self.desk.queued(&self.place) else {
                        self.told = Some((None, Instant::now()));
                        continue;
                    };
                    self.told = Some((queued.position, Instant::now()));
                    if told.is_none_or(|(position, _)| position != queued.position) {
                        return Turn::Queued(queued);
                    }
                }
            }
        }
        std::future::pending().await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut line = self.desk.line();
        if let Some(waiter) = line.jobs.leave(&self.place) {
            line.forget(&waiter);
            telemetry::queue_depth(line.jobs.len());
        }
    }
}
