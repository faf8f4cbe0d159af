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

use futures_util::StreamExt;

use super::job_run::{Course, Spent, each_record};
use super::reattach::{Held, Rejoin};
use super::{continuation, drive, estimate, reattach};
use crate::broker::Services;
use crate::job::{AttemptMode, AttemptOutcome, Code, Event, Failure, OnCrash, Progress, Target, Timestamp};
use crate::log::Unfinished;
use crate::wire::record::BodyRef;

/// Jobs settled at once, so that they share commits of the log.
const AT_ONCE: usize = 256;

pub(crate) async fn all(svc: &Arc<Services>) {
    let unfinished = svc.log.unfinished();
    if unfinished.is_empty() {
        return;
    }
    tracing::info!(jobs = unfinished.len(), "settling the jobs that were under way when the broker died");
    let settle = |Unfinished { job, writer }| async move {
        let id = job.id.clone();
        let course = Course::new(Arc::new(job), Arc::clone(svc), writer);
        if let Err(failure) = one(svc, course).await {
            tracing::error!(job = %id, %failure, "an unfinished job cannot be settled; the next start tries again");
        }
    };
    futures_util::stream::iter(unfinished).for_each_concurrent(AT_ONCE, settle).await;
}

async fn one(svc: &Arc<Services>, mut course: Course) -> Result<(), Failure> {
    let in_flight = recall(&mut course).await?;
    if !in_flight && !course.has_emitted && !course.job.is_passed_on {
        svc.announce(&course.job, course.writer.stream());
        svc.begin(course);
        return Ok(());
    }
    let is_held = course.held.is_some();
    let so_far = match course.job.options.on_crash {
        OnCrash::Continue if course.has_emitted && !is_held => Some(continuation::so_far(&course).await?),
        _ => None,
    };
    let goes_on = !course.job.is_passed_on
        && match (course.job.options.on_crash, &so_far) {
            (OnCrash::Interrupt, _) => false,
            (OnCrash::Continue, Some(so_far)) => so_far.can_continue(&course.job),
            (OnCrash::Continue, None) | (OnCrash::Restart, _) => true,
        };
    if !goes_on {
        course.close(AttemptOutcome::Interrupted);
        reattach::let_go(&mut course);
        estimate::fill(&mut course).await;
        let batch = drive::interrupted(&mut course);
        return course.writer.append(batch).await;
    }
    for place in 0..course.attempts.len() {
        if course.attempts[place].outcome.is_none() {
            let error = Failure::new(Code::Internal, "the broker died during this attempt");
            course.lose(place, error, AttemptOutcome::Interrupted);
        }
    }
    match so_far {
        _ if is_held && course.has_emitted => course.mode = AttemptMode::Continue,
        Some(so_far) => {
            course.mode = AttemptMode::Continue;
            course.so_far = Some(so_far);
        }
        None if course.has_emitted => course.restart(),
        None => {}
    }
    svc.announce(&course.job, course.writer.stream());
    svc.begin(course);
    Ok(())
}

/// Reads the job's own stream: which attempts were made, what they emitted and how long the job
/// stood in line. Whether an attempt is without an end.
async fn recall(course: &mut Course) -> Result<bool, Failure> {
    let stream = Arc::clone(course.writer.stream());
    let log = Arc::clone(course.writer.log());
    let mut queued_since = None;
    let mut heard: Option<(Box<str>, usize)> = None;
    let mut rejoin = Rejoin::default();
    let visit = |at, body: BodyRef<'_>| {
        rejoin.note(&body);
        if let BodyRef::Event(Event::Progress(Progress { upstream: Some(upstream), .. })) = &body {
            let place = course.speaking;
            if let Some((_, before)) = heard.take_if(|(id, before)| *id == upstream.id && *before < place) {
                course.attempts[place].takes_up = Some(before);
            }
            heard = Some((upstream.id.clone(), place));
        }
        replay(course, at, body, &mut queued_since);
    };
    each_record(&stream, &log, visit).await?;
    // If it was lost for good after all, that will be said again.
    let may_go_on = |spent: &Spent| match spent.outcome {
        None | Some(AttemptOutcome::Interrupted) => true,
        Some(AttemptOutcome::Lost) => spent.failure.as_ref().is_some_and(|failure| failure.retryable),
        _ => false,
    };
    let place = course.speaking;
    if let Some((upstream, skip)) = rejoin.found().filter(|_| course.attempts.get(place).is_some_and(may_go_on)) {
        let target = course.current().target.clone();
        course.held = Some(Held { target, place, upstream, decoder: None, is_fetch: false, is_under_way: false });
        course.skip = skip;
    }
    Ok(course.attempts.iter().any(|spent| spent.outcome.is_none()))
}

fn replay(course: &mut Course, at: Timestamp, body: BodyRef<'_>, queued_since: &mut Option<Timestamp>) {
    let emitted = match body {
        BodyRef::Delta { text, .. } => text.len().max(1),
        BodyRef::Event(Event::Queued(_)) => {
            // How long it was we who were away is not held against the job.
            course.queued += Duration::from_millis(queued_since.replace(at).map_or(0, |since| at.ms_since(since)));
            0
        }
        BodyRef::Event(Event::Attempt(started)) => {
            if let Some(since) = queued_since.take() {
                course.queued += Duration::from_millis(at.ms_since(since));
            }
            course.push(Target { provider: started.provider, model: started.model });
            0
        }
        BodyRef::Event(Event::Lost(lost)) => {
            let place = usize::try_from(lost.attempt).unwrap_or(usize::MAX).saturating_sub(1);
            if let Some(spent) = course.attempts.get_mut(place) {
                spent.outcome = Some(match lost.error.code {
                    Code::Cancelled => AttemptOutcome::Cancelled,
                    // It died with an earlier life of ours: any other trouble of ours ends the job.
                    Code::Internal => AttemptOutcome::Interrupted,
                    _ => AttemptOutcome::Lost,
                });
                spent.failure = Some(lost.error);
            }
            // Where two raced, the one that was not lost is the one that speaks.
            let speaking = course.attempts.iter().rposition(|spent| spent.outcome.is_none());
            course.speaking = speaking.unwrap_or(course.speaking);
            0
        }
        BodyRef::Event(Event::Restarted(_)) => {
            course.has_emitted = false;
            course.mode = AttemptMode::Restart;
            0
        }
        BodyRef::Event(Event::Delta(delta)) => delta.text.len().max(1),
        BodyRef::Event(Event::ToolCall(call)) => call.arguments.len().max(1),
        BodyRef::Event(Event::Output(_)) => 1,
        BodyRef::Event(_) => 0,
    };
    if emitted > 0 && !course.attempts.is_empty() {
        course.has_emitted = true;
        course.current().emitted_bytes += emitted as u64;
    }
}
