//! What a configuration must be beyond its types: ranges, names, references, secrets that are there.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::origin::is_origin;
use super::problem::Path;
use super::{
    Config, HealthConfig, KeyConfig, LogConfig, ModelConfig, Nats, PriceConfig, ProviderConfig, QueueConfig, Secret,
    Server, Strategy, TlsConfig, WebhooksConfig,
};
use crate::job::caps::{
    ATTEMPTS_MAX, DURATION_MS_MAX, RETENTION_S_MAX, TAG_KEY_BYTES_MAX, TAG_LABELS_MAX, TARGETS_MAX,
};
use crate::job::{Gateway, ModelName, Retry, Timeouts, Usd};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
/// The longest that a shutdown may wait for jobs: an hour.
const DRAIN_S_MAX: u64 = 3_600;
/// Longest time that a breaker may stay open: ten minutes, so that a target is always tried again.
const OPEN_MS_MAX: u64 = 600_000;
/// The most jobs that may wait: each holds an actor, some kilobytes.
const WAITING_MAX: u64 = 1_000_000;
/// The longest that one webhook request may take: a minute, for it holds one of few slots.
const WEBHOOK_MS_MAX: u64 = 60_000;
/// The most tries of one webhook; further tries would give no new information.
const WEBHOOK_ATTEMPTS_MAX: u64 = 100;
/// A price above this is a slip of the decimal point: a million dollars.
const PRICE_MAX: Usd = Usd::from_pico(1_000_000_000_000_000_000);

/// A weight above this is a slip: targets differ by less.
const WEIGHT_MAX: f64 = 1_000_000.0;

/// Origins of pages: each request of a page is compared with them.
const ORIGINS_MAX: usize = 256;

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Every problem of `config`; empty when it can be used.
pub(super) fn check(config: &Config, env: Env<'_>) -> Vec<(Path, String)> {
    let mut found = Findings(Vec::new());
    check_server(&config.server, &mut found);
    check_open_door(config, &mut found);
    check_nats(&config.nats, env, &mut found);
    check_log(&config.log, &mut found);
    for (name, provider) in &config.providers {
        check_provider(name, provider, env, &mut found);
    }
    for (name, model) in &config.models {
        check_model(name, model, &mut found);
    }
    for (name, price) in &config.prices {
        check_price(name, price, &mut found);
    }
    for (name, gateway) in &config.gateways {
        let at = &["gateways", name][..];
        found.unless(name.parse::<Gateway>().is_ok(), at, || "the name must be 1 to 64 of A-Z a-z 0-9 _ -".into());
        check_retry(gateway.retry, &[at, &["retry"]].concat(), &mut found);
        check_timeouts(gateway.timeouts, &[at, &["timeouts"]].concat(), &mut found);
    }
    check_health(&config.health, &mut found);
    check_queue(&config.queue, &mut found);
    check_keys(&config.keys, &mut found);
    check_tag_labels(&config.metrics.tag_labels, &mut found);
    check_hosts("egress", &config.egress.allow_hosts, &mut found);
    check_webhooks(&config.webhooks, env, &mut found);
    found.0
}

struct Findings(Vec<(Path, String)>);

impl Findings {
    fn unless(&mut self, holds: bool, path: &[&str], message: impl FnOnce() -> String) {
        if !holds {
            self.0.push((path.iter().map(ToString::to_string).collect(), message()));
        }
    }

    fn range(&mut self, value: u64, (min, max): (u64, u64), path: &[&str]) {
        self.unless((min..=max).contains(&value), path, || format!("must be {min} to {max}"));
    }
}

fn check_server(server: &Server, found: &mut Findings) {
    found.unless(host_of(&server.listen).is_some(), &["server", "listen"], || {
        "must be an address and a port, for example 127.0.0.1:8087".into()
    });
    for (key, value, range) in [
        ("drain_s", server.drain_s, (0, DRAIN_S_MAX)),
        ("body_bytes_max", server.body_bytes_max as u64, (KIB, GIB)),
        ("bodies_bytes_max", server.bodies_bytes_max as u64, (KIB, 1024 * GIB)),
        ("connections_max", server.connections_max as u64, (1, 10_000_000)),
        ("jobs_max", server.jobs_max as u64, (1, 10_000_000)),
        ("hello_ms", server.hello_ms, (1, DURATION_MS_MAX)),
        ("heartbeat_ms", server.heartbeat_ms, (1, DURATION_MS_MAX)),
        ("long_poll_ms", server.long_poll_ms, (1, DURATION_MS_MAX)),
        ("arbiters", server.arbiters as u64, (0, 1024)),
    ] {
        found.range(value, range, &["server", key]);
    }
    let count = server.cors_origins.len();
    found.unless(count <= ORIGINS_MAX, &["server", "cors_origins"], || format!("must be at most {ORIGINS_MAX}"));
    for (at, origin) in server.cors_origins.iter().enumerate() {
        found.unless(is_origin(origin), &["server", "cors_origins", &at.to_string()], || {
            "must be a scheme and a host, for example https://app.example, or *".into()
        });
    }
    if let Some(Err((key, message))) = server.tls.as_ref().map(TlsConfig::acceptor) {
        found.unless(false, &["server", "tls", key], || message);
    }
}

