//! Failover: goes from target to target until one has answered.
//!
//! Owns the progress along a job's plan: which target is asked or waited for, what follows a loss, and the
//! race of a hedge. Promises that every attempt is recorded, that readers learn of a loss before they get
//! what follows it, and that no target is asked more often than the rules allow (`policy/retry.rs`,
//! `policy/failover.rs`).

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::attempt::{Attempt, AttemptProgress, is_silence};
use super::continuation;
use super::job_run::JobRun;
use super::plan::plan;
use super::reattach;
use super::relay::{self, relay};
use crate::admission::{Permit, Turn, Unavailable, Waiting};
use crate::job::caps::ATTEMPTS_TOTAL_MAX;
use crate::job::{AttemptMode, AttemptOutcome, Code, Event, Failure, OnStreamFailure, QueueReason, Target};
use crate::policy::effective_options::EffectiveOptions;
use crate::policy::failover::{FailoverPlan, Loss};
use crate::policy::retry::{self, AfterLoss, LostAttempt, Next};
use crate::policy::route;
use crate::provider::Finish;
use crate::telemetry;

/// An attempt that ended without the provider's own end.
pub(crate) struct Lost {
    place: usize,
    pub(crate) failure: Failure,
}

/// Tries one target after the other, returns at the first success and remembers the last failure.
///
/// # Errors
/// The failure of the last target.
pub(crate) async fn failover(run: &mut JobRun, options: &EffectiveOptions) -> Result<Finish, Failure> {
    let mut plan = FailoverPlan::new(plan(run)?);
    restore(run, &mut plan, options);
    if let Some(upstream_run) = &run.upstream.unfinished {
        // If this target may not be asked any more, another one continues.
        let _ = plan.prefer(&upstream_run.target);
    }
    let mut last = run.attempts.iter().rev().find_map(|record| record.failure.clone());
    loop {
        if plan.candidates().is_empty() {
            return Err(last.unwrap_or_else(|| Failure::internal("a plan without targets")));
        }
        let permit = match admit(run, &plan, options).await {
            Ok(permit) => permit,
            Err(failure) => return Err(last.unwrap_or(failure)),
        };
        if run.upstream.unfinished.as_ref().is_some_and(|upstream_run| upstream_run.target != *permit.target()) {
            // Another target continues instead.
            reattach::cancel_upstream(run);
            keep_or_restart(run, None).await?;
        }
        let Lost { place, failure } = match attempt(run, &mut plan, permit, options).await {
            Ok(finish) => return Ok(finish),
            Err(lost) => lost,
        };
        let next = decide(run, &mut plan, place, &failure, options);
        if next == Next::GiveUp || plan.candidates().is_empty() {
            return Err(failure);
        }
        if !continues(run, &mut plan, place, &failure).await? {
            keep_or_restart(run, Some(&failure)).await?;
        }
        last = Some(failure);
        if let Next::Again { after_ms } = next {
            // Readers learn of the loss before the wait, so that they know why the stream is silent.
            run.append(Vec::new()).await?;
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
        }
    }
}

/// Restores the plan after a restart of the broker. An attempt that was interrupted by the crash does not
/// count, nor does one whose answer went on, and its target is the first to be asked again.
fn restore(run: &mut JobRun, plan: &mut FailoverPlan, options: &EffectiveOptions) {
    let upstream_run = run.upstream.unfinished.as_ref().map(|upstream_run| upstream_run.place);
    let goes_on: Vec<usize> = run.attempts.iter().filter_map(|record| record.continues).chain(upstream_run).collect();
    for place in 0..run.attempts.len() {
        let record = &run.attempts[place];
        let target = record.target.clone();
        let counts = record.outcome == Some(AttemptOutcome::Lost) && !goes_on.contains(&place);
        let Some(failure) = record.failure.clone().filter(|_| counts) else {
            // Whether the target may still be asked is for the plan to say.
            let _ = plan.prefer(&target);
            continue;
        };
        plan.mark_tried(&target);
        let lost = LostAttempt { failure: &failure, at_target: plan.tries(&target), in_all: 0 };
        let next = match retry::next(&lost, options, 0.0) {
            // The job continued after this failure: it belonged to the target.
            Next::GiveUp => Next::Elsewhere,
            next => next,
        };
        lose(run, plan, &target, (&failure, next), options);
    }
}

