//! The queue of jobs that wait for a target.
//!
//! Owns the order of waiting jobs. It is behind a lock, since a job that is dropped must be able to leave
//! at once; which job goes next is decided in one place only, which the actor calls. Locks are taken in one
//! order: the queue's, then a target's.

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

/// How often a waiting job is told its position, if that changed: each change becomes a durable event.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Milliseconds that a client is advised to wait when the queue is full.
const FULL_RETRY_AFTER_MS: u64 = 1000;

/// What the handles, permits and tickets of one admission share.
pub(super) struct AdmissionQueue {
    pub(super) targets: Targets,
    pub(super) rules: ArcSwap<Rules>,
    /// The moment of the start, by both clocks: from then on only the clock that cannot be set counts, so
    /// that no correction of the date closes a target for hours.
    opened: (Timestamp, Instant),
    queue: Mutex<WaitingJobs>,
    /// Wakes the actor: a job has joined the queue, or a target may have become free.
    pub(super) wake: Arc<Notify>,
}

/// The rules of the configuration in force.
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
struct WaitingJobs {
    jobs: FairQueue<Waiter>,
    /// The targets that jobs wait for, by their ids.
    wanted: HashMap<u64, Arc<TargetHealth>>,
}

struct Waiter {
    candidates: Box<[(Arc<TargetHealth>, bool)]>,
    go: oneshot::Sender<Permit>,
}

