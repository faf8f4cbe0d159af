//! Relays the events of an attempt into the job's log.
//!
//! Owns the records of an attempt and of its events. Appends and waits; meanwhile no more is read from the
//! provider's socket than the next append takes, and that is the back-pressure. Does not know retries.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::attempt::{Attempt, AttemptParams, AttemptProgress};
use super::attempts::Attempts;
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
use crate::provider::{Finish, ModelCall, Outbound};
use crate::telemetry::{self, OurStage};

/// Begins an attempt: its record is durable, and its request is sent when its events are awaited. Returns
/// `None` if there is nothing left to ask for, because readers have all that the job allows.
///
/// # Errors
/// Why this target cannot be asked; the attempt was added to `run` all the same.
pub(crate) async fn begin(
    run: &mut JobRun,
    permit: Permit,
    options: &EffectiveOptions,
) -> Result<Option<Box<Attempt>>, Failure> {
    let target = permit.target().clone();
    let labels = run.snapshot.labels(&run.job, Some(&target));
    let Some(entry) = run.snapshot.registry.get(&target.provider).cloned() else {
        record(run, &target, Vec::new()).await?;
        return Err(Failure::new(Code::UnknownModel, format!("no provider `{}` is configured", target.provider))
            .of_the_target());
    };
    let (job, prefilled) = match &run.upstream.unfinished {
        // The same answer continues, and so does the trimming of what it repeats.
        Some(_) => (Arc::clone(&run.job), false),
        None => match next_request(run, &entry, &target).await {
            Continued::Ask { job, prefilled } => (job, prefilled),
            Continued::NothingLeft => return Ok(None),
            Continued::Cannot => {
                run.next.trimmer = None;
                run.restart();
                (Arc::clone(&run.job), false)
            }
        },
    };
    let ask = ModelCall { job: &job, target: &target, endpoint: &entry.endpoint, prefilled };
    let mut encoded = match &run.upstream.unfinished {
        Some(upstream_run) => {
            upstream_run.outbound(entry.provider, ask).ok_or_else(|| Failure::internal("nothing to take up"))
        }
        None if entry.provider.wants_files_inside(ask) => encode_with_files(run, &entry, ask).await,
        None => entry.provider.encode(ask),
    };
    let dropped = encoded.as_mut().map(|outbound| std::mem::take(&mut outbound.dropped)).unwrap_or_default();
    let place = record(run, &target, dropped).await?;
    run.attempts[place].is_prefilled = prefilled;
    let outbound = encoded?.for_attempt(Attempts::number(place));
    // Until here the answer is cancelled with the job, if that ends.
    let upstream_run = run.upstream.unfinished.take();
    let report_slot = Arc::clone(&run.attempts[place].report_slot);
    let (env, provider, options) = (&run.env, entry.provider, *options);
    let params =
        AttemptParams { place, env, provider, ask, outbound, upstream_run, tap: None, options, labels, report_slot };
    Ok(Some(Box::new(Attempt::new(params, Some(permit)))))
}

/// Returns the request of the next attempt: the job itself, or the rest of its answer.
async fn next_request(run: &mut JobRun, entry: &Entry, target: &Target) -> Continued {
    (run.next.trimmer, run.upstream.replay) = (None, ReplayFilter::default());
    let Some(partial) = &run.next.partial else {
        return Continued::Ask { job: Arc::clone(&run.job), prefilled: false };
    };
    let ask = ModelCall { job: &run.job, target, endpoint: &entry.endpoint, prefilled: false };
    let refused = run.attempts.iter().any(|record| record.is_prefill_refused && record.target == *target);
    let by = if refused { ContinueBy::Turn } else { ContinueBy::with(entry.provider.prefill(ask)) };
    run.next.trimmer = Some(OverlapTrimmer::new(partial, by));
    continuation::continued(&run.job, partial, by, &target.model).await
}

/// Encodes the request with the job's files inside it. They are fetched once for all attempts that ask the
/// same.
async fn encode_with_files(run: &mut JobRun, entry: &Entry, ask: ModelCall<'_>) -> Result<Outbound, Failure> {
    let is_same = std::ptr::eq(ask.job, &raw const *run.job);
    if let Some(job) = run.with_files.as_ref().filter(|_| is_same) {
        return entry.provider.encode(ModelCall { job, ..ask });
    }
    let with_files = inlined(ask.job, &run.snapshot.remote).await?;
    let job = with_files.map_or_else(|| Arc::new(ask.job.clone()), Arc::new);
    if is_same {
        run.with_files = Some(Arc::clone(&job));
    }
    entry.provider.encode(ModelCall { job: &job, ..ask })
}

