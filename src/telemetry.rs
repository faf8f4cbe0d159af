//! Every metric and the one function that moves it; names and labels are in `table`.
//!
//! Owns the recorder and what `/metrics` prints. Promises labels from closed sets: a model that
//! neither the configuration nor the catalog knows is `other`. Does not decide when something is counted.

#![expect(clippy::disallowed_macros, reason = "the one place where metrics are named")]

mod table;

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use metrics::{Label, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use table::{Kind, METRICS, Metric};

use crate::job::caps::MODEL_LABELS_MAX;
use crate::job::{AttemptOutcome, Charge, Failure, State, Task, Usage, UsageSource};

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds in seconds for our own work: 10 µs to 1 s.
const OVERHEAD_SECONDS: &[f64] =
    &[0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
/// Upper bounds in seconds for what providers do, as the OpenTelemetry conventions advise.
const PROVIDER_SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Upper bounds in tokens, as the OpenTelemetry conventions advise.
const TOKENS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

/// The labels of most metrics. Their values come from the configuration and the catalog.
#[derive(Clone, Debug)]
pub struct Labels {
    /// The gateway, or `other`.
    pub gateway: Box<str>,
    /// The task of the job.
    pub task: Task,
    /// The provider, or `none` before one is chosen.
    pub provider: Box<str>,
    /// The provider's model if it is configured, else `other`.
    pub model: Box<str>,
}

/// Installs the recorder of all metrics. Repeated calls do nothing.
#[expect(clippy::missing_panics_doc, reason = "the bucket lists above are not empty")]
pub fn install() {
    if RECORDER.get().is_some() {
        return;
    }
    let buckets = |builder: PrometheusBuilder, name: &str, bounds: &[f64]| {
        builder.set_buckets_for_metric(Matcher::Full(name.into()), bounds).expect("the buckets are not empty")
    };
    let mut builder = PrometheusBuilder::new();
    for name in ["forebay_overhead_seconds", "forebay_log_commit_seconds"] {
        builder = buckets(builder, name, OVERHEAD_SECONDS);
    }
    for name in
        ["gen_ai_server_time_to_first_token", "gen_ai_server_time_per_output_token", "gen_ai_server_request_duration"]
    {
        builder = buckets(builder, name, PROVIDER_SECONDS);
    }
    let recorder = buckets(builder, "gen_ai_client_token_usage", TOKENS).build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_ok() && RECORDER.set(handle).is_ok() {
        describe();
    }
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
}

/// What `/metrics` prints; empty before [`install`].
#[must_use]
pub fn render() -> String {
    RECORDER.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Keeps histograms from growing between scrapes; call it every few seconds.
pub fn upkeep() {
    if let Some(handle) = RECORDER.get() {
        handle.run_upkeep();
    }
}

/// Counts a job that ended.
pub fn job_ended(labels: &Labels, state: State) {
    counter!("forebay_jobs_total", "gateway" => labels.gateway.to_string(), "task" => labels.task.as_str(),
        "provider" => labels.provider.to_string(), "model" => labels.model.to_string(), "state" => state.as_str())
    .increment(1);
}

/// Sets the number of jobs that were accepted and have not ended.
pub fn jobs_in_flight(count: usize) {
    gauge!("forebay_jobs_in_flight").set(count as f64);
}

/// Sets the number of jobs that wait in the queue.
pub fn queue_depth(jobs: usize) {
    gauge!("forebay_queue_depth").set(jobs as f64);
}

/// Sets the state of a target's breaker: 0 closed, 1 half-open, 2 open. Only of targets whose models are labels.
pub fn provider_state(provider: &str, model: &str, state: u8) {
    gauge!("forebay_provider_state", "provider" => provider.to_owned(), "model" => model.to_owned())
        .set(f64::from(state));
}

/// Counts an attempt that ended, and its duration.
pub fn attempt_ended(labels: &Labels, outcome: AttemptOutcome, took: Duration) {
    counter!("forebay_attempts_total", "provider" => labels.provider.to_string(), "model" => labels.model.to_string(),
        "outcome" => outcome.as_str())
    .increment(1);
    histogram!("gen_ai_server_request_duration", "gen_ai_provider_name" => labels.provider.to_string(),
        "gen_ai_request_model" => labels.model.to_string())
    .record(took);
}

/// Records the time until the first output of an attempt.
pub fn first_output(labels: &Labels, after: Duration) {
    histogram!("gen_ai_server_time_to_first_token", "gen_ai_provider_name" => labels.provider.to_string(),
        "gen_ai_request_model" => labels.model.to_string())
    .record(after);
}

/// Records the tokens of an attempt, and how long each took after the first.
pub fn tokens(labels: &Labels, usage: &Usage, after_first: Duration) {
    for (kind, count) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
        if let Some(count) = count {
            histogram!("gen_ai_client_token_usage", "gen_ai_token_type" => kind,
                "gen_ai_provider_name" => labels.provider.to_string(), "gen_ai_request_model" => labels.model.to_string())
            .record(count as f64);
        }
    }
    if let Some(count) = usage.output_tokens.filter(|count| *count > 1) {
        histogram!("gen_ai_server_time_per_output_token", "gen_ai_provider_name" => labels.provider.to_string(),
            "gen_ai_request_model" => labels.model.to_string())
        .record(after_first.as_secs_f64() / (count - 1) as f64);
    }
}

/// A stage of a job in which the time is Forebay's own and not the provider's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OurStage {
    /// HTTP: from a request's head to the valid job, its body read.
    Parse,
    /// From the valid job to its actor on its way, its stream handed to the log.
    Admit,
    /// Until the actor runs.
    Start,
    /// Until the first attempt is chosen, encoded and handed to the log.
    Plan,
    /// Until that is durable, and `accepted` with it.
    Commit,
    /// From the job's arrival to its first request on its way to a provider.
    Dispatch,
    /// From a provider's packet to its events durable.
    Event,
    /// From the provider's end to the terminal durable.
    Seal,
    /// HTTP, collected answers: from the terminal durable to all records read into the answer.
    Render,
}

/// Records the time that Forebay itself took for a stage.
pub fn overhead(stage: OurStage, took: Duration) {
    let stage = match stage {
        OurStage::Parse => "parse",
        OurStage::Admit => "admit",
        OurStage::Start => "start",
        OurStage::Plan => "plan",
        OurStage::Commit => "commit",
        OurStage::Dispatch => "dispatch",
        OurStage::Event => "event",
        OurStage::Seal => "seal",
        OurStage::Render => "render",
    };
    histogram!("forebay_overhead_seconds", "stage" => stage).record(took);
}

/// Records one commit of the log and counts its records.
pub fn log_commit(took: Duration, records: u64) {
    histogram!("forebay_log_commit_seconds").record(took);
    counter!("forebay_log_records_total").increment(records);
}

/// Sets how much disk the log takes, and how many blob files sled made (it must make none).
pub fn log_size(bytes: u64, blobs: u64) {
    gauge!("forebay_log_bytes").set(bytes as f64);
    gauge!("forebay_log_blobs").set(blobs as f64);
}

/// Sets whether new jobs are refused for want of disk.
pub fn log_refusing(refusing: bool) {
    gauge!("forebay_log_refusing").set(f64::from(u8::from(refusing)));
}

/// Adds `change` to the number of connected readers. `entrance` is their protocol: `ws`, `sse` or `nats`.
pub fn readers(entrance: &'static str, change: f64) {
    gauge!("forebay_readers", "door" => entrance).increment(change);
}

/// Counts records that were in the log before their reader came.
pub fn replayed(records: u64) {
    counter!("forebay_replayed_records_total").increment(records);
}

/// Counts a reader that came with a cursor.
pub fn resumed(entrance: &'static str) {
    counter!("forebay_resumes_total", "door" => entrance).increment(1);
}

/// Whether a model of the catalog has time series of its own: the first [`MODEL_LABELS_MAX`] that are
/// asked for do, in this process, whatever the configuration becomes.
pub fn is_series(model: &str) -> bool {
    static SEEN: Mutex<BTreeSet<Box<str>>> = Mutex::new(BTreeSet::new());
    let mut seen = SEEN.lock().expect("nothing panics while it holds this lock");
    if seen.contains(model) {
        return true;
    }
    seen.len() < MODEL_LABELS_MAX && seen.insert(model.into())
}

/// Adds up a charge that became durable. `tags` are those that the configuration allow-lists as labels.
pub fn charged(charge: &Charge, labels: &Labels, tags: &[(String, String)]) {
    cost(labels, tags, charge.usage.source, charge.cost.usd.to_f64_for_metrics());
}

fn cost(labels: &Labels, tags: &[(String, String)], source: UsageSource, usd: f64) {
    counter!("forebay_usage_missing_total").increment(u64::from(source != UsageSource::Provider));
    let mut all = vec![
        Label::new("gateway", labels.gateway.to_string()),
        Label::new("provider", labels.provider.to_string()),
        Label::new("model", labels.model.to_string()),
    ];
    all.extend(tags.iter().map(|(name, value)| Label::new(name.clone(), value.clone())));
    // A Prometheus counter of whole numbers cannot hold dollars: it is kept as a growing gauge.
    gauge!("forebay_cost_usd_total", all).increment(usd);
}

/// Counts a submitted job by what came of it: `miss` (a new job) or `join` (an earlier job).
pub fn cache(result: &'static str) {
    counter!("forebay_cache_total", "result" => result).increment(1);
}

/// Counts a request that was passed on to a provider; `status` is its answer's, or 0 when there was no answer.
pub fn passed_on(provider: &str, status: u16) {
    let outcome = match status {
        0 => "none",
        100..=399 => "ok",
        400..=499 => "refused",
        _ => "failed",
    };
    counter!("forebay_passed_on_total", "provider" => provider.to_owned(), "outcome" => outcome).increment(1);
}

/// Counts a try to deliver a webhook: `delivered`, `failed` (another try follows) or `given_up`.
pub fn webhook(outcome: &'static str) {
    counter!("forebay_webhooks_total", "outcome" => outcome).increment(1);
}

/// Sets the number of ended jobs whose webhook is not delivered yet.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn webhooks_pending(count: usize) {
    gauge!("forebay_webhooks_pending").set(count as f64);
}

