//! From target to target, until one has answered.
//!
//! Owns the walk along a job's plan: who is asked, who is waited for, what a loss leads to, and the
//! race of a hedge. Promises that every attempt is booked, that a seam is told before anything
//! follows it, and that no target is asked more often than the rules allow (`policy/retry.rs`,
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
use crate::policy::retry::{self, LostAttempt, Next, Seam};
use crate::policy::route;
use crate::provider::Finish;
use crate::telemetry;

/// An attempt that ended without the provider's own end.
pub(crate) struct Lost {
    place: usize,
    pub(crate) failure: Failure,
}

/// For each target: try, return on success, remember the failure.
///
/// # Errors
/// Why nobody answered.
pub(crate) async fn failover(run: &mut JobRun, terms: &EffectiveOptions) -> Result<Finish, Failure> {
    let mut walk = FailoverPlan::new(plan(run)?);
    remember(run, &mut walk, terms);
    if let Some(held) = &run.held {
        // If it may not be asked any more, somebody else goes on.
        let _ = walk.prefer(&held.target);
    }
    let mut last = run.attempts.iter().rev().find_map(|spent| spent.failure.clone());
    loop {
        if walk.candidates().is_empty() {
            return Err(last.unwrap_or_else(|| Failure::internal("a plan without targets")));
        }
        let pass = match admit(run, &walk, terms).await {
            Ok(pass) => pass,
            Err(failure) => return Err(last.unwrap_or(failure)),
        };
        if run.held.as_ref().is_some_and(|held| held.target != *pass.target()) {
            // Somebody else goes on instead.
            reattach::cancel_upstream(run);
            bridge(run, None).await?;
        }
        let Lost { place, failure } = match attempt(run, &mut walk, pass, terms).await {
            Ok(finish) => return Ok(finish),
            Err(lost) => lost,
        };
        let next = decide(run, &mut walk, place, &failure, terms);
        if next == Next::GiveUp || walk.candidates().is_empty() {
            return Err(failure);
        }
        if !takes_up(run, &mut walk, place, &failure).await? {
            bridge(run, Some(&failure)).await?;
        }
        last = Some(failure);
        if let Next::Again { after_ms } = next {
            // The seam is told before the wait, so that readers know why it is silent.
            run.append(Vec::new()).await?;
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
        }
    }
}

/// Takes over what an earlier life of the broker did. An attempt that died with it does not count,
/// nor does one whose answer went on, and its target is the first to be asked again.
fn remember(run: &mut JobRun, walk: &mut FailoverPlan, terms: &EffectiveOptions) {
    let held = run.held.as_ref().map(|held| held.place);
    let goes_on: Vec<usize> = run.attempts.iter().filter_map(|spent| spent.takes_up).chain(held).collect();
    for place in 0..run.attempts.len() {
        let spent = &run.attempts[place];
        let target = spent.target.clone();
        let counts = spent.outcome == Some(AttemptOutcome::Lost) && !goes_on.contains(&place);
        let Some(failure) = spent.failure.clone().filter(|_| counts) else {
            // Whether it may still be asked is the walk's to say.
            let _ = walk.prefer(&target);
            continue;
        };
        walk.asked(&target);
        let lost = LostAttempt { failure: &failure, at_target: walk.tries(&target), in_all: 0 };
        let next = match retry::next(&lost, terms, 0.0) {
            // The job went on after it: it was the target's own.
            Next::GiveUp => Next::Elsewhere,
            next => next,
        };
        lose(run, walk, &target, (&failure, next), terms);
    }
}

/// A place at the first target of the walk that is free; if none is, waits in line for one.
pub(crate) async fn admit(run: &mut JobRun, walk: &FailoverPlan, terms: &EffectiveOptions) -> Result<Permit, Failure> {
    let mut candidates = walk.candidates();
    if let Some(held) = &run.held {
        // To go on hearing an answer makes no work there: retries have nothing to save.
        candidates.iter_mut().filter(|other| other.target == held.target).for_each(|same| same.is_retry = false);
    }
    let shut = match run.env.admission.enter(&candidates) {
        Ok(pass) => return Ok(pass),
        Err(shut) => shut,
    };
    let left = terms.queue.saturating_sub(run.queued);
    let wait_ms = shut.until.ms_since(run.env.clock.now());
    if Duration::from_millis(wait_ms) > left {
        return Err(nobody_free(&shut, wait_ms));
    }
    let mut ticket = run.env.admission.wait(Waiting {
        stream: run.writer.stream().head().stream,
        candidates,
        priority: run.job.options.priority,
        share: run.env.admission.share(&run.job),
        since: run.job.submitted_at,
    })?;
    let begun = Instant::now();
    let pass = loop {
        match timeout_at(begun + left, ticket.next()).await {
            Ok(Turn::Queued(queued)) => run.append(vec![Event::Queued(queued)]).await?,
            Ok(Turn::Go(pass)) => break Ok(pass),
            Err(_) => break Err(nobody_free(&shut, 0)),
        }
    };
    run.queued += begun.elapsed();
    pass
}

