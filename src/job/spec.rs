//! A job and everything that may be said about how it is to be done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::caps::{
    ATTEMPTS_MAX, DURATION_MS_MAX, FALLBACKS_MAX, PROVIDER_BYTES_MAX, PROVIDERS_NAMED_MAX, RETENTION_S_MAX,
    WEBHOOK_URL_BYTES_MAX,
};
use super::{Gateway, JobId, ModelName, Tags, Task, Timestamp, Usd};

/// A valid job: what `wire/submit.rs` makes of what was said. Nobody validates it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Unique in the broker.
    pub id: JobId,
    /// Where it lives.
    pub gateway: Gateway,
    /// As the client named it.
    pub model: ModelName,
    /// What is asked of the model.
    pub task: Task,
    /// A JSON object: the task's body (for chat the OpenAI body without `model` and `stream`).
    pub input: Box<RawValue>,
    /// What cost is broken down by.
    pub metadata: Tags,
    /// The caller's own name for this piece of work, per gateway.
    pub idempotency_key: Option<Box<str>>,
    /// How it is to be done.
    pub options: Options,
    /// When it came in.
    pub submitted_at: Timestamp,
    /// SHA-256 over everything but `id` and `idempotency_key`: a repeat with another body is a
    /// conflict. `None` when neither an id nor a key was given, so that no repeat can come.
    pub body_sha256: Option<[u8; 32]>,
    /// Its input is a provider's own request, which goes there as it is, once: nobody else can be
    /// asked it, and nobody reads the answer's bytes again after a crash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_passed_on: bool,
    /// A JSON object: what the answers in its door's dialect repeat of the request. `None` unless that
    /// dialect repeats anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Box<RawValue>>,
}

/// The provider broke after output was emitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStreamFailure {
    /// End the job as failed.
    Fail,
    /// Ask the same or the next target to go on from the text so far; what cannot be gone on with
    /// (half a tool call, a bound format) is discarded and begun anew.
    #[default]
    Continue,
    /// Tell readers to discard what they have and begin anew.
    Restart,
}

/// Forebay itself died with the job under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCrash {
    /// End the job as interrupted, with the usage so far.
    Interrupt,
    /// Ask the same or the next target to go on from the text so far; what cannot be gone on with
    /// is interrupted.
    #[default]
    Continue,
    /// Tell readers to discard what they have and begin anew.
    Restart,
}

/// The submitting HTTP or WebSocket client left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// Go on.
    #[default]
    Detach,
    /// Cancel the job.
    Cancel,
    /// Go on, at most 60 s, only to learn the usage.
    Drain,
}

/// Time-outs in milliseconds. Absent = the gateway's, else the built-in default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// To open a connection to the provider. Default 5 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub connect_ms: Option<u64>,
    /// From request sent to the first event. Default 60 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub first_token_ms: Option<u64>,
    /// Between two signs of life of the provider: whole packets or keep-alive comments, not bytes
    /// of a packet that is not whole. Default 60 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub idle_ms: Option<u64>,
    /// For the whole job. Default 600 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub total_ms: Option<u64>,
    /// In the queue, while no target is free. Default 60 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub queue_ms: Option<u64>,
}

impl Timeouts {
    /// Fills what is absent here from `other`.
    #[must_use]
    pub fn or(self, other: Timeouts) -> Timeouts {
        Timeouts {
            connect_ms: self.connect_ms.or(other.connect_ms),
            first_token_ms: self.first_token_ms.or(other.first_token_ms),
            idle_ms: self.idle_ms.or(other.idle_ms),
            total_ms: self.total_ms.or(other.total_ms),
            queue_ms: self.queue_ms.or(other.queue_ms),
        }
    }
}

/// How the wait between two attempts grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always `delay_ms`.
    Constant,
    /// `delay_ms` times the number of tries so far.
    Linear,
    /// `delay_ms` doubled with every try.
    #[default]
    Exponential,
}

/// Retries at one target. Absent = the gateway's, else the built-in default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts at one target, the first included. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = ATTEMPTS_MAX))]
    pub max_attempts: Option<u32>,
    /// How the wait grows. Default `exponential`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// The first wait, in milliseconds, before jitter. Default 250.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = DURATION_MS_MAX))]
    pub delay_ms: Option<u64>,
    /// The longest wait, in milliseconds. Default 10 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = DURATION_MS_MAX))]
    pub max_delay_ms: Option<u64>,
}

impl Retry {
    /// Fills what is absent here from `other`.
    #[must_use]
    pub fn or(self, other: Retry) -> Retry {
        Retry {
            max_attempts: self.max_attempts.or(other.max_attempts),
            backoff: self.backoff.or(other.backoff),
            delay_ms: self.delay_ms.or(other.delay_ms),
            max_delay_ms: self.max_delay_ms.or(other.max_delay_ms),
        }
    }
}

/// Whether an earlier answer may serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// Never.
    #[default]
    Off,
    /// Read and write.
    On,
    /// Ask the provider and keep the answer.
    Refresh,
}

/// The answer cache. Only `off` is built so far; anything else is `unsupported`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOptions {
    /// Whether an earlier answer may serve.
    pub mode: CacheMode,
    /// How long an answer may serve, in seconds.
    pub ttl_s: Option<u64>,
    /// The caller's own key instead of the digest of the body.
    pub key: Option<Box<str>>,
}

