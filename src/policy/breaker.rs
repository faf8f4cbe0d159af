//! How one target is doing, and whether it may be asked now.
//!
//! | what happened | what follows |
//! | --- | --- |
//! | failures in a row, or many of the recent calls, or two in a row that never got there | its breaker opens; then one probe at a time, until one speaks |
//! | it asks us to wait, or throttles | it cools down: no call goes to it until then |
//! | it says that no request or token is left | no call goes to it until they are there again |
//! | more retries than a share of the first calls | retries wait; first calls do not |
//!
//! Promises that every refusal tells until when it holds, and that no target is locked out for good.
//! Does not know what a target is, nor who waits for it.

mod recent;

use std::time::Duration;

use crate::config::HealthConfig;
use crate::job::{Code, Failure, Fault, Limits, QueueReason, Timestamp, Window};
use recent::Recent;

/// The longest wait that a provider is believed: what says "tomorrow" is asked again in ten minutes.
const COOL_MS_MAX: u64 = 600_000;
/// How long a target cools down that throttles without advice; doubled while it goes on doing so.
const THROTTLED_MS: u64 = 1_000;
const THROTTLED_MS_MAX: u64 = 60_000;
/// Requests in a row that never reached the provider and open the breaker: no server is there.
const UNSENT_MAX: u32 = 2;
/// Retries that can be saved up.
const RETRIES_BURST: f64 = 10.0;
/// How much the newest time to the first token counts.
const NEWEST_SHARE: f64 = 0.3;
/// In this time half of what we know about a target's speed is forgotten.
const FORGET_HALF_MS: f64 = 60_000.0;
/// After this time all of it is.
const FORGET_MS: u64 = 600_000;

/// A target that may not be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unavailable {
    /// Time at which the target may be called again, as far as it is known now.
    pub until: Timestamp,
    /// Reason why the target may not be called.
    pub reason: QueueReason,
}

/// State of a circuit breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breaker {
    /// Calls go through to the target.
    Closed,
    /// One probe at a time goes through.
    HalfOpen,
    /// No call goes through.
    Open,
}

/// A report about a target.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Report {
    /// State of its circuit breaker.
    pub breaker: Breaker,
    /// Why a first call would be refused, and until when.
    pub shut: Option<Unavailable>,
    /// Its time to the first token.
    pub first_token: Option<Duration>,
    /// Failures since its last answer.
    pub failures_in_a_row: u32,
    /// Recent calls that ended.
    pub calls: u32,
    /// Recent calls that failed.
    pub errors: u32,
    /// What is left of its own limits.
    pub limits: Limits,
}

/// Health of one target: its breaker, its cool-down, its limits and its speed.
#[derive(Debug)]
pub struct Health {
    state: State,
    failures_in_a_row: u32,
    unsent_in_a_row: u32,
    recent: Recent,
    cooling_until: Timestamp,
    throttled_in_a_row: u32,
    requests: Option<RemainingLimit>,
    tokens: Option<RemainingLimit>,
    retries: f64,
    retries_at: Timestamp,
    first_token: Option<(f64, Timestamp)>,
    used_at: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Open { until: Timestamp, for_ms: u64 },
    HalfOpen { for_ms: u64, is_probed: bool },
}

/// What is left of a provider's own limit.
#[derive(Clone, Copy, Debug)]
struct RemainingLimit {
    limit: Option<u64>,
    remaining: u64,
    resets_at: Timestamp,
    /// What the provider said of the time until then.
    span_ms: u64,
    /// Whether it is what must be left after a reset, and not what the provider said.
    is_assumed: bool,
}

impl RemainingLimit {
    /// What is left after the reset: the whole limit, until the provider says more, and for one such
    /// span only. So those who waited for it do not all go at once. `None` = not known.
    fn renewed(self, now: Timestamp) -> Option<RemainingLimit> {
        let limit = self.limit.filter(|limit| *limit > 0 && !self.is_assumed)?;
        Some(RemainingLimit { remaining: limit, resets_at: now.plus_ms(self.span_ms), is_assumed: true, ..self })
    }
}

/// What a lost call says about its target.
enum Verdict {
    /// It works: it refused this request.
    Answered,
    /// It works, and throttles.
    Throttled,
    /// The target does not work.
    Failed,
    /// Nothing: the trouble was ours or the caller's.
    Nothing,
}

fn verdict(failure: &Failure) -> Verdict {
    match failure.code {
        Code::ProviderRejected | Code::ContentFiltered => Verdict::Answered,
        Code::ProviderRateLimited => Verdict::Throttled,
        Code::ProviderUnavailable | Code::ProviderTimeout | Code::ProviderTruncated | Code::ProviderAuth => {
            Verdict::Failed
        }
        _ => Verdict::Nothing,
    }
}

