//! What to do after a lost attempt. Owns the decision; promises a bounded number of tries; does not
//! sleep, and does not know which provider it was.
//!
//! | the failure | what comes next |
//! | --- | --- |
//! | may heal | the same target while its tries last, then the next |
//! | may heal after a long wait, as the provider says | the next target; this one when it is free again |
//! | belongs to the target | the next target; this one never again |
//! | a prompt too long for the model | a target that takes longer ones |
//! | belongs to the request, or to us | nothing |
//!
//! What readers have seen stands or falls by the job's `on_stream_failure`: see [`after_loss`].

use super::effective_options::EffectiveOptions;
use crate::job::caps::ATTEMPTS_TOTAL_MAX;
use crate::job::{Backoff, Code, Failure, Fault, OnStreamFailure};

/// A wait that a provider advises and that is waited for although another target may be free:
/// staying with the model that was asked for is worth so much, and no more.
const PATIENCE_MS: u64 = 1000;

/// An attempt that ended without the provider's own end.
#[derive(Clone, PartialEq, Debug)]
pub struct LostAttempt<'a> {
    /// Failure by which the attempt was lost.
    pub failure: &'a Failure,
    /// Attempts at this target so far, this one included.
    pub at_target: u32,
    /// Attempts of the job so far.
    pub in_all: u32,
}

/// What happens after a lost attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The same target is tried again.
    Again {
        /// Milliseconds to wait first.
        after_ms: u64,
    },
    /// Whichever target is free first, this one included: it cools down.
    WhenFree,
    /// The next target is tried; this one has had its tries.
    NextTarget,
    /// The next target, and never this one again.
    Elsewhere,
    /// A target that takes a longer prompt.
    LargerWindow,
    /// The job fails: no further try helps.
    GiveUp,
}

/// What comes after `lost`. `jitter` is uniform in 0..1.
#[must_use]
pub fn next(lost: &LostAttempt<'_>, terms: &EffectiveOptions, jitter: f64) -> Next {
    let failure = lost.failure;
    // Our own trouble (no disk, a bug) is not a provider's: asking again would only cost more.
    if lost.in_all >= ATTEMPTS_TOTAL_MAX || failure.fault == Fault::Forebay || failure.code == Code::ContentFiltered {
        return Next::GiveUp;
    }
    if failure.overflows {
        return Next::LargerWindow;
    }
    match (failure.retryable, failure.belongs_to_target) {
        (true, _) if lost.at_target >= terms.attempts_max => Next::NextTarget,
        (true, _) => match failure.retry_after_ms.unwrap_or(0) {
            advised if advised > PATIENCE_MS => Next::WhenFree,
            advised => Next::Again { after_ms: backoff_ms(terms, lost.at_target, jitter).max(advised) },
        },
        (false, true) => Next::Elsewhere,
        (false, false) => Next::GiveUp,
    }
}

/// What happens to the output that readers have seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterLoss {
    /// The output stands, and the next attempt continues from it.
    Continue,
    /// The output is discarded, and the next attempt begins anew.
    Restart,
    /// The job fails with this output.
    Fail,
}

/// What becomes of emitted output by the job's rule. What cannot be gone on with (half a tool call,
/// half a JSON document) is begun anew instead.
#[must_use]
pub fn after_loss(rule: OnStreamFailure, can_continue: bool) -> AfterLoss {
    match rule {
        OnStreamFailure::Fail => AfterLoss::Fail,
        OnStreamFailure::Continue if can_continue => AfterLoss::Continue,
        OnStreamFailure::Continue | OnStreamFailure::Restart => AfterLoss::Restart,
    }
}

/// How long to wait before an answer is looked at again that is not there yet. `in_all` attempts were
/// made so far. No attempt failed, so nothing has to be spread.
#[must_use]
pub fn look_again_ms(terms: &EffectiveOptions, in_all: u32) -> u64 {
    grown_ms(terms, in_all)
}

