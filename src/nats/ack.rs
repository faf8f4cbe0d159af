//! How a JetStream message is acknowledged when its job could not be submitted.
//!
//! Owns the decision, one exhaustive table. Promises that a message which can never succeed is not
//! handed out again, and that one which may succeed is not lost.

use std::time::Duration;

use crate::job::{Code, Failure};

/// First delay before a message is redelivered; it doubles with every delivery.
const DELAY: Duration = Duration::from_secs(1);
/// Longest delay before a message is redelivered.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// The acknowledgement that JetStream gets for a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The message is done: its job is durable, or has ended and was removed already.
    Ack,
    /// JetStream delivers the message again after this long.
    Nak(Duration),
    /// The message can never succeed: JetStream does not deliver it again.
    Term,
}

/// Returns the verdict on a message that failed with `failure` on its `delivered`th delivery (from 1).
pub(super) fn verdict(failure: &Failure, delivered: i64) -> Verdict {
    match failure.code {
        // The job ran, ended, and was removed by retention: this is a late double.
        Code::Expired => Verdict::Ack,
        // The message itself is wrong and will be so the next time.
        Code::Invalid
        | Code::Unsupported
        | Code::Unauthenticated
        | Code::Forbidden
        | Code::NotFound
        | Code::UnknownModel
        | Code::Conflict
        | Code::BadCursor
        | Code::CursorAhead
        | Code::EpochMismatch
        | Code::CursorTrimmed
        | Code::DuplicateSub
        | Code::TooLarge
        | Code::ContentFiltered
        | Code::ProviderRejected
        | Code::Cancelled => Verdict::Term,
        // Something else is wrong, and may be right later.
        Code::RateLimited
        | Code::OverBudget
        | Code::ProviderAuth
        | Code::ProviderRateLimited
        | Code::ProviderUnavailable
        | Code::ProviderTimeout
        | Code::ProviderTruncated
        | Code::Overloaded
        | Code::Internal => Verdict::Nak(delay(failure, delivered)),
    }
}

fn delay(failure: &Failure, delivered: i64) -> Duration {
    if let Some(ms) = failure.retry_after_ms {
        return Duration::from_millis(ms).min(DELAY_MAX);
    }
    let doublings = u32::try_from(delivered.clamp(1, 16) - 1).expect("0 to 15");
    (DELAY * 2_u32.pow(doublings)).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: &Failure, delivered: i64, expected: Verdict) {
        assert_eq!(verdict(failure, delivered), expected, "{failure} after {delivered}");
    }

    #[test]
    fn poison_is_never_handed_out_again() {
        for code in [Code::Invalid, Code::Conflict, Code::UnknownModel, Code::TooLarge, Code::Unsupported] {
            check(&Failure::new(code, "x"), 1, Verdict::Term);
        }
    }

    #[test]
    fn a_full_broker_gets_the_message_again_and_ever_later() {
        let full = Failure::new(Code::Overloaded, "x");
        for (delivered, seconds) in [(-1, 1), (0, 1), (1, 1), (2, 2), (3, 4), (7, 60), (i64::MAX, 60)] {
            check(&full, delivered, Verdict::Nak(Duration::from_secs(seconds)));
        }
        check(&full.clone().with_retry_after_ms(250), 9, Verdict::Nak(Duration::from_millis(250)));
        check(&full.with_retry_after_ms(u64::MAX), 1, Verdict::Nak(DELAY_MAX));
    }

    #[test]
    fn a_late_double_of_a_removed_job_is_done() {
        check(&Failure::new(Code::Expired, "x"), 3, Verdict::Ack);
    }

    #[test]
    fn nothing_but_a_lasting_fault_is_terminated() {
        for code in Code::ALL {
            let term = verdict(&Failure::new(*code, "x"), 1) == Verdict::Term;
            assert!(!(term && code.retryable()), "{code:?} may succeed later");
        }
    }
}