fn nobody_free(shut: &Unavailable, wait_ms: u64) -> Failure {
    let failure = match shut.reason {
        QueueReason::Cooling => Failure::new(Code::ProviderUnavailable, "no target was free within the time to wait"),
        QueueReason::RateLimited | QueueReason::Capacity => {
            Failure::new(Code::ProviderRateLimited, "every target is at its limit, for longer than the time to wait")
        }
    };
    if wait_ms > 0 { failure.with_retry_after_ms(wait_ms) } else { failure }
}

/// One attempt, or a race of two where the job hedges.
async fn attempt(
    run: &mut JobRun,
    walk: &mut FailoverPlan,
    pass: Permit,
    terms: &EffectiveOptions,
) -> Result<Finish, Lost> {
    walk.asked(pass.target());
    let Some(mut attempt) = begin(run, pass, terms).await? else {
        return Ok(Finish { reason: "length".into(), native: None, usage: None });
    };
    let mut heard = None;
    // What readers have seen is not to be gone on with twice.
    if let Some(after) = terms.hedge.filter(|_| !run.has_emitted) {
        (attempt, heard) = race(run, walk, attempt, (terms, after)).await?;
    }
    let result = relay(run, &mut attempt, heard).await;
    match result {
        Ok(finish) => {
            relay::completed(run, &attempt, &finish);
            Ok(finish)
        }
        Err(failure) => {
            run.held = attempt.leave();
            Err(book(run, &attempt, failure))
        }
    }
}

/// Whether an answer that goes on at its provider is listened to again: that costs nothing, so it
/// comes before anything else. One that is not is ended there.
async fn takes_up(run: &mut JobRun, walk: &mut FailoverPlan, place: usize, failure: &Failure) -> Result<bool, Failure> {
    let fails = run.has_emitted && run.job.options.on_stream_failure == OnStreamFailure::Fail;
    if run.held.is_none() {
        return Ok(false);
    }
    let is_refused = run.attempts[place].takes_up.is_some() && !failure.retryable;
    let can = match is_refused {
        true => reattach::in_one_piece(run).await?,
        false => failure.retryable && !run.skip.is_broken(),
    };
    if fails || !can || !run.held.as_ref().is_some_and(|held| walk.prefer(&held.target)) {
        reattach::cancel_upstream(run);
        return Ok(false);
    }
    run.mode = if run.has_emitted { AttemptMode::Continue } else { AttemptMode::Start };
    Ok(true)
}

async fn begin(run: &mut JobRun, pass: Permit, terms: &EffectiveOptions) -> Result<Option<Box<Attempt>>, Lost> {
    let target = pass.target().clone();
    relay::begin(run, pass, terms).await.map_err(|failure| {
        let labels = run.snapshot.labels(&run.job, Some(&target));
        telemetry::attempt_ended(&labels, AttemptOutcome::Lost, Duration::ZERO);
        let place = run.attempts.len() - 1;
        let failure = failure.with_provider(&target.provider);
        run.lose(place, failure.clone(), AttemptOutcome::Lost);
        Lost { place, failure }
    })
}

/// Books a lost attempt.
pub(crate) fn book(run: &mut JobRun, attempt: &Attempt, failure: Failure) -> Lost {
    let place = attempt.place;
    let failure = failure.with_provider(&run.attempts[place].target.provider);
    telemetry::attempt_ended(&attempt.labels, AttemptOutcome::Lost, attempt.elapsed());
    run.lose(place, failure.clone(), AttemptOutcome::Lost);
    Lost { place, failure }
}

