//! What holds for one job: its own word over its model's over its gateway's over the default.

use std::time::Duration;

use crate::config::Config;
use crate::job::{Backoff, Gateway, Job, Retry, Timeouts};

const DEFAULT_TIMEOUTS: Timeouts = Timeouts {
    connect_ms: Some(5_000),
    first_token_ms: Some(60_000),
    idle_ms: Some(60_000),
    total_ms: Some(600_000),
    queue_ms: Some(60_000),
};

const DEFAULT_RETRY: Retry = Retry {
    max_attempts: Some(3),
    backoff: Some(Backoff::Exponential),
    delay_ms: Some(250),
    max_delay_ms: Some(10_000),
};

/// Time-outs and retries in force for one job.
///
/// What counts as a sign of life for `idle`: a packet that is whole, or a comment line
/// ([`crate::provider::framing::Framer::signs_of_life`]). Bytes of a packet that is not whole do
/// not: a provider that trickles would hold a job as long as it liked. `first_token` ends with the
/// first event, so neither lifecycle packets nor comments extend it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EffectiveOptions {
    /// Time-out of opening a connection.
    pub connect: Duration,
    /// From request sent to the first event.
    pub first_token: Duration,
    /// Between two signs of life.
    pub idle: Duration,
    /// Time-out of the whole job.
    pub total: Duration,
    /// Time-out of waiting in the queue when no target is free.
    pub queue: Duration,
    /// How long an attempt may be silent before a second target is asked beside it.
    pub hedge: Option<Duration>,
    /// Attempts at one target, the first included.
    pub attempts_max: u32,
    /// How the wait between two tries grows.
    pub backoff: Backoff,
    /// The first wait, before jitter.
    pub delay_ms: u64,
    /// Longest wait between two tries.
    pub delay_ms_max: u64,
}

/// The time-outs of a request that is no job: its own over its gateway's over the default, all filled.
#[must_use]
pub fn timeouts(own: Timeouts, gateway: &Gateway, config: &Config) -> Timeouts {
    let gateway = config.gateways.get(gateway.as_str());
    own.or(gateway.map(|gateway| gateway.timeouts).unwrap_or_default()).or(DEFAULT_TIMEOUTS)
}

impl EffectiveOptions {
    /// Returns the options that hold for `job`.
    #[must_use]
    pub fn of(job: &Job, config: &Config) -> EffectiveOptions {
        let gateway = config.gateways.get(job.gateway.as_str());
        let model = config.models.get(job.model.as_str());
        let timeouts = job
            .options
            .timeouts
            .or(model.map(|model| model.timeouts).unwrap_or_default())
            .or(gateway.map(|gateway| gateway.timeouts).unwrap_or_default())
            .or(DEFAULT_TIMEOUTS);
        let retry = job.options.retry.or(gateway.map(|gateway| gateway.retry).unwrap_or_default()).or(DEFAULT_RETRY);
        let ms = |value: Option<u64>| Duration::from_millis(value.expect("the default fills it"));
        EffectiveOptions {
            connect: ms(timeouts.connect_ms),
            first_token: ms(timeouts.first_token_ms),
            idle: ms(timeouts.idle_ms),
            total: ms(timeouts.total_ms),
            queue: ms(timeouts.queue_ms),
            hedge: job.options.hedge_ms.map(Duration::from_millis),
            attempts_max: retry.max_attempts.expect("the default fills it"),
            backoff: retry.backoff.expect("the default fills it"),
            delay_ms: retry.delay_ms.expect("the default fills it"),
            delay_ms_max: retry.max_delay_ms.expect("the default fills it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::submit::{Entrance, from_json};

    #[test]
    fn the_nearest_word_wins() {
        let config: Config = toml::from_str(
            r#"
            [gateways.default]
            retry.max_attempts = 7
            timeouts = { idle_ms = 1, total_ms = 2 }
            [models.m]
            targets = ["a/b"]
            timeouts = { idle_ms = 3 }
            "#,
        )
        .unwrap();
        let job = |options: &str| {
            let json = format!(r#"{{"model":"m","input":"x","options":{options}}}"#);
            from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), crate::job::Timestamp(0)).unwrap()
        };
        let terms = EffectiveOptions::of(&job(r#"{"timeouts":{"total_ms":9}}"#), &config);
        let ms = Duration::from_millis;
        assert_eq!((terms.total, terms.idle, terms.connect, terms.attempts_max), (ms(9), ms(3), ms(5000), 7));
        assert_eq!(EffectiveOptions::of(&job("{}"), &config).total, ms(2));
        assert_eq!(EffectiveOptions::of(&job(r#"{"retry":{"max_attempts":1}}"#), &config).attempts_max, 1);
        assert_eq!((terms.queue, terms.hedge), (ms(60_000), None));
        let hasty = EffectiveOptions::of(&job(r#"{"timeouts":{"queue_ms":8},"hedge_ms":5}"#), &config);
        assert_eq!((hasty.queue, hasty.hedge), (ms(8), Some(ms(5))));
    }
}
