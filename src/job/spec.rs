//! A job and all options for carrying it out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::caps::{
    ATTEMPTS_MAX, DURATION_MS_MAX, FALLBACKS_MAX, PROVIDER_BYTES_MAX, PROVIDERS_NAMED_MAX, RETENTION_S_MAX,
    WEBHOOK_URL_BYTES_MAX,
};
use super::{Gateway, JobId, ModelName, Tags, Task, Timestamp, Usd};

/// A valid job, as `wire/submit.rs` makes it of a request; it is not validated again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Id of the job, unique in the broker.
    pub id: JobId,
    /// Gateway that the job was submitted to.
    pub gateway: Gateway,
    /// Model as the client named it.
    pub model: ModelName,
    /// Kind of work that the model does.
    pub task: Task,
    /// Body of the task, a JSON object (for chat the OpenAI body without `model` and `stream`).
    pub input: Box<RawValue>,
    /// Tags by which cost is broken down.
    pub metadata: Tags,
    /// The caller's own name for this piece of work, per gateway.
    pub idempotency_key: Option<Box<str>>,
    /// Options for carrying the job out.
    pub options: Options,
    /// Time at which the job was submitted.
    pub submitted_at: Timestamp,
    /// SHA-256 over everything but `id` and `idempotency_key`: a repeat with another body is a
    /// conflict. `None` when neither an id nor a key was given, so that no repeat can come.
    pub body_sha256: Option<[u8; 32]>,
    /// Whether the input is a provider's own request, which is passed on to that provider unchanged and
    /// once: no other provider understands it, and the answer's bytes cannot be read again after a crash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_passed_on: bool,
    /// The parts of the request that the answers in the client's dialect repeat, a JSON object. `None`
    /// unless that dialect repeats any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Box<RawValue>>,
}

/// What to do when the provider breaks off after output was emitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStreamFailure {
    /// End the job as failed.
    Fail,
    /// Let the same or the next target go on from the text so far; output that cannot be continued
    /// (half a tool call, a bound format) is discarded and begun anew.
    #[default]
    Continue,
    /// Tell readers to discard what they have and begin anew.
    Restart,
}

/// What to do when the broker crashes while the job is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCrash {
    /// End the job as interrupted, with the usage so far.
    Interrupt,
    /// Let the same or the next target go on from the text so far; a job that cannot be continued is
    /// interrupted.
    #[default]
    Continue,
    /// Tell readers to discard what they have and begin anew.
    Restart,
}

/// What to do when the submitting HTTP or WebSocket client disconnects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// Let the job go on.
    #[default]
    Detach,
    /// Cancel the job at once.
    Cancel,
    /// Let the job go on for at most 60 s, only to learn the usage.
    Drain,
}

/// Time-outs of a job in milliseconds. Absent = the gateway's, else the built-in default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Time to open a connection to the provider. Default 5 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub connect_ms: Option<u64>,
    /// Time from sending the request to the first event. Default 60 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub first_token_ms: Option<u64>,
    /// Time between two signs of life of the provider: whole packets or keep-alive comments, not bytes
    /// of an incomplete packet. Default 60 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub idle_ms: Option<u64>,
    /// Time for the whole job. Default 600 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub total_ms: Option<u64>,
    /// Time in the queue, while no target is free. Default 60 000.
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
    /// Every wait is `delay_ms` long.
    Constant,
    /// The wait is `delay_ms` times the number of tries so far.
    Linear,
    /// The wait begins with `delay_ms` and doubles with every try.
    #[default]
    Exponential,
}

/// Rules for retries at one target. Absent = the gateway's, else the built-in default.
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

/// Whether an earlier answer may be used instead of a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// The cache is not used.
    #[default]
    Off,
    /// The cache is read and written.
    On,
    /// The provider answers, and the cache stores the answer.
    Refresh,
}

/// Options for the answer cache. Only `off` is built so far; anything else is `unsupported`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOptions {
    /// Whether an earlier answer may be used instead of a new one.
    pub mode: CacheMode,
    /// Seconds for which a stored answer may be used.
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

/// The webhook that reports the end of the job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// An https address that gets a signed POST (Standard Webhooks), at least once.
    #[schemars(length(min = 1, max = WEBHOOK_URL_BYTES_MAX))]
    pub url: Box<str>,
}