/// Gets a permit for the first target of the plan that is free; if none is, waits in the queue for one.
pub(crate) async fn admit(
    run: &mut JobRun,
    plan: &FailoverPlan,
    options: &EffectiveOptions,
) -> Result<Permit, Failure> {
    let mut candidates = plan.candidates();
    if let Some(upstream_run) = &run.upstream.unfinished {
        // To receive an answer again makes no work at the provider, so the retry budget has nothing to
        // save.
        candidates
            .iter_mut()
            .filter(|other| other.target == upstream_run.target)
            .for_each(|same| same.is_retry = false);
    }
    let unavailable = match run.env.admission.enter(&candidates) {
        Ok(permit) => return Ok(permit),
        Err(unavailable) => unavailable,
    };
    let left = options.queue.saturating_sub(run.times.queued);
    let wait_ms = unavailable.until.ms_since(run.env.clock.now());
    if Duration::from_millis(wait_ms) > left {
        return Err(no_target_free(&unavailable, wait_ms));
    }
    let mut ticket = run.env.admission.wait(Waiting {
        stream: run.writer.stream().head().stream,
        candidates,
        priority: run.job.options.priority,
        share: run.env.admission.share(&run.job),
        since: run.job.submitted_at,
    })?;
    let begun = Instant::now();
    let permit = loop {
        match timeout_at(begun + left, ticket.next()).await {
            Ok(Turn::Queued(queued)) => run.append(vec![Event::Queued(queued)]).await?,
            Ok(Turn::Go(permit)) => break Ok(permit),
            Err(_) => break Err(no_target_free(&unavailable, 0)),
        }
    };
    run.times.queued += begun.elapsed();
    permit
}

fn no_target_free(unavailable: &Unavailable, wait_ms: u64) -> Failure {
    let failure = match unavailable.reason {
        QueueReason::Cooling => Failure::new(Code::ProviderUnavailable, "no target was free within the time to wait"),
        QueueReason::RateLimited | QueueReason::Capacity => {
            Failure::new(Code::ProviderRateLimited, "every target is at its limit, for longer than the time to wait")
        }
    };
    if wait_ms > 0 { failure.with_retry_after_ms(wait_ms) } else { failure }
}

/// Makes one attempt, or a race of two where the job asks for a hedge.
async fn attempt(
    run: &mut JobRun,
    plan: &mut FailoverPlan,
    permit: Permit,
    options: &EffectiveOptions,
) -> Result<Finish, Lost> {
    plan.mark_tried(permit.target());
    let Some(mut attempt) = begin(run, permit, options).await? else {
        return Ok(Finish { reason: "length".into(), native: None, usage: None });
    };
    let mut progress = None;
    // What readers have seen must not be continued twice.
    if let Some(after) = options.hedge.filter(|_| !run.readers.has_emitted) {
        (attempt, progress) = race(run, plan, attempt, (options, after)).await?;
    }
    let result = relay(run, &mut attempt, progress).await;
    match result {
        Ok(finish) => {
            relay::completed(run, &attempt, &finish);
            Ok(finish)
        }
        Err(failure) => {
            run.upstream.unfinished = attempt.detach();
            Err(record_loss(run, &attempt, failure))
        }
    }
}

/// Decides whether an answer that goes on at its provider is received again, which costs nothing and so
/// comes before anything else. Otherwise it is cancelled there.
async fn continues(
    run: &mut JobRun,
    plan: &mut FailoverPlan,
    place: usize,
    failure: &Failure,
) -> Result<bool, Failure> {
    let fails = run.readers.has_emitted && run.job.options.on_stream_failure == OnStreamFailure::Fail;
    if run.upstream.unfinished.is_none() {
        return Ok(false);
    }
    let is_refused = run.attempts[place].continues.is_some() && !failure.retryable;
    let can = match is_refused {
        true => reattach::in_one_piece(run).await?,
        false => failure.retryable && !run.upstream.replay.is_broken(),
    };
    if fails || !can || !run.upstream.unfinished.as_ref().is_some_and(|upstream_run| plan.prefer(&upstream_run.target))
    {
        reattach::cancel_upstream(run);
        return Ok(false);
    }
    run.next.mode = if run.readers.has_emitted { AttemptMode::Continue } else { AttemptMode::Start };
    Ok(true)
}

async fn begin(run: &mut JobRun, permit: Permit, options: &EffectiveOptions) -> Result<Option<Box<Attempt>>, Lost> {
    let target = permit.target().clone();
    relay::begin(run, permit, options).await.map_err(|failure| {
        let labels = run.snapshot.labels(&run.job, Some(&target));
        telemetry::attempt_ended(&labels, AttemptOutcome::Lost, Duration::ZERO);
        let place = run.attempts.len() - 1;
        let failure = failure.with_provider(&target.provider);
        run.lose(place, failure.clone(), AttemptOutcome::Lost);
        Lost { place, failure }
    })
}

/// Records a lost attempt.
pub(crate) fn record_loss(run: &mut JobRun, attempt: &Attempt, failure: Failure) -> Lost {
    let place = attempt.place;
    let failure = failure.with_provider(&run.attempts[place].target.provider);
    telemetry::attempt_ended(&attempt.labels, AttemptOutcome::Lost, attempt.elapsed());
    run.lose(place, failure.clone(), AttemptOutcome::Lost);
    Lost { place, failure }
}

