use super::*;

/// The defaults, so that the tables read by them.
fn rules() -> HealthConfig {
    HealthConfig::default()
}

fn down() -> Failure {
    Failure::new(Code::ProviderUnavailable, "down")
}

fn throttled(retry_after_ms: Option<u64>) -> Failure {
    let failure = Failure::new(Code::ProviderRateLimited, "slow down");
    retry_after_ms.map_or(failure.clone(), |ms| failure.with_retry_after_ms(ms))
}

/// What happens to a target, in order.
enum Step {
    /// This many calls enter and end well.
    Good(u32),
    /// One call enters and is lost.
    Lost(Failure),
    /// This many such calls.
    LostTimes(u32, Failure),
    /// A call enters and leaves without a word.
    Silent,
    /// Headers tell these limits.
    Learn(Limits),
    /// So many milliseconds pass.
    Elapse(u64),
    /// A first call would enter; as a probe or not.
    Free(bool),
    /// A first call is refused for so many milliseconds.
    Unavailable(u64, QueueReason),
    /// A retry enters the target.
    Retry,
    /// A retry is refused for so many milliseconds.
    NoRetry(u64),
}

use QueueReason::{Cooling, RateLimited};
use Step::{Elapse, Free, Good, Learn, Lost, LostTimes, NoRetry, Retry, Silent};

fn check(what: &str, steps: Vec<Step>) {
    let (rules, mut now) = (rules(), Timestamp(1_795_255_200_000));
    let mut health = Health::new(now);
    let refused =
        |shut: Result<bool, Unavailable>, now: Timestamp| shut.map_err(|shut| (shut.until.ms_since(now), shut.reason));
    for (number, step) in steps.into_iter().enumerate() {
        let at = format!("{what}: step {number}");
        match step {
            Good(times) => {
                for _ in 0..times {
                    let is_probe = health.enter(false, &rules, now).expect(&at);
                    health.ended(is_probe, &rules, now);
                }
            }
            Lost(failure) => {
                let is_probe = health.enter(false, &rules, now).expect(&at);
                health.lost(&failure, is_probe, &rules, now);
            }
            LostTimes(times, failure) => {
                // They entered together, so that an open breaker does not keep the rest out.
                let probes: Vec<bool> = (0..times).map(|_| health.enter(false, &rules, now).expect(&at)).collect();
                for is_probe in probes {
                    health.lost(&failure, is_probe, &rules, now);
                }
            }
            Silent => {
                let is_probe = health.enter(false, &rules, now).expect(&at);
                health.freed(is_probe);
            }
            Learn(limits) => health.learn(&limits, now),
            Elapse(ms) => now = now.plus_ms(ms),
            Free(is_probe) => assert_eq!(refused(health.check(false, &rules, now), now), Ok(is_probe), "{at}"),
            Step::Unavailable(ms, reason) => {
                assert_eq!(refused(health.check(false, &rules, now), now), Err((ms, reason)), "{at}");
            }
            Retry => {
                let entered = health.enter(true, &rules, now);
                assert!(entered.is_ok(), "{at}: {entered:?}");
            }
            NoRetry(ms) => {
                assert_eq!(refused(health.check(true, &rules, now), now), Err((ms, RateLimited)), "{at}");
            }
        }
    }
}

#[test]
fn a_breaker_opens_when_calls_fail_and_not_when_they_are_refused() {
    let shut = || Step::Unavailable(2000, Cooling);
    check("five in a row", vec![LostTimes(4, down()), Free(false), Lost(down()), shut()]);
    check("an answer between", vec![LostTimes(4, down()), Good(1), LostTimes(4, down()), Free(false)]);
    let unsent = || down().unsent();
    check("no server there, twice", vec![Lost(unsent()), Free(false), Lost(unsent()), shut()]);
    check("no server there, then one", vec![Lost(unsent()), Lost(down()), Lost(unsent()), Free(false)]);
    let mixed = |_| vec![Good(1), LostTimes(1, down())];
    check("half of twenty", (0..10).flat_map(mixed).chain([shut()]).collect());
    check("half of nineteen", (0..9).flat_map(mixed).chain([Good(1), Free(false)]).collect());
    let slowly = |at: u32| mixed(at).into_iter().chain([Elapse(4000)]);
    check("half, but long ago", (0..30).flat_map(slowly).chain([Free(false)]).collect());
    for (code, opens) in [
        (Code::ProviderUnavailable, true),
        (Code::ProviderTimeout, true),
        (Code::ProviderTruncated, true),
        (Code::ProviderAuth, true),
        (Code::ProviderRejected, false),
        (Code::ContentFiltered, false),
        (Code::Invalid, false),
        (Code::Unsupported, false),
        (Code::Cancelled, false),
        (Code::Internal, false),
    ] {
        let end = if opens { shut() } else { Free(false) };
        check(code.as_str(), vec![LostTimes(30, Failure::new(code, "x")), end]);
    }
}