/// Full jitter: anything between nothing and the grown delay, so that jobs which failed together do
/// not come back together.
fn backoff_ms(terms: &EffectiveOptions, tries: u32, jitter: f64) -> u64 {
    (grown_ms(terms, tries) as f64 * jitter) as u64
}

fn grown_ms(terms: &EffectiveOptions, tries: u32) -> u64 {
    let grown = match terms.backoff {
        Backoff::Constant => terms.delay_ms,
        Backoff::Linear => terms.delay_ms.saturating_mul(u64::from(tries)),
        Backoff::Exponential => terms.delay_ms.saturating_mul(1 << (tries.max(1) - 1).min(32)),
    };
    grown.min(terms.delay_ms_max)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TERMS: EffectiveOptions = EffectiveOptions {
        connect: Duration::ZERO,
        first_token: Duration::ZERO,
        idle: Duration::ZERO,
        total: Duration::ZERO,
        queue: Duration::ZERO,
        hedge: None,
        attempts_max: 3,
        backoff: Backoff::Exponential,
        delay_ms: 100,
        delay_ms_max: 1000,
    };

    fn check(failure: &Failure, at_target: u32, expected: Next) {
        let lost = LostAttempt { failure, at_target, in_all: at_target };
        assert_eq!(next(&lost, &TERMS, 0.5), expected, "{lost:?}");
    }

    #[test]
    fn what_may_heal_is_tried_again_and_then_elsewhere() {
        let down = Failure::new(Code::ProviderUnavailable, "down");
        check(&down, 1, Next::Again { after_ms: 50 });
        check(&down, 2, Next::Again { after_ms: 100 });
        check(&down, 3, Next::NextTarget);
        let busy = |ms| Failure::new(Code::ProviderRateLimited, "busy").with_retry_after_ms(ms);
        check(&busy(900), 1, Next::Again { after_ms: 900 });
        check(&busy(1001), 1, Next::WhenFree);
        check(&busy(600_000), 2, Next::WhenFree);
        check(&busy(900), 3, Next::NextTarget);
    }

    #[test]
    fn what_is_not_there_yet_is_looked_at_ever_less_often() {
        assert_eq!([1, 2, 3, 64].map(|in_all| look_again_ms(&TERMS, in_all)), [100, 200, 400, 1000]);
    }

    #[test]
    fn what_cannot_heal_is_not_tried_again() {
        check(&Failure::new(Code::ProviderRejected, "wrong"), 1, Next::GiveUp);
        check(&Failure::new(Code::ProviderAuth, "key").of_the_target(), 1, Next::Elsewhere);
        check(&Failure::new(Code::ContentFiltered, "no").of_the_target(), 1, Next::GiveUp);
        check(&Failure::new(Code::Overloaded, "disk full"), 1, Next::GiveUp);
        let mut long = Failure::new(Code::ProviderRejected, "too long");
        long.overflows = true;
        check(&long, 1, Next::LargerWindow);
    }

    #[test]
    fn what_a_reader_may_have_seen_is_never_silently_replaced() {
        for (rule, can_continue, expected) in [
            (OnStreamFailure::Fail, true, AfterLoss::Fail),
            (OnStreamFailure::Continue, true, AfterLoss::Continue),
            (OnStreamFailure::Continue, false, AfterLoss::Restart),
            (OnStreamFailure::Restart, true, AfterLoss::Restart),
        ] {
            assert_eq!(after_loss(rule, can_continue), expected, "{rule:?} {can_continue}");
        }
    }

    #[test]
    fn the_number_of_tries_is_bounded_whatever_the_job_asks() {
        let down = Failure::new(Code::ProviderUnavailable, "down");
        let terms = EffectiveOptions { attempts_max: u32::MAX, backoff: Backoff::Linear, delay_ms: u64::MAX, ..TERMS };
        let lost = |in_all| LostAttempt { failure: &down, at_target: in_all, in_all };
        assert_eq!(next(&lost(63), &terms, 1.0), Next::Again { after_ms: 1000 });
        assert_eq!(next(&lost(64), &terms, 1.0), Next::GiveUp);
    }
}
