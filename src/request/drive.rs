//! The path of one job, top to bottom.
//!
//! Each policy answers one question; they meet only here. Promises that the stream ends exactly
//! once, whatever happens: a panic, a stop and a deadline end it too.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::course::{Course, Totals};
use super::estimate;
use super::plan;
use super::relay::relay;
use crate::job::{
    AttemptMode, AttemptOutcome, Cancelled, Code, Completed, Event, Failed, Failure, Interrupted, Lost, OnCrash,
    Restarted, Target,
};
use crate::log::Batch;
use crate::policy::retry;
use crate::policy::retry::{LostAttempt, Next};
use crate::policy::terms::Terms;
use crate::provider::Finish;
use crate::telemetry;

/// Tries to write a terminal while the log refuses: the disk may be freed meanwhile. What cannot be
/// ended now is settled at the next start.
const SEAL_TRIES_MAX: u32 = 60;
const SEAL_RETRY: Duration = Duration::from_secs(1);

/// Why a job must stop before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// Somebody said so.
    Cancel(&'static str),
    /// The broker is going down and has waited long enough.
    Shutdown,
}

enum Ending {
    Done { reason: Box<str>, native: Option<Box<str>> },
    Failed(Failure),
    Stopped(Stop),
}

/// Carries one job to its sealed stream.
pub(super) async fn drive(mut course: Course, mut stop: watch::Receiver<Option<Stop>>) {
    let terms = Terms::of(&course.job, &course.live.config);
    let elapsed = Duration::from_millis(course.svc.clock.now().ms_since(course.job.submitted_at));
    let ending = tokio::select! {
        biased;
        why = stopped(&mut stop) => Ending::Stopped(why),
        ending = AssertUnwindSafe(fulfil(&mut course, &terms)).catch_unwind() => match ending {
            Ok(Ok(Finish { reason, native, .. })) => Ending::Done { reason, native },
            Ok(Err(failure)) => Ending::Failed(failure),
            Err(_) => Ending::Failed(Failure::internal("a bug: the job's driver panicked")),
        },
        () = tokio::time::sleep(terms.total.saturating_sub(elapsed)) => {
            Ending::Failed(Failure::new(Code::ProviderTimeout, format!("not done within {} ms", terms.total.as_millis())))
        }
    };
    seal(course, ending).await;
}

async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(Stop::Shutdown),
        // The actor is gone, and only a shutdown takes it away while its job runs.
        Err(_) => Stop::Shutdown,
    }
}

async fn fulfil(course: &mut Course, terms: &Terms) -> Result<Finish, Failure> {
    let targets = plan::plan(course, &|_| None)?;
    attempt_targets(course, &targets, terms).await
}

/// For each target: try, return on success, remember the failure.
async fn attempt_targets(course: &mut Course, targets: &[Target], terms: &Terms) -> Result<Finish, Failure> {
    let mut last = Failure::internal("a route without targets");
    for target in targets {
        let mut at_target = 0;
        loop {
            at_target += 1;
            let failure = match relay(course, target, terms).await {
                Ok(finish) => return Ok(finish),
                Err(failure) => failure,
            };
            let next = next_step(course, &failure, at_target, terms);
            lose(course, &failure, next);
            last = failure;
            match next {
                Next::Again { after_ms } => {
                    // The seam is told before the wait, so that readers know why it is silent.
                    course.append(Vec::new()).await?;
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                }
                Next::NextTarget => break,
                Next::GiveUp => return Err(last),
            }
        }
    }
    Err(last)
}

fn next_step(course: &Course, failure: &Failure, at_target: u32, terms: &Terms) -> Next {
    let lost = LostAttempt {
        failure,
        emitted: course.has_emitted(),
        at_target,
        in_all: u32::try_from(course.attempts.len()).unwrap_or(u32::MAX),
    };
    retry::next(&lost, terms, course.job.options.on_stream_failure, course.svc.jitter())
}

/// Books a lost attempt and queues the seam: `lost`, and `restarted` where readers must discard.
fn lose(course: &mut Course, failure: &Failure, next: Next) {
    let attempt = u32::try_from(course.attempts.len()).unwrap_or(u32::MAX);
    let emitted = course.has_emitted();
    if let Some(spent) = course.attempts.last_mut() {
        spent.outcome = Some(AttemptOutcome::Lost);
        course.pending.push(Event::Lost(Lost { attempt, error: failure.clone(), emitted }));
    }
    if emitted && next != Next::GiveUp {
        course.pending.push(Event::Restarted(Restarted { attempt: attempt + 1 }));
        course.mode = AttemptMode::Restart;
    }
}

/// Writes the one terminal with the charges of all attempts.
async fn seal(mut course: Course, ending: Ending) {
    if matches!(ending, Ending::Stopped(Stop::Shutdown)) && goes_on_after_restart(&course) {
        return;
    }
    if let Ending::Failed(failure) = &ending {
        telemetry::error(failure);
        tracing::info!(job = %course.job.id, %failure, "job failed");
    }
    estimate::fill(&mut course).await;
    let batch = last_batch(&mut course, ending);
    let state = batch.events.last().and_then(Event::terminal);
    for _ in 0..SEAL_TRIES_MAX {
        match course.writer.append(batch.clone()).await {
            Ok(()) => {
                if let Some(state) = state {
                    telemetry::job_ended(&course.labels(), state);
                }
                course.svc.meter.settled(batch.charges).await;
                return;
            }
            Err(failure) if failure.code == Code::Overloaded => tokio::time::sleep(SEAL_RETRY).await,
            Err(failure) => {
                tracing::error!(job = %course.job.id, %failure, "the terminal cannot be written");
                return;
            }
        }
    }
    tracing::error!(job = %course.job.id, "no terminal: the log refused; the next start settles it");
}

/// At a shutdown a job that the next start takes up anyway keeps its place instead of an end:
/// one that was never sent to a provider, and one whose rule is to begin anew.
fn goes_on_after_restart(course: &Course) -> bool {
    course.attempts.is_empty() || course.job.options.on_crash == OnCrash::Restart
}

fn last_batch(course: &mut Course, ending: Ending) -> Batch {
    match ending {
        Ending::Done { reason: finish_reason, native: native_finish_reason } => {
            course.last_batch(AttemptOutcome::Completed, |Totals { usage, cost, attempts, timing }| {
                Event::Completed(Completed { finish_reason, native_finish_reason, usage, cost, timing, attempts })
            })
        }
        Ending::Failed(error) => course.last_batch(AttemptOutcome::Lost, |Totals { usage, cost, attempts, .. }| {
            Event::Failed(Failed { error, usage, cost, attempts })
        }),
        Ending::Stopped(Stop::Cancel(by)) => course.last_batch(AttemptOutcome::Cancelled, |totals| {
            Event::Cancelled(Cancelled { by: by.into(), usage: totals.usage, cost: totals.cost })
        }),
        Ending::Stopped(Stop::Shutdown) => interrupted(course),
    }
}

/// The terminal of a job that died with the broker.
pub(super) fn interrupted(course: &mut Course) -> Batch {
    course.last_batch(AttemptOutcome::Interrupted, |totals| {
        Event::Interrupted(Interrupted { usage: totals.usage, cost: totals.cost })
    })
}
