//! The path of one job, from top to bottom.
//!
//! Each policy answers one question; they meet only here. Promises that the stream ends exactly once,
//! whatever happens: a panic, a stop and a deadline end it too.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::failover::failover;
use super::job_run::{JobRun, Totals};
use super::{estimate, passthrough, reattach};
use crate::job::caps::MESSAGE_BYTES_MAX;
use crate::job::{AttemptOutcome, Cancelled, Code, Completed, Event, Failed, Failure, Interrupted, OnCrash, Target};
use crate::log::Batch;
use crate::policy::effective_options::EffectiveOptions;
use crate::provider::Finish;
use crate::telemetry::{self, OurStage};

/// Number of tries to write a terminal record while the log refuses it: the disk may be freed meanwhile. A
/// job that cannot be ended now is settled at the next start.
const SEAL_TRIES_MAX: u32 = 60;
const SEAL_RETRY: Duration = Duration::from_secs(1);

/// The reason for which a job must stop before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// A client cancelled the job; the text says by which entrance.
    Cancel(&'static str),
    /// The broker is going down and has waited long enough.
    Shutdown,
}

enum Ending {
    Done { reason: Box<str>, native: Option<Box<str>> },
    Failed(Failure),
    Stopped(Stop),
}

/// Carries one job to its sealed stream. Whatever happens, the stream ends exactly once.
pub(crate) async fn drive(mut run: JobRun, mut stop: watch::Receiver<Option<Stop>>) {
    let handed = std::mem::replace(&mut run.times.begun, Instant::now());
    telemetry::overhead(OurStage::Start, run.times.begun.saturating_duration_since(handed));
    let options = EffectiveOptions::of(&run.job, &run.snapshot.config);
    let elapsed = Duration::from_millis(run.env.clock.now().ms_since(run.job.submitted_at));
    let ending = tokio::select! {
        biased;
        why = stopped(&mut stop) => Ending::Stopped(why),
        ending = AssertUnwindSafe(work(&mut run, &options)).catch_unwind() => match ending {
            Ok(Ok(Finish { reason, native, .. })) => Ending::Done { reason, native },
            Ok(Err(failure)) => Ending::Failed(failure),
            Err(_) => Ending::Failed(Failure::internal("a bug: the job's driver panicked")),
        },
        () = tokio::time::sleep(options.total.saturating_sub(elapsed)) => {
            Ending::Failed(Failure::new(Code::ProviderTimeout, format!("not done within {} ms", options.total.as_millis())))
        }
    };
    seal(run, ending).await;
}

/// Asks the targets of the plan one after the other, or the one provider that a request is passed through
/// to.
async fn work(run: &mut JobRun, options: &EffectiveOptions) -> Result<Finish, Failure> {
    match run.passthrough.take() {
        Some(request) => passthrough::pass_through(run, request, options).await,
        None => failover(run, options).await,
    }
}

async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(Stop::Shutdown),
        // The actor is gone, and only a shutdown removes it while its job runs.
        Err(_) => Stop::Shutdown,
    }
}

/// Writes the one terminal record with the charges of all attempts.
async fn seal(mut run: JobRun, ending: Ending) {
    let ended = Instant::now();
    if matches!(ending, Ending::Stopped(Stop::Shutdown)) && goes_on_after_restart(&run) {
        return;
    }
    let (ending, outcome) = match ending {
        Ending::Failed(failure) => {
            let failure = with_tries(failure, &run);
            telemetry::error(&failure);
            tracing::info!(job = %run.job.id, %failure, "job failed");
            (Ending::Failed(failure), AttemptOutcome::Lost)
        }
        Ending::Done { .. } => (ending, AttemptOutcome::Completed),
        Ending::Stopped(Stop::Cancel(_)) => (ending, AttemptOutcome::Cancelled),
        Ending::Stopped(Stop::Shutdown) => (ending, AttemptOutcome::Interrupted),
    };
    run.attempts.close(outcome);
    reattach::cancel_upstream(&mut run);
    estimate::fill(&mut run).await;
    let batch = last_batch(&mut run, ending);
    let state = batch.events.last().and_then(Event::terminal);
    for _ in 0..SEAL_TRIES_MAX {
        match run.writer.append(batch.clone()).await {
            Ok(()) => {
                telemetry::overhead(OurStage::Seal, ended.elapsed());
                if let Some(state) = state {
                    telemetry::job_ended(&run.labels(), state);
                }
                if !batch.rows.is_empty() {
                    run.env.outbox.add(run.writer.stream().head().stream, run.env.clock.now());
                }
                run.env.meter.settled(batch.charges).await;
                return;
            }
            Err(failure) if failure.code == Code::Overloaded => tokio::time::sleep(SEAL_RETRY).await,
            Err(failure) => {
                tracing::error!(job = %run.job.id, %failure, "the terminal cannot be written");
                return;
            }
        }
    }
    tracing::error!(job = %run.job.id, "no terminal: the log refused; the next start settles it");
}

/// Adds to a failure which targets were tried and how long the job waited.
fn with_tries(mut failure: Failure, run: &JobRun) -> Failure {
    let waited_s = run.times.queued.as_secs();
    if run.attempts.len() < 2 && waited_s == 0 {
        return failure;
    }
    let mut tries: Vec<(&Target, usize)> = Vec::new();
    for record in run.attempts.iter() {
        match tries.iter_mut().find(|(target, _)| **target == record.target) {
            Some((_, count)) => *count += 1,
            None => tries.push((&record.target, 1)),
        }
    }
    let targets = tries.iter().map(|(target, count)| format!("{}/{} ({count})", target.provider, target.model));
    let targets: Vec<String> = targets.collect();
    let tried = if targets.is_empty() { String::new() } else { format!("; tried: {}", targets.join(", ")) };
    let waited = if waited_s == 0 { String::new() } else { format!("; waited {waited_s} s in line") };
    let message = format!("{}{tried}{waited}", failure.message);
    failure.message = message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned().into();
    failure
}

/// Returns whether a job keeps its place at a shutdown instead of a terminal record, because the next start
/// runs it anyway: one that was never sent to a provider, and one whose rule is to continue or to restart.
/// A request that was passed through does not: its client is gone by then.
fn goes_on_after_restart(run: &JobRun) -> bool {
    !run.job.is_passed_on && (run.attempts.is_empty() || run.job.options.on_crash != OnCrash::Interrupt)
}

fn last_batch(run: &mut JobRun, ending: Ending) -> Batch {
    match ending {
        Ending::Done { reason: finish_reason, native: native_finish_reason } => {
            run.last_batch(|Totals { usage, cost, attempts, timing }| {
                Event::Completed(Completed { finish_reason, native_finish_reason, usage, cost, timing, attempts })
            })
        }
        Ending::Failed(error) => run
            .last_batch(|Totals { usage, cost, attempts, .. }| Event::Failed(Failed { error, usage, cost, attempts })),
        Ending::Stopped(Stop::Cancel(by)) => run
            .last_batch(|totals| Event::Cancelled(Cancelled { by: by.into(), usage: totals.usage, cost: totals.cost })),
        Ending::Stopped(Stop::Shutdown) => interrupted(run),
    }
}

/// Makes the last batch of a job that was interrupted by the end of the broker.
pub(crate) fn interrupted(run: &mut JobRun) -> Batch {
    run.last_batch(|totals| Event::Interrupted(Interrupted { usage: totals.usage, cost: totals.cost }))
}
