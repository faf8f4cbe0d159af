//! Relays what an attempt says into the job's log.
//!
//! Owns the record of an attempt and of its events. Appends and waits; meanwhile no more is read of
//! the provider's socket than the next append takes, and that is the back-pressure. Knows nothing of
//! retries.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::attempt::{Attempt, AttemptParams, AttemptProgress};
use super::continuation;
use super::continuation::{ContinueBy, Continued, OverlapTrimmer};
use super::inline_files::inlined;
use super::job_run::JobRun;
use super::reattach::ReplayFilter;
use crate::admission::Permit;
use crate::job::caps::{BATCH_EVENTS_MAX, OUTPUT_INLINE_BYTES_MAX};
use crate::job::{
    AttemptMode, AttemptOutcome, AttemptStarted, Code, Event, Failure, OutputBody, Progress, ProgressState, Target,
    UpstreamId,
};
use crate::policy::effective_options::EffectiveOptions;
use crate::provider::registry::Entry;
use crate::provider::{Ask, Finish, Outbound};
use crate::telemetry::{self, OurStage};

/// Begins an attempt: its record is durable, and its request goes out when it is listened to. `None`
/// if there is nothing left to ask for: what readers have is all that the job allows.
///
/// # Errors
/// Why this target cannot be asked; the attempt is pushed in `run` all the same.
pub(crate) async fn begin(
    run: &mut JobRun,
    pass: Permit,
    terms: &EffectiveOptions,
) -> Result<Option<Box<Attempt>>, Failure> {
    let target = pass.target().clone();
    let labels = run.snapshot.labels(&run.job, Some(&target));
    let Some(entry) = run.snapshot.registry.get(&target.provider).cloned() else {
        record(run, &target, Vec::new()).await?;
        return Err(Failure::new(Code::UnknownModel, format!("no provider `{}` is configured", target.provider))
            .of_the_target());
    };
    let (job, prefilled) = match &run.held {
        // The same answer goes on, and so does what is cut away from it.
        Some(_) => (Arc::clone(&run.job), false),
        None => match go_on(run, &entry, &target).await {
            Continued::Ask { job, prefilled } => (job, prefilled),
            Continued::NothingLeft => return Ok(None),
            Continued::Cannot => {
                run.trim = None;
                run.restart();
                (Arc::clone(&run.job), false)
            }
        },
    };
    let ask = Ask { job: &job, target: &target, endpoint: &entry.endpoint, prefilled };
    let mut encoded = match &run.held {
        Some(held) => held.outbound(entry.provider, ask).ok_or_else(|| Failure::internal("nothing to take up")),
        None if entry.provider.wants_files_inside(ask) => encode_with_files(run, &entry, ask).await,
        None => entry.provider.encode(ask),
    };
    let dropped = encoded.as_mut().map(|outbound| std::mem::take(&mut outbound.dropped)).unwrap_or_default();
    let place = record(run, &target, dropped).await?;
    run.attempts[place].is_prefilled = prefilled;
    let outbound = encoded?.for_attempt(JobRun::number(place));
    // Until here whoever ends the job ends this as well.
    let held = run.held.take();
    let tell = Arc::clone(&run.attempts[place].tell);
    let (env, provider, terms) = (&run.env, entry.provider, *terms);
    let asked = AttemptParams { place, env, provider, ask, outbound, held, tap: None, terms, labels, tell };
    Ok(Some(Box::new(Attempt::new(asked, Some(pass)))))
}

/// What is asked: the job, or the rest of its answer.
async fn go_on(run: &mut JobRun, entry: &Entry, target: &Target) -> Continued {
    (run.trim, run.skip) = (None, ReplayFilter::default());
    let Some(partial) = &run.partial else {
        return Continued::Ask { job: Arc::clone(&run.job), prefilled: false };
    };
    let ask = Ask { job: &run.job, target, endpoint: &entry.endpoint, prefilled: false };
    let refused = run.attempts.iter().any(|spent| spent.is_prefill_refused && spent.target == *target);
    let way = if refused { ContinueBy::Turn } else { ContinueBy::with(entry.provider.prefill(ask)) };
    run.trim = Some(OverlapTrimmer::new(partial, way));
    continuation::continued(&run.job, partial, way, &target.model).await
}

/// The request with the job's files inside it. They are fetched once for all attempts that ask the
/// same.
async fn encode_with_files(run: &mut JobRun, entry: &Entry, ask: Ask<'_>) -> Result<Outbound, Failure> {
    let is_same = std::ptr::eq(ask.job, &raw const *run.job);
    if let Some(job) = run.with_files.as_ref().filter(|_| is_same) {
        return entry.provider.encode(Ask { job, ..ask });
    }
    let with_files = inlined(ask.job, &run.snapshot.remote).await?;
    let job = with_files.map_or_else(|| Arc::new(ask.job.clone()), Arc::new);
    if is_same {
        run.with_files = Some(Arc::clone(&job));
    }
    entry.provider.encode(Ask { job: &job, ..ask })
}