/// Starts a second target when the first is silent too long, and returns the attempt whose output came
/// first. The other is cancelled and recorded.
async fn race(
    run: &mut JobRun,
    plan: &mut FailoverPlan,
    first: Box<Attempt>,
    (options, after): (&EffectiveOptions, Duration),
) -> Result<(Box<Attempt>, Option<Result<AttemptProgress, Failure>>), Lost> {
    let mut runners = vec![first];
    let mut hedge_at = Some(Instant::now() + after);
    loop {
        let (at, progress) = match (&mut runners[..], hedge_at) {
            ([a, b], _) => tokio::select! {
                progress = a.next_events() => (0, progress),
                progress = b.next_events() => (1, progress),
            },
            ([only, ..], Some(when)) => tokio::select! {
                biased;
                progress = only.next_events() => (0, progress),
                () = sleep_until(when) => {
                    hedge_at = None;
                    let running = only.target().clone();
                    runners.extend(start_hedge(run, plan, &running, options).await);
                    continue;
                }
            },
            ([only, ..], None) => (0, only.next_events().await),
            ([], _) => unreachable!("the last one is returned when it is lost"),
        };
        let has_output = runners[at].events.iter().any(Event::is_output);
        match progress {
            Err(failure) if !has_output && runners.len() > 1 => {
                let lost = record_loss(run, &runners.swap_remove(at), failure);
                decide(run, plan, lost.place, &lost.failure, options);
            }
            Ok(AttemptProgress::More) if !has_output => {
                let attempt = &mut runners[at];
                let events = std::mem::take(&mut attempt.events);
                let failed = run.append(events).await.err();
                if let Some(failure) = failed {
                    return Err(record_loss(run, attempt, failure));
                }
            }
            progress => {
                let winner = runners.swap_remove(at);
                for mut loser in runners {
                    if let Some(left) = loser.detach() {
                        reattach::end(run, left.target, left.upstream);
                    }
                    let failure = Failure::new(Code::Cancelled, "another target answered first");
                    telemetry::attempt_ended(&loser.labels, AttemptOutcome::Cancelled, loser.elapsed());
                    run.lose(loser.place, failure, AttemptOutcome::Cancelled);
                }
                return Ok((winner, Some(progress)));
            }
        }
    }
}

/// Starts the second attempt of a race at the next target that is free, if there is one.
async fn start_hedge(
    run: &mut JobRun,
    plan: &mut FailoverPlan,
    running: &Target,
    options: &EffectiveOptions,
) -> Option<Box<Attempt>> {
    let others: Vec<_> = plan.candidates().into_iter().filter(|other| other.target != *running).collect();
    let permit = run.env.admission.enter(&others).ok()?;
    plan.mark_tried(permit.target());
    match begin(run, permit, options).await {
        Ok(attempt) => attempt,
        Err(lost) => {
            decide(run, plan, lost.place, &lost.failure, options);
            None
        }
    }
}

/// Decides what follows a loss, and notes it in the plan.
fn decide(
    run: &mut JobRun,
    plan: &mut FailoverPlan,
    place: usize,
    failure: &Failure,
    options: &EffectiveOptions,
) -> Next {
    let in_all = u32::try_from(run.attempts.len()).unwrap_or(u32::MAX);
    let record = &mut run.attempts[place];
    let refused_prefill = record.is_prefilled && record.emitted_bytes == 0 && continuation::refuses_prefill(failure);
    record.is_prefill_refused = refused_prefill;
    // An answer that goes on at the provider has not failed because it is silent for long, is not there
    // yet, or was received in another piece.
    let has_gone_on = record.continues.is_some() && (record.emitted_bytes > 0 || !failure.retryable);
    let not_failed_after_ms =
        run.upstream.unfinished.as_ref().and_then(|upstream_run| match upstream_run.is_under_way {
            true => Some(retry::look_again_ms(options, in_all)),
            false if is_silence(failure) || has_gone_on => Some(0),
            false => None,
        });
    let after_ms = not_failed_after_ms.or(refused_prefill.then_some(0));
    if let Some(after_ms) = after_ms.filter(|_| in_all < ATTEMPTS_TOTAL_MAX) {
        plan.not_counted(&record.target);
        return Next::Again { after_ms };
    }
    let target = record.target.clone();
    let lost = LostAttempt { failure, at_target: plan.tries(&target), in_all };
    let next = retry::next(&lost, options, run.env.random.fraction());
    lose(run, plan, &target, (failure, next), options);
    next
}

fn lose(
    run: &JobRun,
    plan: &mut FailoverPlan,
    target: &Target,
    (failure, next): (&Failure, Next),
    options: &EffectiveOptions,
) {
    let is_larger = |other: &Target| route::larger_window(target, other, &run.snapshot.on);
    plan.lost(target, &Loss { failure, next, wants_retries: options.attempts_max > 1, is_larger: &is_larger });
}

/// Decides whether the output that readers have seen stands after `failure`, or is to be discarded.
async fn keep_or_restart(run: &mut JobRun, failure: Option<&Failure>) -> Result<(), Failure> {
    if !run.readers.has_emitted {
        return Ok(());
    }
    let partial = continuation::partial(run).await?;
    match retry::after_loss(run.job.options.on_stream_failure, partial.can_continue(&run.job)) {
        AfterLoss::Continue => {
            run.next.mode = AttemptMode::Continue;
            run.next.partial = Some(partial);
        }
        AfterLoss::Restart => run.restart(),
        AfterLoss::Fail => {
            return Err(failure.cloned().unwrap_or_else(|| Failure::internal("an answer that broke off")));
        }
    }
    Ok(())
}