/// The host of `host:port`.
fn host_of(listen: &str) -> Option<&str> {
    let (host, port) = listen.rsplit_once(':')?;
    let is_address = listen.parse::<SocketAddr>().is_ok();
    let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    (is_address || is_name && port.parse::<u16>().is_ok()).then_some(host)
}

/// Anything but loopback needs keys, or the operator's word that it does not.
fn check_open_door(config: &Config, found: &mut Findings) {
    let host = host_of(&config.server.listen).unwrap_or("localhost").trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let is_meant = !config.keys.is_empty() || config.server.allow_anonymous;
    found.unless(is_loopback || is_meant, &["server", "listen"], || {
        "is not loopback: add [[keys]], or say server.allow_anonymous = true".into()
    });
}

fn check_nats(nats: &Nats, env: Env<'_>, found: &mut Findings) {
    let token =
        |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let is_prefix = nats.prefix.len() <= 100 && nats.prefix.split('.').all(token);
    found.unless(is_prefix, &["nats", "prefix"], || "must be tokens of A-Z a-z 0-9 _ - with dots between them".into());
    if nats.enabled {
        check_secret(&nats.url, env, &["nats", "url"], found);
        if let Some(credentials) = &nats.credentials {
            check_secret(credentials, env, &["nats", "credentials"], found);
        }
    }
}

fn check_secret(secret: &Secret, env: Env<'_>, path: &[&str], found: &mut Findings) {
    match secret.resolve_with(env) {
        Ok(text) => found.unless(!text.trim().is_empty(), path, || "is empty".into()),
        Err(message) => found.unless(false, path, || message),
    }
}

fn check_log(log: &LogConfig, found: &mut Findings) {
    found.unless(!log.path.as_os_str().is_empty(), &["log", "path"], || "must not be empty".into());
    for (key, value, range) in [
        ("retention_s", log.retention_s, (1, RETENTION_S_MAX)),
        ("tombstone_s", log.tombstone_s, (1, RETENTION_S_MAX)),
        ("retention_bytes", log.retention_bytes, (MIB, u64::MAX)),
        ("journal_bytes_max", log.journal_bytes_max, (4 * MIB, 64 * GIB)),
    ] {
        found.range(value, range, &["log", key]);
    }
}

fn check_provider(name: &str, provider: &ProviderConfig, env: Env<'_>, found: &mut Findings) {
    let at = |key| ["providers", name, key];
    let is_name = name.parse::<Gateway>().is_ok();
    found.unless(is_name, &["providers", name], || "the name must be 1 to 64 of A-Z a-z 0-9 _ -".into());
    if let Some(url) = &provider.base_url {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let has_host = rest.is_some_and(|rest| !rest.starts_with(['/', ':']) && !rest.is_empty());
        let is_clean = !url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#');
        found.unless(has_host && is_clean, &at("base_url"), || {
            "must be an address like http://127.0.0.1:8080/v1, without a query".into()
        });
    }
    if let Some(key) = &provider.api_key {
        check_secret(key, env, &at("api_key"), found);
    }
    for (header, value) in &provider.headers {
        let path = ["providers", name, "headers", header];
        let is_token = !header.is_empty() && header.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        found.unless(is_token, &path, || "is not the name of a header".into());
        check_secret(value, env, &path, found);
    }
    let is_known = |prefill: &&str| matches!(*prefill, "exact" | "repeats" | "none");
    found.unless(provider.prefill.as_deref().as_ref().is_none_or(is_known), &at("prefill"), || {
        "is none of exact, repeats, none".into()
    });
    if let Some(script) = &provider.script {
        found.unless(script.is_file(), &at("script"), || format!("there is no file {}", script.display()));
    }
}