/// Makes the attempt durable before anything is sent, so that a crash never causes a second request
/// unnoticed.
pub(crate) async fn record(run: &mut JobRun, target: &Target, dropped: Vec<Box<str>>) -> Result<usize, Failure> {
    let place = run.attempts.push(target.clone());
    let mode = std::mem::replace(&mut run.next.mode, AttemptMode::Start);
    run.times.dispatched_at.get_or_insert(run.env.clock.now());
    let (provider, model) = (target.provider.clone(), target.model.clone());
    let started = AttemptStarted { attempt: Attempts::number(place), provider, model, mode, dropped };
    let mut events = vec![Event::Attempt(started)];
    if let Some(upstream_run) = &run.upstream.unfinished {
        run.attempts[place].continues = Some(upstream_run.place);
        let upstream = Some(UpstreamId { id: upstream_run.upstream.id.clone() });
        let state = ProgressState::Running;
        events.push(Event::Progress(Progress { state, fraction: None, note: None, upstream }));
    }
    let handed = Instant::now();
    run.append(events).await?;
    if place == 0 {
        let (planned, begun) = (handed.saturating_duration_since(run.times.begun), handed.elapsed());
        telemetry::overhead(OurStage::Plan, planned);
        telemetry::overhead(OurStage::Commit, begun);
        let since = run.env.clock.now().ms_since(run.job.submitted_at);
        telemetry::overhead(OurStage::Dispatch, std::time::Duration::from_millis(since));
    }
    Ok(place)
}

/// Relays the reply to the provider's own end. The last events are then in `run.readers.pending`, to become
/// durable together with the terminal record. `progress` is a result that was received before.
///
/// # Errors
/// Why the attempt is lost.
pub(crate) async fn relay(
    run: &mut JobRun,
    attempt: &mut Attempt,
    mut progress: Option<Result<AttemptProgress, Failure>>,
) -> Result<Finish, Failure> {
    run.attempts.speaking = attempt.place;
    loop {
        let step = match progress.take() {
            Some(progress) => progress,
            None => attempt.next_events().await,
        };
        let arrived = attempt.arrived;
        let mut events = std::mem::take(&mut attempt.events);
        filter(run, &mut events)?;
        prepare(run, &mut events).await?;
        // Events that came before a failure are valid, and readers get them.
        match step {
            Ok(AttemptProgress::More) => attempt.during(publish(run, &mut events, arrived)).await?,
            Ok(AttemptProgress::All) => {
                let finish = attempt.finish();
                let mut last = std::mem::take(&mut attempt.events);
                filter(run, &mut last)?;
                if finish.is_ok() {
                    run.upstream.replay.end()?;
                    if let Some(trim) = &mut run.next.trimmer {
                        trim.end(&mut last);
                    }
                }
                prepare(run, &mut last).await?;
                events.append(&mut last);
                run.readers.pending.append(&mut events);
                if run.readers.pending.len() >= BATCH_EVENTS_MAX || finish.is_err() {
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

/// Records an attempt that came to the provider's own end.
pub(crate) fn completed(run: &mut JobRun, attempt: &Attempt, finish: &Finish) {
    if let Some(usage) = &finish.usage {
        telemetry::tokens(&attempt.labels, usage, attempt.elapsed());
    }
    telemetry::attempt_ended(&attempt.labels, AttemptOutcome::Completed, attempt.elapsed());
    let record = &mut run.attempts[attempt.place];
    record.usage.clone_from(&finish.usage);
    record.outcome = Some(AttemptOutcome::Completed);
}

/// Removes what readers have already.
fn filter(run: &mut JobRun, events: &mut Vec<Event>) -> Result<(), Failure> {
    if let Some(trim) = &mut run.next.trimmer {
        trim.push(events);
    }
    run.upstream.replay.apply(events)
}

/// Counts the output and stores what is too large for a record.
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
    run.attempts.current().emitted_bytes += emitted as u64;
    if emitted > 0 {
        run.readers.has_emitted = true;
        if run.readers.first_output_at.is_none() {
            run.readers.first_output_at = Some(run.env.clock.now());
        }
    }
}

/// Stores an output that is too large for a record as a file. The file is on disk before a record names the
/// output.
async fn store_outputs(run: &JobRun, events: &mut [Event]) -> Result<(), Failure> {
    for event in events {
        let Event::Output(output) = event else { continue };
        let bytes: Bytes = match &output.body {
            OutputBody::Value(value) => value.to_string().into(),
            OutputBody::Data(blob) => blob.0.clone(),
            OutputBody::Url(_) => continue,
        };
        if bytes.len() > OUTPUT_INLINE_BYTES_MAX {
            let stored = run.env.log.put_output_bytes(run.writer.stream(), bytes).await?;
            output.sha256 = Some(stored.sha256.into());
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
