//! `forebay.toml`: what an operator may say, and its defaults.
//!
//! Owns the shape of the file, how it is read, overridden and checked, and when it is read again.
//! Promises that an unknown key is refused by name and line, that a configuration is taken as a
//! whole or not at all, and that nothing here prints a secret.

mod load;

mod problem;

mod check;

mod gate;

mod origin;

mod price;

mod secret;

mod tls;

mod watch;

mod webhooks;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use gate::{HealthConfig, QueueConfig};
pub use load::{Loaded, environment, load};
pub use origin::Allowed;
pub use price::{PriceConfig, TierConfig};
pub use problem::Problem;
pub use secret::Secret;
pub use tls::TlsConfig;
pub use watch::{Reloaded, Watcher};
pub use webhooks::WebhooksConfig;

use crate::job::caps;
use crate::job::{Gateway, Retry, Task, Timeouts};

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The HTTP and WebSocket port.
    pub server: Server,
    /// The NATS entrance.
    pub nats: Nats,
    /// The durable log.
    pub log: LogConfig,
    /// Providers by name, beside the built-in ones.
    pub providers: BTreeMap<Box<str>, ProviderConfig>,
    /// Models and aliases by name.
    pub models: BTreeMap<Box<str>, ModelConfig>,
    /// Prices by `provider/model`.
    pub prices: BTreeMap<Box<str>, PriceConfig>,
    /// Policy by gateway.
    pub gateways: BTreeMap<Box<str>, GatewayConfig>,
    /// When a target is left alone.
    pub health: HealthConfig,
    /// Jobs that wait.
    pub queue: QueueConfig,
    /// Who may come in.
    pub keys: Vec<KeyConfig>,
    /// What Prometheus gets.
    pub metrics: MetricsConfig,
    /// What may be asked on behalf of a job.
    pub egress: EgressConfig,
    /// Who is told that a job has ended.
    pub webhooks: WebhooksConfig,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port. Anything but loopback needs `[[keys]]` or `allow_anonymous`.
    pub listen: Box<str>,
    /// Serve without keys on any address.
    pub allow_anonymous: bool,
    /// Seconds that running jobs get to finish after SIGTERM.
    pub drain_s: u64,
    /// Bytes of a job as submitted.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are coming in over HTTP at once.
    pub bodies_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Jobs under way at once.
    pub jobs_max: usize,
    /// Milliseconds a WebSocket client has to say `hello` where keys are configured.
    pub hello_ms: u64,
    /// Milliseconds between two heartbeats to a reader.
    pub heartbeat_ms: u64,
    /// Milliseconds that a long poll of a durable stream waits for something new; its server-sent
    /// events end after three times as long, and readers come again.
    pub long_poll_ms: u64,
    /// Threads that run actors; 0 = one per core.
    pub arbiters: usize,
    /// Pages of browsers that may use the port: `https://app.example`, or `*` for all. Absent = only
    /// those that come from this port.
    pub cors_origins: Vec<Box<str>>,
    /// TLS on the port. Absent = plain HTTP.
    pub tls: Option<TlsConfig>,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: "127.0.0.1:8087".into(),
            allow_anonymous: false,
            drain_s: 30,
            body_bytes_max: caps::JOB_BYTES_DEFAULT,
            bodies_bytes_max: 512 * 1024 * 1024,
            connections_max: 20_000,
            jobs_max: caps::JOBS_MAX_DEFAULT,
            hello_ms: 10_000,
            heartbeat_ms: 15_000,
            long_poll_ms: 20_000,
            arbiters: 0,
            cors_origins: Vec::new(),
            tls: None,
        }
    }
}

/// `[nats]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// Whether there is a NATS entrance at all.
    pub enabled: bool,
    /// Server address; user and password may be part of it.
    pub url: Secret,
    /// First token of every subject.
    pub prefix: Box<str>,
    /// A credentials file's content, for example `file:/etc/forebay/nats.creds`.
    pub credentials: Option<Secret>,
}

impl Default for Nats {
    fn default() -> Nats {
        Nats { enabled: true, url: Secret("nats://127.0.0.1:4222".into()), prefix: "forebay".into(), credentials: None }
    }
}

/// How hard a record is on disk before a reader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// fdatasync: survives a power cut.
    #[default]
    Power,
    /// Written to the kernel: survives our death.
    Process,
    /// Written now and then: survives nothing in particular.
    None,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The directory of everything durable.
    pub path: PathBuf,
    /// How hard a record is on disk before a reader sees it.
    pub durability: Durability,
    /// Seconds that a finished job is kept.
    pub retention_s: u64,
    /// Bytes of finished jobs that are kept; the oldest go first.
    pub retention_bytes: u64,
    /// Seconds that an expired job is remembered as `expired`.
    pub tombstone_s: u64,
    /// Bytes of journal before appends wait for sealing.
    pub journal_bytes_max: u64,
    /// Free bytes of the disk below which new jobs are refused.
    pub free_bytes_min: u64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            path: "forebay-data".into(),
            durability: Durability::Power,
            retention_s: 604_800,
            retention_bytes: 16 * 1024 * 1024 * 1024,
            tombstone_s: 604_800,
            journal_bytes_max: 256 * 1024 * 1024,
            free_bytes_min: 64 * 1024 * 1024,
        }
    }
}

