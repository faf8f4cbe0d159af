//! Relays what an attempt says into the job's log.
//!
//! Owns the record of an attempt and of its events. Appends and waits; meanwhile no more is read of
//! the provider's socket than the next append takes, and that is the back-pressure. Knows nothing of
//! retries.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::attempt::{Asked, Attempt, Heard};
use super::continuation;
use super::continuation::{Continued, Trim, Way};
use super::inline_files::inlined;
use super::job_run::Course;
use super::reattach::Skip;
use crate::admission::Pass;
use crate::job::caps::{BATCH_EVENTS_MAX, OUTPUT_INLINE_BYTES_MAX};
use crate::job::{
    AttemptMode, AttemptOutcome, AttemptStarted, Code, Event, Failure, OutputBody, Progress, ProgressState, Target,
    UpstreamId,
};
use crate::policy::effective_options::Terms;
use crate::provider::registry::Entry;
use crate::provider::{Ask, Finish, Outbound};
use crate::telemetry::{self, OurStage};

/// Begins an attempt: its record is durable, and its request goes out when it is listened to. `None`
/// if there is nothing left to ask for: what readers have is all that the job allows.
///
/// # Errors
/// Why this target cannot be asked; the attempt is pushed in `course` all the same.
pub(crate) async fn begin(course: &mut Course, pass: Pass, terms: &Terms) -> Result<Option<Box<Attempt>>, Failure> {
    let target = pass.target().clone();
    let labels = course.live.labels(&course.job, Some(&target));
    let Some(entry) = course.live.registry.get(&target.provider).cloned() else {
        record(course, &target, Vec::new()).await?;
        return Err(Failure::new(Code::UnknownModel, format!("no provider `{}` is configured", target.provider))
            .of_the_target());
    };
    let (job, prefilled) = match &course.held {
        // The same answer goes on, and so does what is cut away from it.
        Some(_) => (Arc::clone(&course.job), false),
        None => match go_on(course, &entry, &target).await {
            Continued::Ask { job, prefilled } => (job, prefilled),
            Continued::NothingLeft => return Ok(None),
            Continued::Cannot => {
                course.trim = None;
                course.restart();
                (Arc::clone(&course.job), false)
            }
        },
    };
    let ask = Ask { job: &job, target: &target, endpoint: &entry.endpoint, prefilled };
    let mut encoded = match &course.held {
        Some(held) => held.outbound(entry.provider, ask).ok_or_else(|| Failure::internal("nothing to take up")),
        None if entry.provider.wants_files_inside(ask) => encode_with_files(course, &entry, ask).await,
        None => entry.provider.encode(ask),
    };
    let dropped = encoded.as_mut().map(|outbound| std::mem::take(&mut outbound.dropped)).unwrap_or_default();
    let place = record(course, &target, dropped).await?;
    course.attempts[place].is_prefilled = prefilled;
    let outbound = encoded?.for_attempt(Course::number(place));
    // Until here whoever ends the job ends this as well.
    let held = course.held.take();
    let tell = Arc::clone(&course.attempts[place].tell);
    let (svc, provider, terms) = (&course.svc, entry.provider, *terms);
    let asked = Asked { place, svc, provider, ask, outbound, held, tap: None, terms, labels, tell };
    Ok(Some(Box::new(Attempt::new(asked, Some(pass)))))
}

/// What is asked: the job, or the rest of its answer.
async fn go_on(course: &mut Course, entry: &Entry, target: &Target) -> Continued {
    (course.trim, course.skip) = (None, Skip::default());
    let Some(so_far) = &course.so_far else {
        return Continued::Ask { job: Arc::clone(&course.job), prefilled: false };
    };
    let ask = Ask { job: &course.job, target, endpoint: &entry.endpoint, prefilled: false };
    let refused = course.attempts.iter().any(|spent| spent.is_prefill_refused && spent.target == *target);
    let way = if refused { Way::Turn } else { Way::with(entry.provider.prefill(ask)) };
    course.trim = Some(Trim::new(so_far, way));
    continuation::continued(&course.job, so_far, way, &target.model).await
}

/// The request with the job's files inside it. They are fetched once for all attempts that ask the
/// same.
async fn encode_with_files(course: &mut Course, entry: &Entry, ask: Ask<'_>) -> Result<Outbound, Failure> {
    let is_same = std::ptr::eq(ask.job, &raw const *course.job);
    if let Some(job) = course.with_files.as_ref().filter(|_| is_same) {
        return entry.provider.encode(Ask { job, ..ask });
    }
    let with_files = inlined(ask.job, &course.live.remote).await?;
    let job = with_files.map_or_else(|| Arc::new(ask.job.clone()), Arc::new);
    if is_same {
        course.with_files = Some(Arc::clone(&job));
    }
    entry.provider.encode(Ask { job: &job, ..ask })
}