/// Where records are published as they become durable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// A NATS subject without wildcards.
    #[schemars(length(max = 255), regex(pattern = r"^[!-)+,\-/-=?-~]+(\.[!-)+,\-/-=?-~]+)*$"))]
    pub subject: Box<str>,
}

/// Who is told that the job has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// An https address, told by a signed POST (Standard Webhooks), at least once.
    #[schemars(length(min = 1, max = WEBHOOK_URL_BYTES_MAX))]
    pub url: Box<str>,
}

/// Which providers may serve a job, each by its name in the configuration or by its kind. Whoever
/// asks for `provider/model` and says something here may be served by the others of that model too.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderChoice {
    /// Nobody but these. Empty = anybody.
    #[schemars(length(max = PROVIDERS_NAMED_MAX), inner(length(min = 1, max = PROVIDER_BYTES_MAX)))]
    pub only: Vec<Box<str>>,
    /// None of these.
    #[schemars(length(max = PROVIDERS_NAMED_MAX), inner(length(min = 1, max = PROVIDER_BYTES_MAX)))]
    pub ignore: Vec<Box<str>>,
    /// These first, in this order; then the others as they would have been.
    #[schemars(length(max = PROVIDERS_NAMED_MAX), inner(length(min = 1, max = PROVIDER_BYTES_MAX)))]
    pub order: Vec<Box<str>>,
}

/// The caller's own prices, in US dollars per token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CostOverride {
    /// Per input token.
    #[serde(deserialize_with = "usd_of_number")]
    #[schemars(with = "DollarsSaid")]
    pub per_token_in: Usd,
    /// Per output token.
    #[serde(deserialize_with = "usd_of_number")]
    #[schemars(with = "DollarsSaid")]
    pub per_token_out: Usd,
    /// Per input token that was read from the provider's cache. Absent = as any input token.
    #[serde(default, deserialize_with = "some_usd_of_number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DollarsSaid")]
    pub per_cache_read_token: Option<Usd>,
    /// Per input token that was written to the provider's cache. Absent = as any input token.
    #[serde(default, deserialize_with = "some_usd_of_number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DollarsSaid")]
    pub per_cache_write_token: Option<Usd>,
}

/// An amount in USD, as a JSON number or a decimal string.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum DollarsSaid {
    /// Dollars.
    Number(#[schemars(range(min = 0))] f64),
    /// Dollars, decimal.
    Text(#[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))] String),
}

/// Reads a non-negative amount of dollars from a JSON or TOML number or a decimal string. A float's
/// shortest decimal form is what its author wrote, so no amount is off by a rounding error.
///
/// # Errors
/// When it is neither, negative, or out of range.
pub fn usd_of_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Usd, D::Error> {
    use serde::de::Error;
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Whole(u64),
        Number(f64),
        Text(String),
    }
    let text = match Said::deserialize(deserializer).map_err(|_| D::Error::custom("must be a decimal number"))? {
        Said::Whole(number) => number.to_string(),
        Said::Number(number) => number.to_string(),
        Said::Text(text) => text,
    };
    let usd: Usd = text.parse().map_err(D::Error::custom)?;
    if usd < Usd::ZERO {
        return Err(D::Error::custom("must not be negative"));
    }
    Ok(usd)
}

fn some_usd_of_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Usd>, D::Error> {
    usd_of_number(deserializer).map(Some)
}

/// How a job is to be done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Models to try after `model`, in order.
    #[schemars(length(max = FALLBACKS_MAX))]
    pub fallbacks: Vec<ModelName>,
    /// Which providers may serve it, by its model and by its fallbacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderChoice>,
    /// Time-outs of this job.
    pub timeouts: Timeouts,
    /// Retries of this job.
    pub retry: Retry,
    /// What to do when the provider breaks after output was emitted.
    pub on_stream_failure: OnStreamFailure,
    /// What to do when Forebay died with the job under way.
    pub on_crash: OnCrash,
    /// What to do when the submitting HTTP or WebSocket client leaves.
    pub on_disconnect: OnDisconnect,
    /// The answer cache.
    pub cache: CacheOptions,
    /// Start a second target if the first is silent this long.
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub hedge_ms: Option<u64>,
    /// 0 (first) to 9 (last) in the queue.
    #[schemars(range(max = 9))]
    pub priority: u8,
    /// Seconds to keep the stream after its terminal. Absent = `log.retention_s`.
    #[schemars(range(max = RETENTION_S_MAX))]
    pub retention_s: Option<u64>,
    /// Whether the job's input is kept after its terminal.
    pub log_payload: bool,
    /// HTTP: answer 202 at once.
    pub background: bool,
    /// Leave out fields of the input that a provider does not take, and say so in the `attempt`
    /// event, instead of refusing the job as `unsupported`.
    pub drop_unsupported: bool,
    /// Where records are published as they become durable.
    pub deliver: Option<Deliver>,
    /// Who is told that the job has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// The caller's own prices.
    pub cost: Option<CostOverride>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            fallbacks: Vec::new(),
            provider: None,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            on_stream_failure: OnStreamFailure::default(),
            on_crash: OnCrash::default(),
            on_disconnect: OnDisconnect::default(),
            cache: CacheOptions::default(),
            hedge_ms: None,
            priority: 5,
            retention_s: None,
            log_payload: true,
            background: false,
            drop_unsupported: false,
            deliver: None,
            webhook: None,
            cost: None,
        }
    }
}
