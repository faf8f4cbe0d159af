//! After our own death: every job without a terminal is settled before anybody can read it.
//!
//! | the job | what happens |
//! | --- | --- |
//! | was never sent to a provider | it is dispatched |
//! | was between two attempts, nothing of the answer out | it is dispatched |
//! | `on_crash: restart` | readers are told to discard, and it begins anew |
//! | anything else | `interrupted`, with the usage so far |

use std::sync::Arc;

use futures_util::StreamExt;

use super::Services;
use super::course::{Course, Spent, each_record};
use super::{drive, estimate};
use crate::job::{AttemptMode, AttemptOutcome, Code, Event, Failure, Lost, OnCrash, Restarted, Target};
use crate::log::Unfinished;
use crate::wire::record::BodyRef;

/// Jobs settled at once, so that they share commits of the log.
const AT_ONCE: usize = 256;

pub(super) async fn all(svc: &Arc<Services>) {
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
    let restart = course.job.options.on_crash == OnCrash::Restart;
    match (in_flight, course.has_emitted()) {
        (false, false) => svc.begin(course),
        (_, emitted) if restart => {
            begin_anew(&mut course, in_flight, emitted);
            svc.begin(course);
        }
        _ => {
            estimate::fill(&mut course).await;
            let batch = drive::interrupted(&mut course);
            course.writer.append(batch).await?;
        }
    }
    Ok(())
}

fn begin_anew(course: &mut Course, in_flight: bool, emitted: bool) {
    let attempt = u32::try_from(course.attempts.len()).unwrap_or(u32::MAX);
    if in_flight {
        let error = Failure::new(Code::Internal, "the broker died during this attempt");
        course.current().outcome = Some(AttemptOutcome::Interrupted);
        course.pending.push(Event::Lost(Lost { attempt, error, emitted }));
    }
    if emitted {
        course.pending.push(Event::Restarted(Restarted { attempt: attempt + 1 }));
        course.mode = AttemptMode::Restart;
    }
}

/// Reads the job's own stream: which attempts were made, and what they emitted. Whether the last is
/// without an end.
async fn recall(course: &mut Course) -> Result<bool, Failure> {
    let stream = Arc::clone(course.writer.stream());
    let log = Arc::clone(course.writer.log());
    let mut in_flight = false;
    each_record(&stream, &log, |body| in_flight = replay(course, body, in_flight)).await?;
    Ok(in_flight)
}

fn replay(course: &mut Course, body: BodyRef<'_>, in_flight: bool) -> bool {
    let emitted = match body {
        BodyRef::Delta { text, .. } => text.len(),
        BodyRef::Event(Event::Attempt(started)) => {
            let target = Target { provider: started.provider, model: started.model };
            course.attempts.push(Spent::new(target));
            return true;
        }
        BodyRef::Event(Event::Lost(_)) => {
            if let Some(spent) = course.attempts.last_mut() {
                spent.outcome = Some(AttemptOutcome::Lost);
            }
            return false;
        }
        BodyRef::Event(Event::Delta(delta)) => delta.text.len(),
        BodyRef::Event(Event::ToolCall(call)) => call.arguments.len().max(1),
        BodyRef::Event(Event::Output(_)) => 1,
        BodyRef::Event(_) => 0,
    };
    if let Some(spent) = course.attempts.last_mut() {
        spent.emitted_bytes += emitted as u64;
    }
    in_flight
}