fn check_model(name: &str, model: &ModelConfig, found: &mut Findings) {
    let at = ["models", name];
    found.unless(name.parse::<ModelName>().is_ok(), &at, || "the name must be 1 to 256 bytes without blanks".into());
    let targets = ["models", name, "targets"];
    found.unless((1..=TARGETS_MAX).contains(&model.targets.len()), &targets, || {
        format!("must be 1 to {TARGETS_MAX} of `provider/model`")
    });
    for (index, target) in model.targets.iter().enumerate() {
        let path = ["models", name, "targets", &index.to_string()];
        found.unless(is_target(target), &path, || format!("`{target}` is not `provider/model`"));
    }
    check_strategy(name, model, found);
    check_timeouts(model.timeouts, &["models", name, "timeouts"], found);
}

fn check_strategy(name: &str, model: &ModelConfig, found: &mut Findings) {
    let weights = ["models", name, "weights"];
    if !model.weights.is_empty() {
        let is_weighted = model.strategy == Strategy::Weighted;
        found.unless(is_weighted, &weights, || "only with strategy = \"weighted\"".into());
        let (count, wanted) = (model.weights.len(), model.targets.len());
        found.unless(count == wanted, &weights, || format!("must be {wanted}, one for each target"));
    }
    for (index, weight) in model.weights.iter().enumerate() {
        let path = ["models", name, "weights", &index.to_string()];
        found.unless(*weight > 0.0 && *weight <= WEIGHT_MAX, &path, || {
            format!("must be more than 0 and at most {WEIGHT_MAX}")
        });
    }
    if let Some(sticky) = &model.sticky {
        found.unless(tag_of(sticky).is_some(), &["models", name, "sticky"], || {
            format!("must be `metadata.` and a key of 1 to {TAG_KEY_BYTES_MAX} bytes")
        });
    }
}

/// The key of `metadata.KEY`.
fn tag_of(name: &str) -> Option<&str> {
    name.strip_prefix("metadata.").filter(|key| !key.is_empty() && key.len() <= TAG_KEY_BYTES_MAX)
}

fn is_target(text: &str) -> bool {
    let name = text.parse::<ModelName>().ok();
    name.as_ref().and_then(ModelName::split).is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty())
}

fn check_price(name: &str, price: &PriceConfig, found: &mut Findings) {
    found.unless(is_target(name), &["prices", name], || "the name must be `provider/model`".into());
    let all = || price.of_tokens().into_iter().chain(price.of_others());
    let is_any = all().any(|(_, price)| price.is_some()) || !price.tiers.is_empty();
    found.unless(is_any, &["prices", name], || "names no price".into());
    check_amounts(all(), &["prices", name], found);
    for (index, tier) in price.tiers.iter().enumerate() {
        let path = ["prices", name, "tiers", &index.to_string()];
        let is_any = tier.of_tokens().iter().any(|(_, price)| price.is_some());
        found.unless(is_any, &path, || "names no price".into());
        found.unless(tier.above_input_tokens > 0, &path, || "above_input_tokens must be more than 0".into());
        check_amounts(tier.of_tokens().into_iter(), &path, found);
    }
}