/// `[providers.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The wire format: `openai-compatible`, `scripted`. Absent = the built-in provider of that name.
    #[serde(default)]
    pub kind: Option<Box<str>>,
    /// Where it is.
    #[serde(default)]
    pub base_url: Option<Box<str>>,
    /// The key: `env:NAME`, `file:PATH`, or the key itself.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Headers of every call.
    #[serde(default)]
    pub headers: BTreeMap<Box<str>, Secret>,
    /// `scripted` only: the file of its timeline.
    #[serde(default)]
    pub script: Option<PathBuf>,
    /// Which of its formats to speak, where it has several: `chat`, `responses`, `messages`.
    #[serde(default)]
    pub api: Option<Box<str>>,
    /// What its models make of the beginning of their own answer as the last message: `exact` (they
    /// go on, and send only what is new), `repeats` (they go on, after sending it once more), `none`.
    /// Absent = what is known of the vendor; of a server of one's own nothing is.
    #[serde(default)]
    pub prefill: Option<Box<str>>,
    /// The version of its format, where the address carries one (Azure OpenAI).
    #[serde(default)]
    pub api_version: Option<Box<str>>,
    /// The account's number (Workers AI).
    #[serde(default)]
    pub account_id: Option<Box<str>>,
    /// The region or location (Bedrock, Vertex AI).
    #[serde(default)]
    pub region: Option<Box<str>>,
    /// The project (Vertex AI).
    #[serde(default)]
    pub project: Option<Box<str>>,
    /// The resource's name (Azure OpenAI).
    #[serde(default)]
    pub resource: Option<Box<str>>,
    /// The profile in the provider's own configuration files (Bedrock).
    #[serde(default)]
    pub profile: Option<Box<str>>,
    /// The file of a service account (Vertex AI).
    #[serde(default)]
    pub credentials: Option<PathBuf>,
}

impl ProviderConfig {
    /// What it says about the account, by key.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let file = self.credentials.as_deref().and_then(std::path::Path::to_str);
        let said = [
            ("api", self.api.as_deref()),
            ("prefill", self.prefill.as_deref()),
            ("api_version", self.api_version.as_deref()),
            ("account_id", self.account_id.as_deref()),
            ("region", self.region.as_deref()),
            ("project", self.project.as_deref()),
            ("resource", self.resource.as_deref()),
            ("profile", self.profile.as_deref()),
            ("credentials", file),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// How a model's targets are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// In the order given.
    #[default]
    Failover,
    /// By chance, each as often as its weight says; so is who comes next when one fails.
    Weighted,
    /// The shortest time to first token first, as measured of late; who was not measured comes before.
    Fastest,
    /// The lowest price of such a job first; who has no known price comes last.
    Cheapest,
}

/// `[models."NAME"]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// `provider/model`, in order.
    pub targets: Vec<Box<str>>,
    /// How they are chosen.
    #[serde(default)]
    pub strategy: Strategy,
    /// `weighted` only: how often each target is chosen, as against the others, for example `[3, 1]`.
    /// Absent = all alike.
    #[serde(default)]
    pub weights: Vec<f64>,
    /// The tag (`metadata.userId`) whose every value stays with one target while that serves, so that
    /// the provider's prompt cache stays warm. A job without the tag goes by the strategy.
    #[serde(default)]
    pub sticky: Option<Box<str>>,
    /// What the model does [default: what its first target does, as far as the catalog knows].
    #[serde(default)]
    pub task: Option<Task>,
    /// Time-outs of jobs with this model.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// For listings: the most tokens that go in, where the catalog does not know the model.
    #[serde(default)]
    pub input_tokens_max: Option<u64>,
    /// For listings: the most tokens that come out.
    #[serde(default)]
    pub output_tokens_max: Option<u64>,
    /// For listings: what it can do, by the catalog's names.
    #[serde(default)]
    pub abilities: Vec<Box<str>>,
}

/// `[gateways.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Retries of its jobs.
    pub retry: Retry,
    /// Time-outs of its jobs.
    pub timeouts: Timeouts,
    /// Who is told of its background jobs that name no webhook of their own.
    pub webhook: Option<Box<str>>,
}

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Submit and cancel jobs.
    Run,
    /// Read jobs, costs and models.
    Read,
    /// Everything.
    Admin,
}

impl Scope {
    /// As the configuration says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Run => "run",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }
}

/// `[[keys]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// For logs.
    pub name: Box<str>,
    /// Hexadecimal SHA-256 of the key.
    pub sha256: Box<str>,
    /// Gateways it may use.
    #[serde(default = "default_gateways")]
    pub gateways: Vec<Gateway>,
    /// What it may do.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<Scope>,
}

fn default_gateways() -> Vec<Gateway> {
    vec![Gateway::default()]
}

fn default_scopes() -> Vec<Scope> {
    vec![Scope::Run, Scope::Read]
}

/// `[egress]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressConfig {
    /// Hosts that may be asked for a job's files although their addresses are not public.
    pub allow_hosts: Vec<Box<str>>,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Metadata keys that become labels of `forebay_cost_usd_total`. Each value is a time series.
    pub tag_labels: Vec<Box<str>>,
}
