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

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The whole of `forebay.toml`. Every section and every key may be left out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "forebay.toml")]
pub struct Config {
    /// The port for HTTP and WebSocket.
    pub server: Server,
    /// The connection to NATS.
    pub nats: Nats,
    /// Settings of the durable log.
    pub log: LogConfig,
    /// Providers by name, in addition to those that are switched on by a key in the environment.
    pub providers: BTreeMap<Box<str>, ProviderConfig>,
    /// Models and aliases by the name that jobs use.
    pub models: BTreeMap<Box<str>, ModelConfig>,
    /// Prices by `provider/model`; they replace those of the catalog.
    pub prices: BTreeMap<Box<str>, PriceConfig>,
    /// Policy for the jobs of each gateway.
    pub gateways: BTreeMap<Box<str>, GatewayConfig>,
    /// When a target is left alone, and how often it is tried again.
    pub health: HealthConfig,
    /// Jobs that wait until a target can be asked.
    pub queue: QueueConfig,
    /// The keys that clients present; without any, every client is let in.
    pub keys: Vec<KeyConfig>,
    /// What `/metrics` shows in addition.
    pub metrics: MetricsConfig,
    /// Requests that Forebay makes on behalf of a job, beside those to providers.
    pub egress: EgressConfig,
    /// How servers are told that a job has ended.
    pub webhooks: WebhooksConfig,
}

/// The port for HTTP and WebSocket.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The address and port to listen on. Any address but a loopback one needs `[[keys]]` or `allow_anonymous`. A change
    /// needs a restart.
    pub listen: Box<str>,
    /// Whether clients without a key are served on an address that is not loopback.
    pub allow_anonymous: bool,
    /// Seconds that running jobs get to finish after SIGTERM, 0 to 3,600.
    pub drain_s: u64,
    /// The largest job as submitted, in bytes; the default is 8 MiB.
    pub body_bytes_max: usize,
    /// Bytes of all request bodies that arrive at the same time; a further request is refused as `overloaded`. The
    /// default is 512 MiB.
    pub bodies_bytes_max: usize,
    /// The most connections at the same time.
    pub connections_max: usize,
    /// The most jobs that run or wait at the same time.
    pub jobs_max: usize,
    /// Milliseconds that a WebSocket client has to send `hello` where keys are configured.
    pub hello_ms: u64,
    /// Milliseconds of silence after which a reader gets a sign of life.
    pub heartbeat_ms: u64,
    /// Milliseconds that a long poll of a durable stream waits for something new. The stream's server-sent events end
    /// after three times as long, and readers reconnect.
    pub long_poll_ms: u64,
    /// Threads that run jobs; 0 means one for each core. A change needs a restart.
    pub arbiters: usize,
    /// Origins whose web pages may use the port, for example `https://app.example`, or `*` for all. Pages that come from
    /// this port itself always may.
    pub cors_origins: Vec<Box<str>>,
    /// TLS on the port. Without it the port speaks plain HTTP.
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

/// The connection to NATS. A change of any of its keys needs a restart.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// Whether jobs are taken from NATS at all. While the server cannot be reached, HTTP and WebSocket work.
    pub enabled: bool,
    /// The address of the NATS server. It may contain a user and a password.
    #[schemars(extend("default" = NATS_URL))]
    pub url: Secret,
    /// The first token of every subject: with `forebay`, jobs come in on `forebay.run`.
    pub prefix: Box<str>,
    /// The content of a NATS credentials file, usually `file:PATH`.
    pub credentials: Option<Secret>,
}

const NATS_URL: &str = "nats://127.0.0.1:4222";

impl Default for Nats {
    fn default() -> Nats {
        Nats { enabled: true, url: Secret(NATS_URL.into()), prefix: "forebay".into(), credentials: None }
    }
}

/// What a record must survive before a reader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The record is synced to the disk (fdatasync) and survives a power cut.
    #[default]
    Power,
    /// The record is written to the kernel and survives the end of the process, but not a power cut.
    Process,
    /// No durability is promised. Today the record is written as with `process`.
    None,
}

/// Settings of the durable log. A change of `path`, `durability` or `journal_bytes_max` needs a restart.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The data folder, which holds everything that must survive.
    pub path: PathBuf,
    /// What a record must survive before a reader sees it.
    pub durability: Durability,
    /// Seconds that a finished job is kept; the default is 7 days.
    pub retention_s: u64,
    /// Bytes of finished jobs that are kept, the oldest are removed first; the default is 16 GiB.
    pub retention_bytes: u64,
    /// Seconds for which a removed job is still answered with `expired`; the default is 7 days.
    pub tombstone_s: u64,
    /// Bytes of the journal beyond which writers wait until finished jobs are packed; the default is 256 MiB.
    pub journal_bytes_max: u64,
    /// Free bytes on the disk below which new jobs are refused as `overloaded`; the default is 64 MiB.
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