/// Makes the attempt durable before anything is sent, so that a crash never asks twice unknowingly.
pub(crate) async fn record(run: &mut JobRun, target: &Target, dropped: Vec<Box<str>>) -> Result<usize, Failure> {
    let place = run.push(target.clone());
    let mode = std::mem::replace(&mut run.mode, AttemptMode::Start);
    run.dispatched_at.get_or_insert(run.env.clock.now());
    let (provider, model) = (target.provider.clone(), target.model.clone());
    let started = AttemptStarted { attempt: JobRun::number(place), provider, model, mode, dropped };
    let mut events = vec![Event::Attempt(started)];
    if let Some(held) = &run.held {
        run.attempts[place].takes_up = Some(held.place);
        let upstream = Some(UpstreamId { id: held.upstream.id.clone() });
        let state = ProgressState::Running;
        events.push(Event::Progress(Progress { state, fraction: None, note: None, upstream }));
    }
    let handed = Instant::now();
    run.append(events).await?;
    if place == 0 {
        let (planned, begun) = (handed.saturating_duration_since(run.begun), handed.elapsed());
        telemetry::overhead(OurStage::Plan, planned);
        telemetry::overhead(OurStage::Commit, begun);
        let since = run.env.clock.now().ms_since(run.job.submitted_at);
        telemetry::overhead(OurStage::Dispatch, std::time::Duration::from_millis(since));
    }
    Ok(place)
}

/// Relays the reply to the provider's own end. What it emitted last is then in `run.pending`, to
/// become durable together with the terminal. `heard` is what was heard of it already.
///
/// # Errors
/// Why the attempt is lost.
pub(crate) async fn relay(
    run: &mut JobRun,
    attempt: &mut Attempt,
    mut heard: Option<Result<AttemptProgress, Failure>>,
) -> Result<Finish, Failure> {
    run.speaking = attempt.place;
    loop {
        let step = match heard.take() {
            Some(heard) => heard,
            None => attempt.next_events().await,
        };
        let arrived = attempt.arrived;
        let mut events = std::mem::take(&mut attempt.events);
        filter(run, &mut events)?;
        prepare(run, &mut events).await?;
        // What came before a failure was said, and readers get it.
        match step {
            Ok(AttemptProgress::More) => attempt.during(publish(run, &mut events, arrived)).await?,
            Ok(AttemptProgress::All) => {
                let finish = attempt.finish();
                let mut last = std::mem::take(&mut attempt.events);
                filter(run, &mut last)?;
                if finish.is_ok() {
                    run.skip.end()?;
                    if let Some(trim) = &mut run.trim {
                        trim.end(&mut last);
                    }
                }
                prepare(run, &mut last).await?;
                events.append(&mut last);
                run.pending.append(&mut events);
                if run.pending.len() >= BATCH_EVENTS_MAX || finish.is_err() {
                    run.append(Vec::new()).await?;
                }
                return finish;
            }
            Err(failure) => {
                publish(run, &mut events, arrived).await?;
                return Err(failure);
            }
        }
    }
}

/// Books an attempt that came to the provider's own end.
pub(crate) fn completed(run: &mut JobRun, attempt: &Attempt, finish: &Finish) {
    if let Some(usage) = &finish.usage {
        telemetry::tokens(&attempt.labels, usage, attempt.elapsed());
    }
    telemetry::attempt_ended(&attempt.labels, AttemptOutcome::Completed, attempt.elapsed());
    let spent = &mut run.attempts[attempt.place];
    spent.usage.clone_from(&finish.usage);
    spent.outcome = Some(AttemptOutcome::Completed);
}

/// Takes out what readers have already.
fn filter(run: &mut JobRun, events: &mut Vec<Event>) -> Result<(), Failure> {
    if let Some(trim) = &mut run.trim {
        trim.push(events);
    }
    run.skip.apply(events)
}

/// Counts what was said and puts aside what is too large for a record.
async fn prepare(run: &mut JobRun, events: &mut [Event]) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    count(run, events);
    store_outputs(run, events).await
}

fn count(run: &mut JobRun, events: &[Event]) {
    let bytes = |event: &Event| match event {
        Event::Delta(delta) => delta.text.len().max(1),
        Event::ToolCall(call) => call.arguments.len().max(1),
        Event::Output(_) => 1,
        _ => 0,
    };
    let emitted: usize = events.iter().map(bytes).sum();
    run.current().emitted_bytes += emitted as u64;
    if emitted > 0 {
        run.has_emitted = true;
        if run.first_output_at.is_none() {
            run.first_output_at = Some(run.env.clock.now());
        }
    }
}

/// An output too large for a record becomes a file, fsynced before the record that names it.
async fn store_outputs(run: &JobRun, events: &mut [Event]) -> Result<(), Failure> {
    for event in events {
        let Event::Output(output) = event else { continue };
        let bytes: Bytes = match &output.body {
            OutputBody::Value(value) => value.to_string().into(),
            OutputBody::Data(blob) => blob.0.clone(),
            OutputBody::Url(_) => continue,
        };
        if bytes.len() > OUTPUT_INLINE_BYTES_MAX {
            let sha256 = run.writer.log().put_output(run.writer.stream(), bytes).await?;
            output.sha256 = Some(sha256.into());
            output.body = OutputBody::Url(format!("/v1/jobs/{}/outputs/{}", run.job.id, output.index).into());
        }
    }
    Ok(())
}

async fn publish(run: &mut JobRun, events: &mut Vec<Event>, arrived: Instant) -> Result<(), Failure> {
    while events.len() > BATCH_EVENTS_MAX {
        let rest = events.split_off(BATCH_EVENTS_MAX);
        run.append(std::mem::replace(events, rest)).await?;
    }
    if !events.is_empty() {
        run.append(std::mem::take(events)).await?;
        telemetry::overhead(OurStage::Event, arrived.elapsed());
    }
    Ok(())
}