/// Lets a second target start when the first is silent too long, and returns the one that says
/// something first. The other is cancelled, and its work is booked.
async fn race(
    run: &mut JobRun,
    walk: &mut FailoverPlan,
    first: Box<Attempt>,
    (terms, after): (&EffectiveOptions, Duration),
) -> Result<(Box<Attempt>, Option<Result<AttemptProgress, Failure>>), Lost> {
    let mut runners = vec![first];
    let mut hedge_at = Some(Instant::now() + after);
    loop {
        let (at, heard) = match (&mut runners[..], hedge_at) {
            ([a, b], _) => tokio::select! {
                heard = a.next_events() => (0, heard),
                heard = b.next_events() => (1, heard),
            },
            ([only, ..], Some(when)) => tokio::select! {
                biased;
                heard = only.next_events() => (0, heard),
                () = sleep_until(when) => {
                    hedge_at = None;
                    let running = only.target().clone();
                    runners.extend(second(run, walk, &running, terms).await);
                    continue;
                }
            },
            ([only, ..], None) => (0, only.next_events().await),
            ([], _) => unreachable!("the last one is returned when it is lost"),
        };
        let has_spoken = runners[at].events.iter().any(Event::is_output);
        match heard {
            Err(failure) if !has_spoken && runners.len() > 1 => {
                let lost = book(run, &runners.swap_remove(at), failure);
                decide(run, walk, lost.place, &lost.failure, terms);
            }
            Ok(AttemptProgress::More) if !has_spoken => {
                let attempt = &mut runners[at];
                let events = std::mem::take(&mut attempt.events);
                let failed = run.append(events).await.err();
                if let Some(failure) = failed {
                    return Err(book(run, attempt, failure));
                }
            }
            heard => {
                let winner = runners.swap_remove(at);
                for mut loser in runners {
                    if let Some(left) = loser.leave() {
                        reattach::end(run, left.target, left.upstream);
                    }
                    let failure = Failure::new(Code::Cancelled, "another target answered first");
                    telemetry::attempt_ended(&loser.labels, AttemptOutcome::Cancelled, loser.elapsed());
                    run.lose(loser.place, failure, AttemptOutcome::Cancelled);
                }
                return Ok((winner, Some(heard)));
            }
        }
    }
}

/// The second of a race, at the next target that is free; nobody, if none is.
async fn second(
    run: &mut JobRun,
    walk: &mut FailoverPlan,
    running: &Target,
    terms: &EffectiveOptions,
) -> Option<Box<Attempt>> {
    let others: Vec<_> = walk.candidates().into_iter().filter(|other| other.target != *running).collect();
    let pass = run.env.admission.enter(&others).ok()?;
    walk.asked(pass.target());
    match begin(run, pass, terms).await {
        Ok(attempt) => attempt,
        Err(lost) => {
            decide(run, walk, lost.place, &lost.failure, terms);
            None
        }
    }
}

/// What follows a loss, noted in the walk.
fn decide(
    run: &mut JobRun,
    walk: &mut FailoverPlan,
    place: usize,
    failure: &Failure,
    terms: &EffectiveOptions,
) -> Next {
    let in_all = u32::try_from(run.attempts.len()).unwrap_or(u32::MAX);
    let spent = &mut run.attempts[place];
    let refused_prefill = spent.is_prefilled && spent.emitted_bytes == 0 && continuation::refuses_prefill(failure);
    spent.is_prefill_refused = refused_prefill;
    // What goes on at the provider has not failed because it is silent for long, is not there yet, or
    // was heard in another piece.
    let has_gone_on = spent.takes_up.is_some() && (spent.emitted_bytes > 0 || !failure.retryable);
    let not_failed_after_ms = run.held.as_ref().and_then(|held| match held.is_under_way {
        true => Some(retry::look_again_ms(terms, in_all)),
        false if is_silence(failure) || has_gone_on => Some(0),
        false => None,
    });
    let after_ms = not_failed_after_ms.or(refused_prefill.then_some(0));
    if let Some(after_ms) = after_ms.filter(|_| in_all < ATTEMPTS_TOTAL_MAX) {
        walk.not_counted(&spent.target);
        return Next::Again { after_ms };
    }
    let target = spent.target.clone();
    let lost = LostAttempt { failure, at_target: walk.tries(&target), in_all };
    let next = retry::next(&lost, terms, run.env.random.fraction());
    lose(run, walk, &target, (failure, next), terms);
    next
}

fn lose(
    run: &JobRun,
    walk: &mut FailoverPlan,
    target: &Target,
    (failure, next): (&Failure, Next),
    terms: &EffectiveOptions,
) {
    let is_larger = |other: &Target| route::larger_window(target, other, &run.snapshot.on);
    walk.lost(target, &Loss { failure, next, wants_retries: terms.attempts_max > 1, is_larger: &is_larger });
}

/// What becomes of what readers have seen after `failure`: it stands, or they are told to discard it.
async fn bridge(run: &mut JobRun, failure: Option<&Failure>) -> Result<(), Failure> {
    if !run.has_emitted {
        return Ok(());
    }
    let partial = continuation::partial(run).await?;
    match retry::seam(run.job.options.on_stream_failure, partial.can_continue(&run.job)) {
        Seam::Continue => {
            run.mode = AttemptMode::Continue;
            run.partial = Some(partial);
        }
        Seam::Restart => run.restart(),
        Seam::Fail => return Err(failure.cloned().unwrap_or_else(|| Failure::internal("an answer that broke off"))),
    }
    Ok(())
}