/// One provider of models. The name is that of a built-in provider, or any name together with `kind`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The provider's kind: `openai-compatible`, `anthropic-compatible`, `gemini-compatible`, `scripted`, or the name of a
    /// built-in provider. Without it, the section is about the built-in provider of its name.
    #[serde(default)]
    pub kind: Option<Box<str>>,
    /// The address that paths are added to, for example `http://127.0.0.1:8080/v1`. Without it, the provider's own.
    #[serde(default)]
    pub base_url: Option<Box<str>>,
    /// The key for the provider: `env:NAME`, `file:PATH`, or the key itself. Without it, the provider's usual variable.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Headers that are added to every request, by name.
    #[serde(default)]
    pub headers: BTreeMap<Box<str>, Secret>,
    /// The file with the timeline that a provider of kind `scripted` plays.
    #[serde(default)]
    pub script: Option<PathBuf>,
    /// The format to speak, where the provider has several: `chat`, `responses`, `messages` or `run`.
    #[serde(default)]
    pub api: Option<Box<str>>,
    /// What its models do with the beginning of their own answer as the last message: `exact` (they go on and send only
    /// what is new), `repeats` (they go on after they sent it once more) or `none`. Without it, what is known of the
    /// vendor; of a server of your own nothing is known.
    #[serde(default)]
    pub prefill: Option<Box<str>>,
    /// The version of the format, where the address carries one (Azure OpenAI).
    #[serde(default)]
    pub api_version: Option<Box<str>>,
    /// The number of the account (Workers AI).
    #[serde(default)]
    pub account_id: Option<Box<str>>,
    /// The region or location (Bedrock, Vertex AI).
    #[serde(default)]
    pub region: Option<Box<str>>,
    /// The project (Vertex AI).
    #[serde(default)]
    pub project: Option<Box<str>>,
    /// The name of the resource (Azure OpenAI).
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
    /// The settings of the account and of the format, by key.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let file = self.credentials.as_deref().and_then(std::path::Path::to_str);
        let settings = [
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
        settings.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// The order in which a model's targets are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The targets are asked in the order given.
    #[default]
    Failover,
    /// The first target is drawn by chance, each as often as its weight says; so is the next one when it fails.
    Weighted,
    /// The target with the shortest recent time to the first token is asked first; targets without a measurement come
    /// before it.
    Fastest,
    /// The target with the lowest price for the job is asked first; targets without a known price come last.
    Cheapest,
}

/// One model or alias. The name is what jobs put into `model`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The targets, each as `provider/model`.
    pub targets: Vec<Box<str>>,
    /// The order in which the targets are asked.
    #[serde(default)]
    pub strategy: Strategy,
    /// How often each target is drawn in relation to the others, for example `[3, 1]`; only with `weighted`. Without it,
    /// all are drawn equally often.
    #[serde(default)]
    pub weights: Vec<f64>,
    /// The tag, for example `metadata.userId`, each of whose values stays with one target while that target serves, so
    /// that the provider's prompt cache is used. Jobs without the tag follow the strategy.
    #[serde(default)]
    pub sticky: Option<Box<str>>,
    /// The task of the model. Without it, the task of its first target in the catalog.
    #[serde(default)]
    pub task: Option<Task>,
    /// Time-outs of jobs with this model; a job's own come first.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// The most input tokens, for listings, where the catalog does not know the model.
    #[serde(default)]
    pub input_tokens_max: Option<u64>,
    /// The most output tokens, for listings, where the catalog does not know the model.
    #[serde(default)]
    pub output_tokens_max: Option<u64>,
    /// What the model can do, for listings, in the catalog's words.
    #[serde(default)]
    pub abilities: Vec<Box<str>>,
}

/// Policy for the jobs of one gateway. The name is what jobs put into `gateway`; the usual one is `default`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Retries of the gateway's jobs; a job's own come first.
    pub retry: Retry,
    /// Time-outs of the gateway's jobs; a job's own and its model's come first.
    pub timeouts: Timeouts,
    /// The address that is told of the end of the gateway's background jobs that name no webhook of their own.
    pub webhook: Option<Box<str>>,
}

/// What a key allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The key may submit and cancel jobs.
    Run,
    /// The key may read jobs, costs and models.
    Read,
    /// The key may do everything.
    Admin,
}

impl Scope {
    /// The name of the scope in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Run => "run",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }
}

/// One key that clients may present. `forebay key new` prints such a section.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The name of the key in logs.
    pub name: Box<str>,
    /// The SHA-256 of the key, as 64 hexadecimal digits.
    pub sha256: Box<str>,
    /// The gateways that the key may use.
    #[serde(default = "default_gateways")]
    pub gateways: Vec<Gateway>,
    /// What the key may do there.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<Scope>,
}

fn default_gateways() -> Vec<Gateway> {
    vec![Gateway::default()]
}

fn default_scopes() -> Vec<Scope> {
    vec![Scope::Run, Scope::Read]
}

/// Requests that Forebay makes on behalf of a job, beside those to providers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EgressConfig {
    /// Hosts from which a job's files may be fetched although their addresses are not public.
    pub allow_hosts: Vec<Box<str>>,
}

/// What `/metrics` shows in addition.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Keys of the metadata of jobs that become labels of `forebay_cost_usd_total`. Each value is a time series of its
    /// own, so name only keys with few values.
    pub tag_labels: Vec<Box<str>>,
}