/// Counts an error that was given to a client.
pub fn error(failure: &Failure) {
    let fault = match failure.fault {
        crate::job::Fault::Caller => "caller",
        crate::job::Fault::Provider => "provider",
        crate::job::Fault::Forebay => "forebay",
    };
    counter!("forebay_errors_total", "code" => failure.code.as_str(), "fault" => fault).increment(1);
}

/// Counts a provider's packet of a kind that Forebay does not know.
pub fn skipped_packet() {
    counter!("forebay_skipped_packets_total").increment(1);
}

/// Sets whether the connection to NATS stands.
pub fn nats_connected(connected: bool) {
    gauge!("forebay_nats_connected").set(f64::from(u8::from(connected)));
}

/// Counts an occasion on which the NATS client dropped messages.
pub fn nats_slow_consumer() {
    counter!("forebay_nats_slow_consumer_total").increment(1);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::job::Code;

    fn move_all() {
        install();
        let labels = Labels { gateway: "g".into(), task: Task::Chat, provider: "p".into(), model: "m".into() };
        let second = Duration::from_secs(1);
        let usage = Usage { input_tokens: Some(2), output_tokens: Some(2), ..Usage::default() };
        job_ended(&labels, State::Completed);
        jobs_in_flight(1);
        queue_depth(1);
        provider_state("p", "m", 0);
        attempt_ended(&labels, AttemptOutcome::Completed, second);
        first_output(&labels, second);
        tokens(&labels, &usage, second);
        overhead(OurStage::Parse, second);
        log_commit(second, 1);
        log_size(1, 0);
        log_refusing(false);
        readers("ws", 1.0);
        replayed(1);
        resumed("ws");
        cost(&labels, &[], UsageSource::Provider, 1.0);
        cache("miss");
        passed_on("p", 200);
        webhook("delivered");
        webhooks_pending(1);
        error(&Failure::new(Code::Invalid, "x"));
        skipped_packet();
        nats_connected(true);
        nats_slow_consumer();
    }

    #[test]
    fn what_is_printed_is_what_the_table_says() {
        move_all();
        let mut printed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in render().lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (series, rest) = line.split_at(line.find(['{', ' ']).expect("a series has a value"));
            let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            printed.entry(series.to_owned()).or_default().extend(names.filter(|name| name != "le"));
        }
        for metric in METRICS {
            let series = match metric.kind {
                Kind::Histogram => format!("{}_bucket", metric.name),
                _ => metric.name.to_owned(),
            };
            let labels = metric.labels.iter().map(ToString::to_string).collect();
            assert_eq!(printed.remove(&series), Some(labels), "{}", metric.name);
            for end in ["_sum", "_count"] {
                assert_eq!(printed.remove(&format!("{}{end}", metric.name)).is_some(), metric.kind == Kind::Histogram);
            }
        }
        assert_eq!(printed.into_keys().collect::<Vec<_>>(), Vec::<String>::new(), "metrics that the table lacks");
        let help = METRICS.iter().find(|metric| metric.name == "forebay_readers").expect("it is there").help;
        assert!(render().contains(&format!("# HELP forebay_readers {help}")), "{}", render());
    }
}
