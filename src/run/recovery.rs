//! Recovery: every job without a terminal record is settled at the start, before readers are let in.
//!
//! | the job | what happens |
//! | --- | --- |
//! | was passed through as its client wrote it | `interrupted`, with the usage so far |
//! | was never sent to a provider, or waited in the queue | it runs |
//! | was between two attempts, without output | it runs |
//! | was receiving an answer that goes on at its provider | it receives the rest of it |
//! | `on_crash: continue` | it continues the answer that readers have, where that is possible |
//! | `on_crash: restart` | readers are told to discard, and it starts again |
//! | anything else | `interrupted`, with the usage so far |

use std::sync::Arc;
use std::time::Duration;

use super::attempts::AttemptRecord;
use super::env::Env;
use super::job_run::{JobRun, each_record};
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
    if !in_flight && !run.readers.has_emitted && !run.job.is_passed_on {
        return Ok(Some(run));
    }
    let is_held = run.upstream.unfinished.is_some();
    let partial = match run.job.options.on_crash {
        OnCrash::Continue if run.readers.has_emitted && !is_held => Some(continuation::partial(&run).await?),
        _ => None,
    };
    let goes_on = !run.job.is_passed_on
        && match (run.job.options.on_crash, &partial) {
            (OnCrash::Interrupt, _) => false,
            (OnCrash::Continue, Some(partial)) => partial.can_continue(&run.job),
            (OnCrash::Continue, None) | (OnCrash::Restart, _) => true,
        };
    if !goes_on {
        run.attempts.close(AttemptOutcome::Interrupted);
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
        _ if is_held && run.readers.has_emitted => run.next.mode = AttemptMode::Continue,
        Some(partial) => {
            run.next.mode = AttemptMode::Continue;
            run.next.partial = Some(partial);
        }
        None if run.readers.has_emitted => run.restart(),
        None => {}
    }
    Ok(Some(run))
}

/// Reads the job's own stream: which attempts were made, what they emitted and how long the job waited in
/// the queue. Returns whether an attempt has no end.
async fn recall(run: &mut JobRun) -> Result<bool, Failure> {
    let stream = Arc::clone(run.writer.stream());
    let log = Arc::clone(run.writer.log());
    let mut queued_since = None;
    let mut progress: Option<(Box<str>, usize)> = None;
    let mut reattach = Reattach::default();
    let visit = |at, body: BodyRef<'_>| {
        reattach.note(&body);
        if let BodyRef::Event(Event::Progress(Progress { upstream: Some(upstream), .. })) = &body {
            let place = run.attempts.speaking;
            if let Some((_, before)) = progress.take_if(|(id, before)| *id == upstream.id && *before < place) {
                run.attempts[place].continues = Some(before);
            }
            progress = Some((upstream.id.clone(), place));
        }
        replay(run, at, body, &mut queued_since);
    };
    each_record(&stream, &log, visit).await?;
    // If the answer is lost for good after all, the provider will say so again.
    let may_go_on = |record: &AttemptRecord| match record.outcome {
        None | Some(AttemptOutcome::Interrupted) => true,
        Some(AttemptOutcome::Lost) => record.failure.as_ref().is_some_and(|failure| failure.retryable),
        _ => false,
    };
    let place = run.attempts.speaking;
    if let Some((upstream, filter)) = reattach.found().filter(|_| run.attempts.get(place).is_some_and(may_go_on)) {
        let target = run.attempts.current().target.clone();
        run.upstream.unfinished =
            Some(UpstreamRun { target, place, upstream, decoder: None, is_fetch: false, is_under_way: false });
        run.upstream.replay = filter;
    }
    Ok(run.attempts.iter().any(|record| record.outcome.is_none()))
}

fn replay(run: &mut JobRun, at: Timestamp, body: BodyRef<'_>, queued_since: &mut Option<Timestamp>) {
    let emitted = match body {
        BodyRef::Delta { text, .. } => text.len().max(1),
        BodyRef::Event(Event::Queued(_)) => {
            // The time during which the broker was down does not count as waiting.
            run.times.queued += Duration::from_millis(queued_since.replace(at).map_or(0, |since| at.ms_since(since)));
            0
        }
        BodyRef::Event(Event::Attempt(started)) => {
            if let Some(since) = queued_since.take() {
                run.times.queued += Duration::from_millis(at.ms_since(since));
            }
            run.attempts.push(Target { provider: started.provider, model: started.model });
            0
        }
        BodyRef::Event(Event::Lost(lost)) => {
            let place = usize::try_from(lost.attempt).unwrap_or(usize::MAX).saturating_sub(1);
            if let Some(record) = run.attempts.get_mut(place) {
                record.outcome = Some(match lost.error.code {
                    Code::Cancelled => AttemptOutcome::Cancelled,
                    // The attempt was interrupted by an earlier crash: any other internal failure ends the
                    // job.
                    Code::Internal => AttemptOutcome::Interrupted,
                    _ => AttemptOutcome::Lost,
                });
                record.failure = Some(lost.error);
            }
            // Where two attempts raced, readers get the answer of the one that was not lost.
            let speaking = run.attempts.iter().rposition(|record| record.outcome.is_none());
            run.attempts.speaking = speaking.unwrap_or(run.attempts.speaking);
            0
        }
        BodyRef::Event(Event::Restarted(_)) => {
            run.readers.has_emitted = false;
            run.next.mode = AttemptMode::Restart;
            0
        }
        BodyRef::Event(Event::Delta(delta)) => delta.text.len().max(1),
        BodyRef::Event(Event::ToolCall(call)) => call.arguments.len().max(1),
        BodyRef::Event(Event::Output(_)) => 1,
        BodyRef::Event(_) => 0,
    };
    if emitted > 0 && !run.attempts.is_empty() {
        run.readers.has_emitted = true;
        run.attempts.current().emitted_bytes += emitted as u64;
    }
}
