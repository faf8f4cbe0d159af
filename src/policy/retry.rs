//! What to do after a lost attempt. Owns the decision; promises a bounded number of tries; does not
//! sleep, and does not know which provider it was.
//!
//! | the failure | nothing was emitted | something was |
//! | --- | --- | --- |
//! | may heal | same target while tries last, then the next | the job's `on_stream_failure` |
//! | belongs to the target | the next target | the job's `on_stream_failure` |
//! | belongs to the request | give up | give up |

use super::terms::Terms;
use crate::job::caps::ATTEMPTS_TOTAL_MAX;
use crate::job::{Backoff, Failure, Fault, OnStreamFailure};

/// A provider's advice to wait longer than this is not waited for; official client libraries
/// ignore such hints too.
const RETRY_AFTER_MS_MAX: u64 = 60_000;

/// An attempt that ended without the provider's own end.
#[derive(Clone, PartialEq, Debug)]
pub struct LostAttempt<'a> {
    /// Why.
    pub failure: &'a Failure,
    /// Whether readers saw part of the answer.
    pub emitted: bool,
    /// Attempts at this target so far, this one included.
    pub at_target: u32,
    /// Attempts of the job so far.
    pub in_all: u32,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The same target again.
    Again {
        /// Milliseconds to wait first.
        after_ms: u64,
    },
    /// The next target, at once.
    NextTarget,
    /// Nothing helps.
    GiveUp,
}

/// What comes after `lost`. `jitter` is uniform in 0..1.
#[must_use]
pub fn next(lost: &LostAttempt<'_>, terms: &Terms, rule: OnStreamFailure, jitter: f64) -> Next {
    let failure = lost.failure;
    // Our own trouble (no disk, a bug) is not a provider's: asking again would only cost more.
    if lost.in_all >= ATTEMPTS_TOTAL_MAX || failure.fault == Fault::Forebay {
        return Next::GiveUp;
    }
    // Going on from the text so far is not built yet, so `continue` falls back to `fail`.
    if lost.emitted && rule != OnStreamFailure::Restart {
        return Next::GiveUp;
    }
    match (failure.retryable, failure.belongs_to_target) {
        (true, _) => {
            let advised = failure.retry_after_ms.unwrap_or(0);
            if lost.at_target >= terms.attempts_max || advised > RETRY_AFTER_MS_MAX {
                return Next::NextTarget;
            }
            Next::Again { after_ms: backoff_ms(terms, lost.at_target, jitter).max(advised) }
        }
        (false, true) => Next::NextTarget,
        (false, false) => Next::GiveUp,
    }
}

/// Full jitter: anything between nothing and the grown delay, so that jobs which failed together do
/// not come back together.
fn backoff_ms(terms: &Terms, tries: u32, jitter: f64) -> u64 {
    let grown = match terms.backoff {
        Backoff::Constant => terms.delay_ms,
        Backoff::Linear => terms.delay_ms.saturating_mul(u64::from(tries)),
        Backoff::Exponential => terms.delay_ms.saturating_mul(1 << (tries - 1).min(32)),
    };
    (grown.min(terms.delay_ms_max) as f64 * jitter) as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::Code;

    const TERMS: Terms = Terms {
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

    fn check(failure: &Failure, emitted: bool, at_target: u32, rule: OnStreamFailure, expected: Next) {
        let lost = LostAttempt { failure, emitted, at_target, in_all: at_target };
        assert_eq!(next(&lost, &TERMS, rule, 0.5), expected, "{lost:?} {rule:?}");
    }

    #[test]
    fn what_may_heal_is_tried_again_and_then_elsewhere() {
        let down = Failure::new(Code::ProviderUnavailable, "down");
        check(&down, false, 1, OnStreamFailure::Continue, Next::Again { after_ms: 50 });
        check(&down, false, 2, OnStreamFailure::Continue, Next::Again { after_ms: 100 });
        check(&down, false, 3, OnStreamFailure::Continue, Next::NextTarget);
        let busy = Failure::new(Code::ProviderRateLimited, "busy");
        check(&busy.clone().with_retry_after_ms(5000), false, 1, OnStreamFailure::Fail, Next::Again { after_ms: 5000 });
        check(&busy.with_retry_after_ms(600_000), false, 1, OnStreamFailure::Fail, Next::NextTarget);
    }

    #[test]
    fn what_cannot_heal_is_not_tried_again() {
        let wrong = Failure::new(Code::ProviderRejected, "wrong");
        check(&wrong, false, 1, OnStreamFailure::Restart, Next::GiveUp);
        let key = Failure::new(Code::ProviderAuth, "key").of_the_target();
        check(&key, false, 1, OnStreamFailure::Restart, Next::NextTarget);
        check(&Failure::new(Code::Overloaded, "disk full"), false, 1, OnStreamFailure::Restart, Next::GiveUp);
    }

    #[test]
    fn what_a_reader_may_have_seen_is_never_silently_replaced() {
        let cut = Failure::new(Code::ProviderTruncated, "cut");
        check(&cut, true, 1, OnStreamFailure::Fail, Next::GiveUp);
        check(&cut, true, 1, OnStreamFailure::Continue, Next::GiveUp);
        check(&cut, true, 1, OnStreamFailure::Restart, Next::Again { after_ms: 50 });
    }

    #[test]
    fn the_number_of_tries_is_bounded_whatever_the_job_asks() {
        let down = Failure::new(Code::ProviderUnavailable, "down");
        let terms = Terms { attempts_max: u32::MAX, backoff: Backoff::Linear, delay_ms: u64::MAX, ..TERMS };
        let lost = |in_all| LostAttempt { failure: &down, emitted: false, at_target: in_all, in_all };
        assert_eq!(next(&lost(63), &terms, OnStreamFailure::Fail, 1.0), Next::Again { after_ms: 1000 });
        assert_eq!(next(&lost(64), &terms, OnStreamFailure::Fail, 1.0), Next::GiveUp);
    }
}