impl AdmissionQueue {
    pub(super) fn open(clock: Clock, rules: Rules) -> AdmissionQueue {
        AdmissionQueue {
            targets: Targets::default(),
            rules: ArcSwap::from_pointee(rules),
            opened: (clock.now(), Instant::now()),
            queue: Mutex::default(),
            wake: Arc::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        let (date, instant) = self.opened;
        date.plus_ms(u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn queue(&self) -> MutexGuard<'_, WaitingJobs> {
        self.queue.lock().expect("nothing panics while it holds this lock")
    }

    /// Returns a new job's permit for the first of `candidates` that is free, or the soonest opening.
    pub(super) fn enter(self: &Arc<Self>, candidates: &[Candidate]) -> Result<Permit, Unavailable> {
        let (now, rules) = (self.now(), self.rules.load());
        let mut soonest: Option<Unavailable> = None;
        for candidate in candidates {
            let target_health = self.targets.entry(&candidate.target, &rules.health, now);
            let entered = target_health.enter(candidate.is_retry, &rules.health, now);
            match entered {
                Ok(is_probe) => {
                    // First calls pay for retries.
                    if target_health.waits(true) {
                        self.wake.notify_one();
                    }
                    return Ok(Permit::new(target_health, Arc::clone(self), is_probe));
                }
                Err(unavailable) => soonest = sooner(soonest, unavailable),
            }
        }
        Err(soonest.unwrap_or(Unavailable { until: now, reason: QueueReason::Capacity }))
    }

    /// Takes a place in the queue.
    pub(super) fn wait(self: &Arc<Self>, waiting: Waiting) -> Result<Ticket, Failure> {
        let (now, rules) = (self.now(), self.rules.load());
        let target_health =
            |candidate: &Candidate| (self.targets.entry(&candidate.target, &rules.health, now), candidate.is_retry);
        let candidates: Box<[_]> = waiting.candidates.iter().map(target_health).collect();
        let (go, come) = oneshot::channel();
        let mut queue = self.queue();
        if queue.jobs.len() >= rules.queue.waiting_max {
            let full = Failure::new(Code::Overloaded, "too many jobs wait for targets that cannot be asked now");
            return Err(full.with_retry_after_ms(FULL_RETRY_AFTER_MS));
        }
        for (target_health, is_retry) in &candidates {
            target_health.joined(*is_retry);
            queue.wanted.insert(target_health.id, Arc::clone(target_health));
        }
        let Waiting { stream, priority, share, since, .. } = waiting;
        let place = queue.jobs.join(Entry { priority, share, since, stream }, Waiter { candidates, go });
        telemetry::queue_depth(queue.jobs.len());
        drop(queue);
        self.wake.notify_one();
        Ok(Ticket { queue: Arc::clone(self), place, come: Some(come), last_position: None })
    }

    /// Admits the jobs that the targets accept, in the order of the queue. Returns when the next target
    /// opens that a job waits for; `None` while no job waits for time to permit.
    pub(super) fn admit_waiting(self: &Arc<Self>) -> Option<Timestamp> {
        let mut queue = self.queue();
        if queue.jobs.is_empty() {
            return None;
        }
        let (now, rules) = (self.now(), self.rules.load());
        let (mut free, mut soonest) = queue.free(&rules.health, now);
        let mut going = Vec::new();
        for (place, waiter) in queue.jobs.in_order() {
            if free.is_empty() {
                break;
            }
            for (target_health, is_retry) in &waiter.candidates {
                if !free.contains(&(target_health.id, *is_retry)) {
                    continue;
                }
                let entered = target_health.health().enter(*is_retry, &rules.health, now);
                match entered {
                    Ok(is_probe) => {
                        going.push((place.clone(), Permit::new(Arc::clone(target_health), Arc::clone(self), is_probe)));
                        break;
                    }
                    Err(unavailable) => {
                        free.remove(&(target_health.id, *is_retry));
                        soonest = sooner(soonest, unavailable);
                    }
                }
            }
        }
        for (place, permit) in going {
            if let Some(waiter) = queue.jobs.serve(&place) {
                queue.forget(&waiter);
                // A job that has left meanwhile drops the permit, and with it frees the place of a probe.
                let _ = waiter.go.send(permit);
            }
        }
        telemetry::queue_depth(queue.jobs.len());
        soonest.map(|unavailable| unavailable.until)
    }

    /// Returns the news for a waiting job.
    fn queued(&self, place: &Place) -> Option<Queued> {
        let queue = self.queue();
        let waiter = queue.jobs.get(place)?;
        let (now, rules) = (self.now(), self.rules.load());
        let mut unavailable = Some(Unavailable { until: Timestamp(u64::MAX), reason: QueueReason::Capacity });
        for (target_health, is_retry) in &waiter.candidates {
            let free = Unavailable { until: now, reason: QueueReason::Capacity };
            unavailable =
                sooner(unavailable, target_health.health().check(*is_retry, &rules.health, now).err().unwrap_or(free));
        }
        let unavailable = unavailable.filter(|unavailable| unavailable.until.0 < u64::MAX);
        Some(Queued {
            reason: unavailable.map_or(QueueReason::Capacity, |unavailable| unavailable.reason),
            position: queue.jobs.position(place).map(|position| position as u64),
            eta_ms: unavailable.map(|unavailable| unavailable.until.ms_since(now)),
        })
    }

    /// Notes that a target's state changed: jobs that wait for it may go now, or must wait longer.
    pub(super) fn changed(&self, target_health: &TargetHealth) {
        if target_health.waits(false) || target_health.waits(true) {
            self.wake.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue().jobs.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let queue = self.queue();
        let unwanted =
            self.targets.all().iter().all(|target_health| !target_health.waits(false) && !target_health.waits(true));
        queue.jobs.is_empty() && queue.wanted.is_empty() && unwanted
    }
}

impl Drop for AdmissionQueue {
    fn drop(&mut self) {
        // The actor finds that the queue is gone, and ends.
        self.wake.notify_one();
    }
}

impl WaitingJobs {
    /// Returns which of the awaited targets could be asked now, and the soonest opening of the others.
    fn free(&self, rules: &HealthConfig, now: Timestamp) -> (HashSet<(u64, bool)>, Option<Unavailable>) {
        let (mut free, mut soonest) = (HashSet::new(), None);
        for target_health in self.wanted.values() {
            for is_retry in [false, true].into_iter().filter(|is_retry| target_health.waits(*is_retry)) {
                let checked = target_health.health().check(is_retry, rules, now);
                match checked {
                    Ok(_) => {
                        free.insert((target_health.id, is_retry));
                    }
                    Err(unavailable) => soonest = sooner(soonest, unavailable),
                }
            }
        }
        (free, soonest)
    }

    /// Notes that a waiting job has left the queue.
    fn forget(&mut self, waiter: &Waiter) {
        for (target_health, is_retry) in &waiter.candidates {
            target_health.left(*is_retry);
            if !target_health.waits(false) && !target_health.waits(true) {
                self.wanted.remove(&target_health.id);
            }
        }
    }
}

fn sooner(soonest: Option<Unavailable>, unavailable: Unavailable) -> Option<Unavailable> {
    Some(soonest.filter(|soonest| soonest.until <= unavailable.until).unwrap_or(unavailable))
}

/// A place in the queue. Dropping it leaves the queue.
pub(crate) struct Ticket {
    queue: Arc<AdmissionQueue>,
    place: Place,
    /// `None` once the job has been admitted.
    come: Option<oneshot::Receiver<Permit>>,
    /// The position that was reported last, and the moment of that report.
    last_position: Option<(Option<u64>, Instant)>,
}

impl Ticket {
    /// Waits for what comes next: the job's position, at once and then when it changes, or its permit.
    /// Cancel-safe. After the permit it does not resolve any more.
    pub(crate) async fn next(&mut self) -> Turn {
        while let Some(come) = &mut self.come {
            let reported = self.last_position;
            let time_to_tell = async move {
                if let Some((_, at)) = reported {
                    tokio::time::sleep_until(at + REPORT_EVERY).await;
                }
            };
            tokio::select! {
                biased;
                permit = come => {
                    self.come = None;
                    // The sender is in the queue as long as this ticket is, or has sent.
                    if let Ok(permit) = permit {
                        return Turn::Go(permit);
                    }
                }
                () = time_to_tell => {
                    // The job is out of the queue, and its permit is on its way.
                    let Some(queued) = self.queue.queued(&self.place) else {
                        self.last_position = Some((None, Instant::now()));
                        continue;
                    };
                    self.last_position = Some((queued.position, Instant::now()));
                    if reported.is_none_or(|(position, _)| position != queued.position) {
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
        let mut queue = self.queue.queue();
        if let Some(waiter) = queue.jobs.leave(&self.place) {
            queue.forget(&waiter);
            telemetry::queue_depth(queue.jobs.len());
        }
    }
}