fn check_amounts(all: impl Iterator<Item = (&'static str, Option<Usd>)>, at: &[&str], found: &mut Findings) {
    for (key, price) in all {
        let is_sane = price.is_none_or(|price| price <= PRICE_MAX);
        found.unless(is_sane, &[at, &[key]].concat(), || format!("must be at most {PRICE_MAX} dollars"));
    }
}

fn check_retry(retry: Retry, at: &[&str], found: &mut Findings) {
    for (key, value, range) in [
        ("max_attempts", retry.max_attempts.map(u64::from), (1, u64::from(ATTEMPTS_MAX))),
        ("delay_ms", retry.delay_ms, (0, DURATION_MS_MAX)),
        ("max_delay_ms", retry.max_delay_ms, (0, DURATION_MS_MAX)),
    ] {
        found.range(value.unwrap_or(range.0), range, &[at, &[key]].concat());
    }
}

fn check_timeouts(timeouts: Timeouts, at: &[&str], found: &mut Findings) {
    for (key, value) in [
        ("connect_ms", timeouts.connect_ms),
        ("first_token_ms", timeouts.first_token_ms),
        ("idle_ms", timeouts.idle_ms),
        ("total_ms", timeouts.total_ms),
        ("queue_ms", timeouts.queue_ms),
    ] {
        found.range(value.unwrap_or(1), (1, DURATION_MS_MAX), &[at, &[key]].concat());
    }
}

fn check_health(health: &HealthConfig, found: &mut Findings) {
    for (key, value, range) in [
        ("failures_in_a_row", u64::from(health.failures_in_a_row), (1, 1_000)),
        ("calls_min", u64::from(health.calls_min), (1, 1_000_000)),
        ("window_s", health.window_s, (1, 3_600)),
        ("open_ms", health.open_ms, (1, OPEN_MS_MAX)),
        ("open_ms_max", health.open_ms_max, (health.open_ms, OPEN_MS_MAX)),
    ] {
        found.range(value, range, &["health", key]);
    }
    // Without any retry in time the next one could not be foretold, so `retries_per_s` is not 0.
    for (key, value, (min, max)) in [
        ("error_rate", health.error_rate, (0.01, 1.0)),
        ("retry_share", health.retry_share, (0.0, 10.0)),
        ("retries_per_s", health.retries_per_s, (0.01, 1_000.0)),
    ] {
        found.unless((min..=max).contains(&value), &["health", key], || format!("must be {min} to {max}"));
    }
}

fn check_queue(queue: &QueueConfig, found: &mut Findings) {
    found.range(queue.waiting_max as u64, (0, WAITING_MAX), &["queue", "waiting_max"]);
    let is_key = |key: &str| !key.is_empty() && key.len() <= TAG_KEY_BYTES_MAX;
    let is_tag = queue.fair_by.is_none() || queue.fair_key().is_some_and(is_key);
    found.unless(is_tag, &["queue", "fair_by"], || "must be `metadata.` and a key, for example metadata.teamId".into());
}

fn check_keys(keys: &[KeyConfig], found: &mut Findings) {
    let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
    for (index, key) in keys.iter().enumerate() {
        let index = index.to_string();
        let at = |field| ["keys", &index, field];
        let is_digest = key.sha256.len() == 64 && key.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        found.unless(!key.name.is_empty(), &at("name"), || "must not be empty".into());
        found.unless(names.insert(&key.name), &at("name"), || "is the name of another key".into());
        found.unless(is_digest, &at("sha256"), || {
            "must be the 64 hexadecimal digits of the key's SHA-256, never the key itself".into()
        });
        found.unless(digests.insert(key.sha256.to_ascii_lowercase()), &at("sha256"), || "is another key's".into());
        found.unless(!key.gateways.is_empty(), &at("gateways"), || "must name a gateway".into());
        found.unless(!key.scopes.is_empty(), &at("scopes"), || "must be some of run, read, admin".into());
    }
}

fn check_hosts(section: &str, hosts: &[Box<str>], found: &mut Findings) {
    for (at, host) in hosts.iter().enumerate() {
        let is_host = !host.is_empty() && !host.contains(['/', '@', '*', ' ']) && !host.contains("://");
        found.unless(is_host, &[section, "allow_hosts", &at.to_string()], || {
            "must be a host or address, without scheme, port or path".into()
        });
    }
}

fn check_webhooks(webhooks: &WebhooksConfig, env: Env<'_>, found: &mut Findings) {
    if let Some(problem) = webhooks.secret.as_ref().and_then(|secret| secret.resolve_with(env).err()) {
        found.unless(false, &["webhooks", "secret"], || problem);
    }
    check_hosts("webhooks", &webhooks.allow_hosts, found);
    for (key, value, range) in [
        ("timeout_ms", webhooks.timeout_ms, (1, WEBHOOK_MS_MAX)),
        ("attempts_max", u64::from(webhooks.attempts_max), (1, WEBHOOK_ATTEMPTS_MAX)),
        ("delay_ms", webhooks.delay_ms, (1, DURATION_MS_MAX)),
        ("delay_ms_max", webhooks.delay_ms_max, (webhooks.delay_ms, DURATION_MS_MAX)),
        ("give_up_s", webhooks.give_up_s, (1, RETENTION_S_MAX)),
    ] {
        found.range(value, range, &["webhooks", key]);
    }
}

fn check_tag_labels(labels: &[Box<str>], found: &mut Findings) {
    let at = ["metrics", "tag_labels"];
    found.unless(labels.len() <= TAG_LABELS_MAX, &at, || format!("must be at most {TAG_LABELS_MAX} keys"));
    let is_key = |key: &str| !key.is_empty() && key.len() <= TAG_KEY_BYTES_MAX;
    let message = || format!("must be metadata keys of 1 to {TAG_KEY_BYTES_MAX} bytes, each once");
    let are_unique = labels.iter().collect::<BTreeSet<_>>().len() == labels.len();
    found.unless(labels.iter().all(|key| is_key(key)) && are_unique, &at, message);
}