/// Makes the attempt durable before anything is sent, so that a crash never asks twice unknowingly.
pub(crate) async fn record(course: &mut Course, target: &Target, dropped: Vec<Box<str>>) -> Result<usize, Failure> {
    let place = course.push(target.clone());
    let mode = std::mem::replace(&mut course.mode, AttemptMode::Start);
    course.dispatched_at.get_or_insert(course.svc.clock.now());
    let (provider, model) = (target.provider.clone(), target.model.clone());
    let started = AttemptStarted { attempt: Course::number(place), provider, model, mode, dropped };
    let mut events = vec![Event::Attempt(started)];
    if let Some(held) = &course.held {
        course.attempts[place].takes_up = Some(held.place);
        let upstream = Some(UpstreamId { id: held.upstream.id.clone() });
        let state = ProgressState::Running;
        events.push(Event::Progress(Progress { state, fraction: None, note: None, upstream }));
    }
    let handed = Instant::now();
    course.append(events).await?;
    if place == 0 {
        let (planned, begun) = (handed.saturating_duration_since(course.begun), handed.elapsed());
        telemetry::overhead(OurStage::Plan, planned);
        telemetry::overhead(OurStage::Commit, begun);
        let since = course.svc.clock.now().ms_since(course.job.submitted_at);
        telemetry::overhead(OurStage::Dispatch, std::time::Duration::from_millis(since));
    }
    Ok(place)
}

/// Relays the reply to the provider's own end. What it emitted last is then in `course.pending`, to
/// become durable together with the terminal. `heard` is what was heard of it already.
///
/// # Errors
/// Why the attempt is lost.
pub(crate) async fn relay(
    course: &mut Course,
    attempt: &mut Attempt,
    mut heard: Option<Result<Heard, Failure>>,
) -> Result<Finish, Failure> {
    course.speaking = attempt.place;
    loop {
        let step = match heard.take() {
            Some(heard) => heard,
            None => attempt.hear().await,
        };
        let arrived = attempt.arrived;
        let mut events = std::mem::take(&mut attempt.events);
        filter(course, &mut events)?;
        prepare(course, &mut events).await?;
        // What came before a failure was said, and readers get it.
        match step {
            Ok(Heard::More) => attempt.during(publish(course, &mut events, arrived)).await?,
            Ok(Heard::All) => {
                let finish = attempt.finish();
                let mut last = std::mem::take(&mut attempt.events);
                filter(course, &mut last)?;
                if finish.is_ok() {
                    course.skip.end()?;
                    if let Some(trim) = &mut course.trim {
                        trim.end(&mut last);
                    }
                }
                prepare(course, &mut last).await?;
                events.append(&mut last);
                course.pending.append(&mut events);
                if course.pending.len() >= BATCH_EVENTS_MAX || finish.is_err() {
                    course.append(Vec::new()).await?;
                }
                return finish;
            }
            Err(failure) => {
                publish(course, &mut events, arrived).await?;
                return Err(failure);
            }
        }
    }
}

/// Books an attempt that came to the provider's own end.
pub(crate) fn completed(course: &mut Course, attempt: &Attempt, finish: &Finish) {
    if let Some(usage) = &finish.usage {
        telemetry::tokens(&attempt.labels, usage, attempt.elapsed());
    }
    telemetry::attempt_ended(&attempt.labels, AttemptOutcome::Completed, attempt.elapsed());
    let spent = &mut course.attempts[attempt.place];
    spent.usage.clone_from(&finish.usage);
    spent.outcome = Some(AttemptOutcome::Completed);
}

/// Takes out what readers have already.
fn filter(course: &mut Course, events: &mut Vec<Event>) -> Result<(), Failure> {
    if let Some(trim) = &mut course.trim {
        trim.push(events);
    }
    course.skip.apply(events)
}

/// Counts what was said and puts aside what is too large for a record.
async fn prepare(course: &mut Course, events: &mut [Event]) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    count(course, events);
    store_outputs(course, events).await
}

fn count(course: &mut Course, events: &[Event]) {
    let bytes = |event: &Event| match event {
        Event::Delta(delta) => delta.text.len().max(1),
        Event::ToolCall(call) => call.arguments.len().max(1),
        Event::Output(_) => 1,
        _ => 0,
    };
    let emitted: usize = events.iter().map(bytes).sum();
    course.current().emitted_bytes += emitted as u64;
    if emitted > 0 {
        course.has_emitted = true;
        if course.first_output_at.is_none() {
            course.first_output_at = Some(course.svc.clock.now());
        }
    }
}

/// An output too large for a record becomes a file, fsynced before the record that names it.
async fn store_outputs(course: &Course, events: &mut [Event]) -> Result<(), Failure> {
    for event in events {
        let Event::Output(output) = event else { continue };
        let bytes: Bytes = match &output.body {
            OutputBody::Value(value) => value.to_string().into(),
            OutputBody::Data(blob) => blob.0.clone(),
            OutputBody::Url(_) => continue,
        };
        if bytes.len() > OUTPUT_INLINE_BYTES_MAX {
            let sha256 = course.writer.log().put_output(course.writer.stream(), bytes).await?;
            output.sha256 = Some(sha256.into());
            output.body = OutputBody::Url(format!("/v1/jobs/{}/outputs/{}", course.job.id, output.index).into());
        }
    }
    Ok(())
}

async fn publish(course: &mut Course, events: &mut Vec<Event>, arrived: Instant) -> Result<(), Failure> {
    while events.len() > BATCH_EVENTS_MAX {
        let rest = events.split_off(BATCH_EVENTS_MAX);
        course.append(std::mem::replace(events, rest)).await?;
    }
    if !events.is_empty() {
        course.append(std::mem::take(events)).await?;
        telemetry::overhead(OurStage::Event, arrived.elapsed());
    }
    Ok(())
}