impl Health {
    /// A target that was never asked.
    #[must_use]
    pub fn new(now: Timestamp) -> Health {
        Health {
            state: State::Closed,
            failures_in_a_row: 0,
            unsent_in_a_row: 0,
            recent: Recent::default(),
            cooling_until: Timestamp(0),
            throttled_in_a_row: 0,
            requests: None,
            tokens: None,
            retries: RETRIES_BURST,
            retries_at: now,
            first_token: None,
            used_at: now,
        }
    }

    /// Whether a call may go, without letting it: `true` = as a probe.
    ///
    /// # Errors
    /// The longest of what shuts it.
    pub fn check(&mut self, is_retry: bool, rules: &HealthConfig, now: Timestamp) -> Result<bool, Unavailable> {
        self.pass_time(rules, now);
        let mut shut: Option<Unavailable> = None;
        let mut until = |until: Timestamp, reason| {
            if until > now && shut.is_none_or(|shut| shut.until < until) {
                shut = Some(Unavailable { until, reason });
            }
        };
        match self.state {
            State::Open { until: opens, .. } => until(opens, QueueReason::Cooling),
            // If the probe fails it is open for at least as long as it was; if not, sooner.
            State::HalfOpen { is_probed: true, for_ms } => until(now.plus_ms(for_ms), QueueReason::Cooling),
            State::HalfOpen { is_probed: false, .. } | State::Closed => {}
        }
        until(self.cooling_until, QueueReason::Cooling);
        for left in [self.requests, self.tokens].into_iter().flatten().filter(|left| left.remaining == 0) {
            until(left.resets_at, QueueReason::RateLimited);
        }
        if is_retry && self.retries < 1.0 {
            let next_ms = (1.0 - self.retries) / rules.retries_per_s * 1000.0;
            until(now.plus_ms((next_ms.ceil() as u64).max(1)), QueueReason::RateLimited);
        }
        shut.map_or(Ok(matches!(self.state, State::HalfOpen { .. })), Err)
    }

    /// Lets a call go: `true` = as the probe, which must be reported or [`Health::freed`].
    ///
    /// # Errors
    /// As [`Health::check`].
    pub fn enter(&mut self, is_retry: bool, rules: &HealthConfig, now: Timestamp) -> Result<bool, Unavailable> {
        let is_probe = self.check(is_retry, rules, now)?;
        if let State::HalfOpen { is_probed, .. } = &mut self.state {
            *is_probed = true;
        }
        if let Some(left) = &mut self.requests {
            left.remaining = left.remaining.saturating_sub(1);
        }
        let paid = if is_retry { -1.0 } else { rules.retry_share };
        self.retries = (self.retries + paid).min(RETRIES_BURST);
        self.used_at = now;
        Ok(is_probe)
    }

    /// Applies the changes that only time makes.
    fn pass_time(&mut self, rules: &HealthConfig, now: Timestamp) {
        if let State::Open { until, for_ms } = self.state
            && until <= now
        {
            self.state = State::HalfOpen { for_ms, is_probed: false };
        }
        for left in [&mut self.requests, &mut self.tokens] {
            if let Some(over) = left.take_if(|left| left.resets_at <= now) {
                *left = over.renewed(now);
            }
        }
        let saved = now.ms_since(self.retries_at) as f64 / 1000.0 * rules.retries_per_s;
        self.retries = (self.retries + saved).min(RETRIES_BURST);
        self.retries_at = now;
    }

    /// A call gave its first output after `first_token`.
    pub fn spoke(&mut self, is_probe: bool, first_token: Duration, now: Timestamp) {
        self.unsent_in_a_row = 0;
        self.throttled_in_a_row = 0;
        let newest = first_token.as_secs_f64() * 1000.0;
        let known = self.first_token.map(|(ms, at)| (ms, (1.0 - NEWEST_SHARE) * kept(now.ms_since(at))));
        let mean = known.map_or(newest, |(ms, share)| ms * share + newest * (1.0 - share));
        self.first_token = Some((mean, now));
        self.close(is_probe);
    }

    /// Records that a call ended well.
    pub fn ended(&mut self, is_probe: bool, rules: &HealthConfig, now: Timestamp) {
        self.recent.add(false, rules.window_s, now);
        self.failures_in_a_row = 0;
        self.unsent_in_a_row = 0;
        self.throttled_in_a_row = 0;
        self.close(is_probe);
    }

    /// Records that a call was lost.
    pub fn lost(&mut self, failure: &Failure, is_probe: bool, rules: &HealthConfig, now: Timestamp) {
        self.cool(failure, now);
        match verdict(failure) {
            Verdict::Answered => self.ended(is_probe, rules, now),
            Verdict::Throttled => {
                self.unsent_in_a_row = 0;
                self.recent.add(false, rules.window_s, now);
                self.freed(is_probe);
            }
            Verdict::Failed => self.failed(failure.never_sent, is_probe, rules, now),
            Verdict::Nothing => self.freed(is_probe),
        }
    }

