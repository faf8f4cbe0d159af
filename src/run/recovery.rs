//! After our own death: every job without a terminal is settled before anybody can read it.
//!
//! | the job | what happens |
//! | --- | --- |
//! | was passed on as its client wrote it | `interrupted`, with the usage so far |
//! | was never sent to a provider, or waited in line | it is dispatched |
//! | was between two attempts, nothing of the answer out | it is dispatched |
//! | heard an answer that goes on at its provider | it goes on hearing it |
//! | `on_crash: continue` | it goes on from what readers have, where that can be gone on with |
//! | `on_crash: restart` | readers are told to discard, and it begins anew |
//! | anything else | `interrupted`, with the usage so far |

use std::sync::Arc;
use std::time::Duration;

use super::env::Env;
use super::job_run::{AttemptRecord, JobRun, each_record};
use super::reattach::{Reattach, UpstreamRun};
use super::{continuation, drive, estimate, reattach};
use crate::job::{AttemptMode, AttemptOutcome, Code, Event, Failure, OnCrash, Progress, Target, Timestamp};
use crate::log::Unfinished;
use crate::wire::record::BodyRef;

/// Settles one job that the log found without a terminal record. Returns the job where it is to run
/// again; `None` where it has ended now.
///
/// # Errors
/// When the log cannot be read or written.
pub(crate) async fn settle(env: &Arc<Env>, unfinished: Unfinished) -> Result<Option<JobRun>, Failure> {
    let Unfinished { job, writer } = unfinished;
    let mut run = JobRun::new(Arc::new(job), Arc::clone(env), writer);
    let in_flight = recall(&mut run).await?;
    if !in_flight && !run.has_emitted && !run.job.is_passed_on {
        return Ok(Some(run));
    }
    let is_held = run.held.is_some();
    let partial = match run.job.options.on_crash {
        OnCrash::Continue if run.has_emitted && !is_held => Some(continuation::partial(&run).await?),
        _ => None,
    };
    let goes_on = !run.job.is_passed_on
        && match (run.job.options.on_crash, &partial) {
            (OnCrash::Interrupt, _) => false,
            (OnCrash::Continue, Some(partial)) => partial.can_continue(&run.job),
            (OnCrash::Continue, None) | (OnCrash::Restart, _) => true,
        };
    if !goes_on {
        run.close(AttemptOutcome::Interrupted);
        reattach::cancel_upstream(&mut run);
        estimate::fill(&mut run).await;
        let batch = drive::interrupted(&mut run);
        run.writer.append(batch).await?;
        return Ok(None);
    }
    for place in 0..run.attempts.len() {
        if run.attempts[place].outcome.is_none() {
            let error = Failure::new(Code::Internal, "the broker died during this attempt");
            run.lose(place, error, AttemptOutcome::Interrupted);
        }
    }
    match partial {
        _ if is_held && run.has_emitted => run.mode = AttemptMode::Continue,
        Some(partial) => {
            run.mode = AttemptMode::Continue;
            run.partial = Some(partial);
        }
        None if run.has_emitted => run.restart(),
        None => {}
    }
    Ok(Some(run))
}

/// Reads the job's own stream: which attempts were made, what they emitted and how long the job
/// stood in line. Whether an attempt is without an end.
async fn recall(run: &mut JobRun) -> Result<bool, Failure> {
    let stream = Arc::clone(run.writer.stream());
    let log = Arc::clone(run.writer.log());
    let mut queued_since = None;
    let mut heard: Option<(Box<str>, usize)> = None;
    let mut rejoin = Reattach::default();
    let visit = |at, body: BodyRef<'_>| {
        rejoin.note(&body);
        if let BodyRef::Event(Event::Progress(Progress { upstream: Some(upstream), .. })) = &body {
            let place = run.speaking;
            if let Some((_, before)) = heard.take_if(|(id, before)| *id == upstream.id && *before < place) {
                run.attempts[place].takes_up = Some(before);
            }
            heard = Some((upstream.id.clone(), place));
        }
        replay(run, at, body, &mut queued_since);
    };
    each_record(&stream, &log, visit).await?;
    // If it was lost for good after all, that will be said again.
    let may_go_on = |spent: &AttemptRecord| match spent.outcome {
        None | Some(AttemptOutcome::Interrupted) => true,
        Some(AttemptOutcome::Lost) => spent.failure.as_ref().is_some_and(|failure| failure.retryable),
        _ => false,
    };
    let place = run.speaking;
    if let Some((upstream, skip)) = rejoin.found().filter(|_| run.attempts.get(place).is_some_and(may_go_on)) {
        let target = run.current().target.clone();
        run.held = Some(UpstreamRun { target, place, upstream, decoder: None, is_fetch: false, is_under_way: false });
        run.skip = skip;
    }
    Ok(run.attempts.iter().any(|spent| spent.outcome.is_none()))
}

fn replay(run: &mut JobRun, at: Timestamp, body: BodyRef<'_>, queued_since: &mut Option<Timestamp>) {
    let emitted = match body {
        BodyRef::Delta { text, .. } => text.len().max(1),
        BodyRef::Event(Event::Queued(_)) => {
            // How long it was we who were away is not held against the job.
            run.queued += Duration::from_millis(queued_since.replace(at).map_or(0, |since| at.ms_since(since)));
            0
        }
        BodyRef::Event(Event::Attempt(started)) => {
            if let Some(since) = queued_since.take() {
                run.queued += Duration::from_millis(at.ms_since(since));
            }
            run.push(Target { provider: started.provider, model: started.model });
            0
        }
        BodyRef::Event(Event::Lost(lost)) => {
            let place = usize::try_from(lost.attempt).unwrap_or(usize::MAX).saturating_sub(1);
            if let Some(spent) = run.attempts.get_mut(place) {
                spent.outcome = Some(match lost.error.code {
                    Code::Cancelled => AttemptOutcome::Cancelled,
                    // It died with an earlier life of ours: any other trouble of ours ends the job.
                    Code::Internal => AttemptOutcome::Interrupted,
                    _ => AttemptOutcome::Lost,
                });
                spent.failure = Some(lost.error);
            }
            // Where two raced, the one that was not lost is the one that speaks.
            let speaking = run.attempts.iter().rposition(|spent| spent.outcome.is_none());
            run.speaking = speaking.unwrap_or(run.speaking);
            0
        }
        BodyRef::Event(Event::Restarted(_)) => {
            run.has_emitted = false;
            run.mode = AttemptMode::Restart;
            0
        }
        BodyRef::Event(Event::Delta(delta)) => delta.text.len().max(1),
        BodyRef::Event(Event::ToolCall(call)) => call.arguments.len().max(1),
        BodyRef::Event(Event::Output(_)) => 1,
        BodyRef::Event(_) => 0,
    };
    if emitted > 0 && !run.attempts.is_empty() {
        run.has_emitted = true;
        run.current().emitted_bytes += emitted as u64;
    }
}