/// Which providers may serve a job, each by its name in the configuration or by its kind. A job
/// for `provider/model` with a choice here may be served by the other providers of that model too.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderChoice {
    /// Only these providers may serve the job. Empty = any provider.
    #[schemars(length(max = PROVIDERS_NAMED_MAX), inner(length(min = 1, max = PROVIDER_BYTES_MAX)))]
    pub only: Vec<Box<str>>,
    /// None of these providers may serve the job.
    #[schemars(length(max = PROVIDERS_NAMED_MAX), inner(length(min = 1, max = PROVIDER_BYTES_MAX)))]
    pub ignore: Vec<Box<str>>,
    /// These providers come first, in this order; then the others in their usual order.
    #[schemars(length(max = PROVIDERS_NAMED_MAX), inner(length(min = 1, max = PROVIDER_BYTES_MAX)))]
    pub order: Vec<Box<str>>,
}

/// The caller's own prices, in US dollars per token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CostOverride {
    /// Price per input token.
    #[serde(deserialize_with = "usd_of_number")]
    #[schemars(with = "UsdAmount")]
    pub per_token_in: Usd,
    /// Price per output token.
    #[serde(deserialize_with = "usd_of_number")]
    #[schemars(with = "UsdAmount")]
    pub per_token_out: Usd,
    /// Price per input token that was read from the provider's cache. Absent = as any input token.
    #[serde(default, deserialize_with = "some_usd_of_number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UsdAmount")]
    pub per_cache_read_token: Option<Usd>,
    /// Price per input token that was written to the provider's cache. Absent = as any input token.
    #[serde(default, deserialize_with = "some_usd_of_number", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UsdAmount")]
    pub per_cache_write_token: Option<Usd>,
}

/// An amount in USD, as a JSON number or a decimal string.
#[derive(JsonSchema)]
#[schemars(rename = "DollarsSaid")] // The public schemas have had this name from the start.
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum UsdAmount {
    /// A number of dollars.
    Number(#[schemars(range(min = 0))] f64),
    /// A decimal text of dollars.
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
    enum RawAmount {
        Whole(u64),
        Number(f64),
        Text(String),
    }
    let text = match RawAmount::deserialize(deserializer).map_err(|_| D::Error::custom("must be a decimal number"))? {
        RawAmount::Whole(number) => number.to_string(),
        RawAmount::Number(number) => number.to_string(),
        RawAmount::Text(text) => text,
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

/// Options for carrying out a job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Models to try after `model`, in order.
    #[schemars(length(max = FALLBACKS_MAX))]
    pub fallbacks: Vec<ModelName>,
    /// Choice of the providers that may serve the job, with its model and with its fallbacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderChoice>,
    /// Time-outs of this job.
    pub timeouts: Timeouts,
    /// Retries of this job.
    pub retry: Retry,
    /// What to do when the provider breaks after output was emitted.
    pub on_stream_failure: OnStreamFailure,
    /// What to do when the broker crashes while the job is under way.
    pub on_crash: OnCrash,
    /// What to do when the submitting HTTP or WebSocket client disconnects.
    pub on_disconnect: OnDisconnect,
    /// Options for the answer cache.
    pub cache: CacheOptions,
    /// Milliseconds of silence of the first target after which a second one is started.
    #[schemars(range(min = 1, max = DURATION_MS_MAX))]
    pub hedge_ms: Option<u64>,
    /// Place in the queue, from 0 (first) to 9 (last).
    #[schemars(range(max = 9))]
    pub priority: u8,
    /// Seconds to keep the stream after its terminal. Absent = `log.retention_s`.
    #[schemars(range(max = RETENTION_S_MAX))]
    pub retention_s: Option<u64>,
    /// Whether the job's input is kept after its terminal.
    pub log_payload: bool,
    /// Whether HTTP answers 202 at once.
    pub background: bool,
    /// Whether fields of the input that a provider does not take are left out and listed in the `attempt`
    /// event, instead of refusing the job as `unsupported`.
    pub drop_unsupported: bool,
    /// Where records are published as they become durable.
    pub deliver: Option<Deliver>,
    /// The webhook that reports the end of the job.
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