    /// A call went without a word: it says nothing, and another may be the probe.
    pub fn freed(&mut self, is_probe: bool) {
        if let State::HalfOpen { is_probed, .. } = &mut self.state
            && is_probe
        {
            *is_probed = false;
        }
    }

    fn close(&mut self, is_probe: bool) {
        if is_probe && matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::Closed;
            self.failures_in_a_row = 0;
            self.recent = Recent::default();
        }
    }

    fn failed(&mut self, never_sent: bool, is_probe: bool, rules: &HealthConfig, now: Timestamp) {
        self.recent.add(true, rules.window_s, now);
        self.throttled_in_a_row = 0;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.unsent_in_a_row = if never_sent { self.unsent_in_a_row.saturating_add(1) } else { 0 };
        let is_failing = self.is_failing(rules, now);
        let for_ms = match self.state {
            State::HalfOpen { for_ms, .. } if is_probe => for_ms.saturating_mul(2).min(rules.open_ms_max),
            State::Closed if is_failing => rules.open_ms,
            // Calls that began before it opened say what is known already.
            _ => return,
        };
        self.state = State::Open { until: now.plus_ms(for_ms), for_ms };
    }

    fn is_failing(&mut self, rules: &HealthConfig, now: Timestamp) -> bool {
        let (calls, errors) = self.recent.sums(rules.window_s, now);
        self.failures_in_a_row >= rules.failures_in_a_row
            || self.unsent_in_a_row >= UNSENT_MAX
            || calls >= rules.calls_min && f64::from(errors) >= rules.error_rate * f64::from(calls)
    }

    fn cool(&mut self, failure: &Failure, now: Timestamp) {
        let is_throttled = failure.code == Code::ProviderRateLimited;
        // Calls that were under way together are told the same; only a later one doubles the wait.
        let is_news = self.cooling_until <= now;
        let cool_ms = match failure.retry_after_ms {
            // Our own failures advise waits as well, and not about the target.
            Some(ms) if failure.fault == Fault::Provider => ms.min(COOL_MS_MAX),
            None if is_throttled && is_news => (THROTTLED_MS << self.throttled_in_a_row.min(16)).min(THROTTLED_MS_MAX),
            _ => return,
        };
        if is_throttled && is_news {
            self.throttled_in_a_row = self.throttled_in_a_row.saturating_add(1);
        }
        self.cooling_until = self.cooling_until.max(now.plus_ms(cool_ms));
    }

    /// Takes in what the provider says about its own limits. What it does not tell stays as it was.
    pub fn learn(&mut self, limits: &Limits, now: Timestamp) {
        let left = |window: Window| {
            let span_ms = window.reset_ms.min(COOL_MS_MAX);
            let (limit, remaining) = (window.limit, window.remaining);
            RemainingLimit { limit, remaining, resets_at: now.plus_ms(span_ms), span_ms, is_assumed: false }
        };
        self.requests = limits.requests.map(left).or(self.requests);
        self.tokens = limits.tokens.map(left).or(self.tokens);
    }

    /// The time to the first token as it was measured; the longer ago, the less of it is believed,
    /// so that a slow target looks faster with time and is tried again. `None` = not known.
    #[must_use]
    pub fn first_token(&self, now: Timestamp) -> Option<Duration> {
        let (ms, at) = self.first_token?;
        let age = now.ms_since(at);
        (age < FORGET_MS).then(|| Duration::from_secs_f64(ms * kept(age) / 1000.0))
    }

    /// Returns the time at which it was last called.
    #[must_use]
    pub fn used_at(&self) -> Timestamp {
        self.used_at
    }

    /// Returns a report about the target.
    pub fn report(&mut self, rules: &HealthConfig, now: Timestamp) -> Report {
        let shut = self.check(false, rules, now).err();
        let (calls, errors) = self.recent.sums(rules.window_s, now);
        let window = |left: Option<RemainingLimit>| {
            left.filter(|left| !left.is_assumed).map(|left| Window {
                limit: left.limit,
                remaining: left.remaining,
                reset_ms: left.resets_at.ms_since(now),
            })
        };
        Report {
            breaker: match self.state {
                State::Closed => Breaker::Closed,
                State::HalfOpen { .. } => Breaker::HalfOpen,
                State::Open { .. } => Breaker::Open,
            },
            shut,
            first_token: self.first_token(now),
            failures_in_a_row: self.failures_in_a_row,
            calls,
            errors,
            limits: Limits { requests: window(self.requests), tokens: window(self.tokens) },
        }
    }
}

/// The share that is left of a knowledge of this age.
fn kept(age_ms: u64) -> f64 {
    (-(age_ms as f64) / FORGET_HALF_MS).exp2()
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
