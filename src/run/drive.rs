//! The path of one job, top to bottom.
//!
//! Each policy answers one question; they meet only here. Promises that the stream ends exactly
//! once, whatever happens: a panic, a stop and a deadline end it too.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::failover::fulfil;
use super::job_run::{Course, Totals};
use super::{estimate, passthrough, reattach};
use crate::job::caps::MESSAGE_BYTES_MAX;
use crate::job::{AttemptOutcome, Cancelled, Code, Completed, Event, Failed, Failure, Interrupted, OnCrash, Target};
use crate::log::Batch;
use crate::policy::effective_options::Terms;
use crate::provider::Finish;
use crate::telemetry::{self, OurStage};

/// Tries to write a terminal while the log refuses: the disk may be freed meanwhile. What cannot be
/// ended now is settled at the next start.
const SEAL_TRIES_MAX: u32 = 60;
const SEAL_RETRY: Duration = Duration::from_secs(1);

/// Why a job must stop before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
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
pub(crate) async fn drive(mut course: Course, mut stop: watch::Receiver<Option<Stop>>) {
    let handed = std::mem::replace(&mut course.begun, Instant::now());
    telemetry::overhead(OurStage::Start, course.begun.saturating_duration_since(handed));
    let terms = Terms::of(&course.job, &course.live.config);
    let elapsed = Duration::from_millis(course.svc.clock.now().ms_since(course.job.submitted_at));
    let ending = tokio::select! {
        biased;
        why = stopped(&mut stop) => Ending::Stopped(why),
        ending = AssertUnwindSafe(work(&mut course, &terms)).catch_unwind() => match ending {
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

/// Asks whoever may answer; or its provider alone, if that is asked in its client's own words.
async fn work(course: &mut Course, terms: &Terms) -> Result<Finish, Failure> {
    match course.passage.take() {
        Some(passage) => passthrough::carry(course, passage, terms).await,
        None => fulfil(course, terms).await,
    }
}

async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(Stop::Shutdown),
        // The actor is gone, and only a shutdown takes it away while its job runs.
        Err(_) => Stop::Shutdown,
    }
}

/// Writes the one terminal with the charges of all attempts.
async fn seal(mut course: Course, ending: Ending) {
    let ended = Instant::now();
    if matches!(ending, Ending::Stopped(Stop::Shutdown)) && goes_on_after_restart(&course) {
        return;
    }
    let (ending, outcome) = match ending {
        Ending::Failed(failure) => {
            let failure = with_tries(failure, &course);
            telemetry::error(&failure);
            tracing::info!(job = %course.job.id, %failure, "job failed");
            (Ending::Failed(failure), AttemptOutcome::Lost)
        }
        Ending::Done { .. } => (ending, AttemptOutcome::Completed),
        Ending::Stopped(Stop::Cancel(_)) => (ending, AttemptOutcome::Cancelled),
        Ending::Stopped(Stop::Shutdown) => (ending, AttemptOutcome::Interrupted),
    };
    course.close(outcome);
    reattach::let_go(&mut course);
    estimate::fill(&mut course).await;
    let batch = last_batch(&mut course, ending);
    let state = batch.events.last().and_then(Event::terminal);
    for _ in 0..SEAL_TRIES_MAX {
        match course.writer.append(batch.clone()).await {
            Ok(()) => {
                telemetry::overhead(OurStage::Seal, ended.elapsed());
                if let Some(state) = state {
                    telemetry::job_ended(&course.labels(), state);
                }
                if !batch.rows.is_empty() {
                    course.svc.outbox.add(course.writer.stream().head().stream, course.svc.clock.now());
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

/// An honest failure says what was tried, and how long was waited.
fn with_tries(mut failure: Failure, course: &Course) -> Failure {
    let waited_s = course.queued.as_secs();
    if course.attempts.len() < 2 && waited_s == 0 {
        return failure;
    }
    let mut tries: Vec<(&Target, usize)> = Vec::new();
    for spent in &course.attempts {
        match tries.iter_mut().find(|(target, _)| **target == spent.target) {
            Some((_, count)) => *count += 1,
            None => tries.push((&spent.target, 1)),
        }
    }
    let told = tries.iter().map(|(target, count)| format!("{}/{} ({count})", target.provider, target.model));
    let told: Vec<String> = told.collect();
    let tried = if told.is_empty() { String::new() } else { format!("; tried: {}", told.join(", ")) };
    let waited = if waited_s == 0 { String::new() } else { format!("; waited {waited_s} s in line") };
    let message = format!("{}{tried}{waited}", failure.message);
    failure.message = message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned().into();
    failure
}

/// At a shutdown a job that the next start takes up anyway keeps its place instead of an end: one
/// that was never sent to a provider, and one whose rule is to go on or to begin anew. Not one
/// that was passed on: its client is gone by then.
fn goes_on_after_restart(course: &Course) -> bool {
    !course.job.is_passed_on && (course.attempts.is_empty() || course.job.options.on_crash != OnCrash::Interrupt)
}

fn last_batch(course: &mut Course, ending: Ending) -> Batch {
    match ending {
        Ending::Done { reason: finish_reason, native: native_finish_reason } => {
            course.last_batch(|Totals { usage, cost, attempts, timing }| {
                Event::Completed(Completed { finish_reason, native_finish_reason, usage, cost, timing, attempts })
            })
        }
        Ending::Failed(error) => course
            .last_batch(|Totals { usage, cost, attempts, .. }| Event::Failed(Failed { error, usage, cost, attempts })),
        Ending::Stopped(Stop::Cancel(by)) => course
            .last_batch(|totals| Event::Cancelled(Cancelled { by: by.into(), usage: totals.usage, cost: totals.cost })),
        Ending::Stopped(Stop::Shutdown) => interrupted(course),
    }
}

/// The terminal of a job that died with the broker.
pub(crate) fn interrupted(course: &mut Course) -> Batch {
    course.last_batch(|totals| Event::Interrupted(Interrupted { usage: totals.usage, cost: totals.cost }))
}