#[test]
fn an_open_breaker_lets_one_probe_through_and_believes_it() {
    let open = || LostTimes(5, down());
    let shut = |ms| Step::Unavailable(ms, Cooling);
    check("a good probe", vec![open(), shut(2000), Elapse(1999), shut(1), Elapse(1), Free(true), Good(1), Free(false)]);
    check("after it a single failure", vec![open(), Elapse(2000), Good(1), LostTimes(4, down()), Free(false)]);
    check("a bad probe", vec![open(), Elapse(2000), Lost(down()), shut(4000), Elapse(4000), Lost(down()), shut(8000)]);
    let bad = |_| [Lost(down()), Elapse(60_000)];
    check(
        "never for good",
        [open(), Elapse(2000)].into_iter().chain((0..20).flat_map(bad)).chain([Free(true)]).collect(),
    );
    check("a silent probe", vec![open(), Elapse(2000), Silent, Free(true), Good(1), Free(false)]);
    let rejected = || Failure::new(Code::ProviderRejected, "no");
    check("a refusal is an answer", vec![open(), Elapse(2000), Lost(rejected()), Free(false)]);
    let ours = || Failure::new(Code::Internal, "ours");
    check("our own trouble says nothing", vec![open(), Elapse(2000), Lost(ours()), Free(true)]);
    check("a throttled probe", vec![open(), Elapse(2000), Lost(throttled(None)), shut(1000), Elapse(1000), Free(true)]);
}

#[test]
fn only_one_probe_is_under_way() {
    let (rules, mut now) = (rules(), Timestamp(0));
    let mut health = Health::new(now);
    for _ in 0..5 {
        assert_eq!(health.enter(false, &rules, now), Ok(false));
    }
    for _ in 0..4 {
        health.lost(&down(), false, &rules, now);
    }
    health.lost(&down(), false, &rules, now);
    now = now.plus_ms(2000);
    assert_eq!(health.enter(false, &rules, now), Ok(true));
    assert_eq!(health.enter(false, &rules, now), Err(Unavailable { until: now.plus_ms(2000), reason: Cooling }));
    // Those who entered before it opened do not speak for the probe.
    health.lost(&down(), false, &rules, now);
    health.ended(false, &rules, now);
    health.freed(false);
    assert!(health.check(false, &rules, now).is_err());
    health.spoke(true, Duration::from_millis(300), now);
    assert_eq!(health.report(&rules, now).breaker, Breaker::Closed);
    assert_eq!(health.enter(false, &rules, now), Ok(false));
}

#[test]
fn who_asks_us_to_wait_is_not_asked() {
    let busy = |ms| throttled(Some(ms));
    let shut = |ms| Step::Unavailable(ms, Cooling);
    check("as it says", vec![Lost(busy(1500)), shut(1500), Elapse(1500), Free(false)]);
    check("the longest counts", vec![LostTimes(2, busy(5000)), shut(5000)]);
    check("no longer than ten minutes", vec![Lost(busy(86_400_000)), shut(600_000)]);
    check("a failure may say so", vec![Lost(down().with_retry_after_ms(700)), shut(700)]);
    check(
        "we ourselves may not",
        vec![Lost(Failure::new(Code::Overloaded, "our disk").with_retry_after_ms(700)), Free(false)],
    );
    check("it is no failure", vec![LostTimes(50, busy(1)), Elapse(1), Free(false)]);
    check("together it is one word", vec![LostTimes(50, throttled(None)), shut(1000)]);
    let again = |ms| [Lost(throttled(None)), shut(ms), Elapse(ms)];
    let growing = [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000];
    check("it grows", growing.into_iter().flat_map(again).chain([Good(1)]).chain(again(1000)).collect());
}

