//! One subscription as a pure machine: Hello → CatchingUp → Following → Ended.
//!
//! Owns which message is due when. Promises: `caught_up` once per catch-up, `end` once and only after every
//! record, no frame without credit. Does not read the log and does not know sockets.

use crate::job::State;
use crate::log::Tail;

/// State of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The message `subscribed` was not sent yet.
    Hello,
    /// Records are waiting to be sent.
    CatchingUp,
    /// Everything durable was sent.
    Following,
    /// The message `end` was sent.
    Ended,
}

/// Next step of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Send the message `subscribed`.
    Hello,
    /// Send one frame of at most this many bytes (one record if that alone is larger).
    Frame {
        /// Bytes that the whole message may have.
        bytes_max: usize,
    },
    /// Send the message `caught_up`.
    CaughtUp,
    /// Send the message `end`.
    End(State),
    /// Wait for the stream's tail to move.
    AwaitTail,
    /// Wait for the client to give credit.
    AwaitCredit,
    /// Remove the subscription: its `end` was sent.
    Gone,
}

/// State machine of one subscription.
#[derive(Debug)]
pub(super) struct Resume {
    phase: Phase,
    /// Bytes that may be sent; `None` = no limit. Below 0 after a record larger than what was left.
    credit: Option<i64>,
}

impl Resume {
    /// A subscription that may be sent `credit` bytes of `events`; `None` = no limit.
    pub(super) fn new(credit: Option<u64>) -> Resume {
        Resume { phase: Phase::Hello, credit: credit.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)) }
    }

    /// What is to be done, when `next_seq` is the record to send next and the stream stands at
    /// `tail`. A message that is returned counts as sent.
    pub(super) fn step(&mut self, next_seq: u64, tail: Tail, frame_bytes: usize) -> Step {
        match self.phase {
            Phase::Ended => Step::Gone,
            Phase::Hello => {
                self.phase = Phase::CatchingUp;
                Step::Hello
            }
            Phase::CatchingUp | Phase::Following if next_seq < tail.durable => match self.credit {
                None => Step::Frame { bytes_max: frame_bytes },
                Some(credit) if credit > 0 => {
                    Step::Frame { bytes_max: frame_bytes.min(usize::try_from(credit).unwrap_or(usize::MAX)) }
                }
                Some(_) => {
                    self.phase = Phase::CatchingUp;
                    Step::AwaitCredit
                }
            },
            Phase::CatchingUp => {
                self.phase = Phase::Following;
                Step::CaughtUp
            }
            Phase::Following if tail.state.is_terminal() => {
                self.phase = Phase::Ended;
                Step::End(tail.state)
            }
            Phase::Following => Step::AwaitTail,
        }
    }

    /// A frame of `bytes` was sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(credit) = &mut self.credit {
            *credit = credit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Adds credit that the client gave.
    pub(super) fn add_credit(&mut self, bytes: u64) {
        if let Some(credit) = &mut self.credit {
            *credit = credit.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: State = State::Streaming;
    const DONE: State = State::Completed;
    const FRAME: Step = Step::Frame { bytes_max: 1000 };

    fn check(resume: &mut Resume, cases: &[(u64, u64, State, Step)]) {
        for (index, &(next_seq, durable, state, step)) in cases.iter().enumerate() {
            let tail = Tail { durable, state, failures: 0 };
            assert_eq!(resume.step(next_seq, tail, 1000), step, "case {index}");
        }
    }

    #[test]
    fn a_reader_catches_up_once_follows_and_ends_after_the_last_record() {
        check(
            &mut Resume::new(None),
            &[
                (0, 2, LIVE, Step::Hello),
                (0, 2, LIVE, FRAME),
                (1, 2, LIVE, FRAME),
                (2, 2, LIVE, Step::CaughtUp),
                (2, 2, LIVE, Step::AwaitTail),
                (2, 3, LIVE, FRAME),
                (3, 3, LIVE, Step::AwaitTail),
                (3, 5, DONE, FRAME),
                (5, 5, DONE, Step::End(DONE)),
                (5, 5, DONE, Step::Gone),
            ],
        );
    }

    #[test]
    fn a_finished_stream_is_caught_up_with_before_it_ends() {
        check(
            &mut Resume::new(Some(1)),
            &[(4, 4, DONE, Step::Hello), (4, 4, DONE, Step::CaughtUp), (4, 4, DONE, Step::End(DONE))],
        );
    }

    #[test]
    fn an_empty_stream_is_caught_up_with_at_once() {
        check(
            &mut Resume::new(Some(0)),
            &[(0, 0, State::Pending, Step::Hello), (0, 0, LIVE, Step::CaughtUp), (0, 0, LIVE, Step::AwaitTail)],
        );
    }

    #[test]
    fn without_credit_nothing_but_the_end_is_sent() {
        let mut resume = Resume::new(Some(100));
        check(&mut resume, &[(0, 9, LIVE, Step::Hello), (0, 9, LIVE, Step::Frame { bytes_max: 100 })]);
        resume.sent(130);
        check(&mut resume, &[(3, 9, LIVE, Step::AwaitCredit)]);
        resume.add_credit(30);
        check(&mut resume, &[(3, 9, LIVE, Step::AwaitCredit)]);
        resume.add_credit(5);
        check(&mut resume, &[(3, 9, DONE, Step::Frame { bytes_max: 5 })]);
        resume.sent(5);
        check(
            &mut resume,
            &[(8, 9, DONE, Step::AwaitCredit), (9, 9, DONE, Step::CaughtUp), (9, 9, DONE, Step::End(DONE))],
        );
    }

    #[test]
    fn running_out_of_credit_with_records_waiting_is_a_new_catch_up() {
        let mut resume = Resume::new(Some(10));
        check(&mut resume, &[(0, 0, LIVE, Step::Hello), (0, 0, LIVE, Step::CaughtUp)]);
        check(&mut resume, &[(0, 1, LIVE, Step::Frame { bytes_max: 10 })]);
        resume.sent(10);
        check(&mut resume, &[(1, 1, LIVE, Step::AwaitTail), (1, 2, LIVE, Step::AwaitCredit)]);
        resume.add_credit(u64::MAX);
        check(&mut resume, &[(1, 2, LIVE, FRAME), (2, 2, LIVE, Step::CaughtUp), (2, 2, LIVE, Step::AwaitTail)]);
    }
}