fn learn(requests: Option<(u64, u64)>, tokens: Option<(u64, u64)>) -> Step {
    let window = |(remaining, reset_ms)| Window { limit: None, remaining, reset_ms };
    Learn(Limits { requests: requests.map(window), tokens: tokens.map(window) })
}

#[test]
fn what_is_left_of_a_limit_is_counted_down() {
    let limited = |limit, reset_ms| {
        Learn(Limits { requests: Some(Window { limit: Some(limit), remaining: 0, reset_ms }), tokens: None })
    };
    let shut = |ms| Step::Unavailable(ms, RateLimited);
    check("none left", vec![learn(Some((0, 3000)), None), shut(3000), Elapse(3000), Free(false)]);
    check("two left", vec![learn(Some((2, 3000)), None), Good(2), shut(3000), Elapse(3000), Good(20)]);
    check("no tokens", vec![learn(None, Some((0, 900))), shut(900), Elapse(900), Free(false)]);
    check("told anew", vec![learn(Some((0, 3000)), None), learn(Some((1, 10)), None), Free(false)]);
    check("the other stays", vec![learn(Some((0, 3000)), None), learn(None, Some((5, 10))), shut(3000)]);
    check(
        "as many as the limit go after a reset",
        vec![limited(2, 3000), shut(3000), Elapse(3000), Good(2), shut(3000)],
    );
    check("once", vec![limited(2, 3000), Elapse(3000), Good(2), Elapse(3000), Good(9)]);
    check("believed for ten minutes", vec![learn(Some((0, 86_400_000)), None), shut(600_000)]);
    check("the longest is told", vec![learn(Some((0, 3000)), None), Elapse(1), learn(None, Some((0, 10))), shut(2999)]);
}

#[test]
fn retries_are_a_share_of_the_first_calls() {
    let ten = || (0..10).map(|_| Retry);
    check(
        "saved up, then one a second",
        ten().chain([NoRetry(1000), Elapse(400), NoRetry(600), Elapse(600), Retry]).collect(),
    );
    check("first calls go on", ten().chain([NoRetry(1000), Free(false)]).collect());
    check("first calls pay", ten().chain([Good(5), Retry, NoRetry(1000)]).collect());
    check(
        "no more than ten are saved",
        [Good(1000), Elapse(1_000_000)].into_iter().chain(ten()).chain([NoRetry(1000)]).collect(),
    );
}

#[test]
fn the_time_to_the_first_token_is_forgotten() {
    let mut health = Health::new(Timestamp(0));
    let ms = |health: &Health, now| health.first_token(Timestamp(now)).map(|time| time.as_millis());
    assert_eq!(ms(&health, 0), None);
    health.spoke(false, Duration::from_millis(1000), Timestamp(0));
    assert_eq!((ms(&health, 0), ms(&health, 60_000), ms(&health, 120_000)), (Some(1000), Some(500), Some(250)));
    assert_eq!(ms(&health, FORGET_MS), None);
    health.spoke(false, Duration::from_millis(2000), Timestamp(0));
    assert_eq!(ms(&health, 0), Some(1300), "the newest counts for three tenths");
    health.spoke(false, Duration::from_millis(100), Timestamp(3_600_000));
    assert_eq!(ms(&health, 3_600_000), Some(100), "what was an hour ago does not count");
}

#[test]
fn a_report_tells_what_a_call_would_meet() {
    let (rules, now) = (rules(), Timestamp(5_000));
    let mut health = Health::new(now);
    for _ in 0..3 {
        let is_probe = health.enter(false, &rules, now).unwrap();
        health.lost(&down(), is_probe, &rules, now);
    }
    health.learn(&Limits { requests: Some(Window { limit: Some(9), remaining: 0, reset_ms: 500 }), tokens: None }, now);
    let report = health.report(&rules, now.plus_ms(100));
    assert_eq!((report.failures_in_a_row, report.calls, report.errors), (3, 3, 3));
    assert_eq!(report.shut, Some(Unavailable { until: Timestamp(5_500), reason: RateLimited }));
    assert_eq!(report.limits.requests, Some(Window { limit: Some(9), remaining: 0, reset_ms: 400 }));
    assert_eq!(health.report(&rules, now.plus_ms(500)).limits, Limits::default());
    assert_eq!(health.report(&rules, now.plus_ms(60_000)).calls, 0);
}
