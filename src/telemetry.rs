//! Every metric: its name, its labels, and the one function that moves it.
//!
//! Owns the recorder and what `/metrics` prints. Promises labels from closed sets: a model that
//! neither the configuration nor the catalog knows is `other`. Does not decide when something is counted.

#![expect(clippy::disallowed_macros, reason = "the one place where metrics are named")]

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use metrics::{Label, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::job::caps::MODEL_LABELS_MAX;
use crate::job::{AttemptOutcome, Charge, Failure, State, Task, Usage};

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds in seconds for our own work: 10 µs to 1 s.
const OVERHEAD_SECONDS: &[f64] =
    &[0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
/// Upper bounds in seconds for what providers do, as the OpenTelemetry conventions advise.
const PROVIDER_SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Upper bounds in tokens, as the OpenTelemetry conventions advise.
const TOKENS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

/// Who is asked for what: the labels of most metrics. Values come from the configuration.
#[derive(Clone, Debug)]
pub struct Labels {
    /// The gateway, or `other`.
    pub gateway: Box<str>,
    /// The task.
    pub task: Task,
    /// The provider, or `none` before one is chosen.
    pub provider: Box<str>,
    /// The provider's model if it is configured, else `other`.
    pub model: Box<str>,
}

/// Installs the recorder. Repeated calls do nothing.
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
    describe_counter!("forebay_jobs_total", "Jobs that ended, by terminal state");
    describe_gauge!("forebay_jobs_in_flight", "Jobs under way");
    describe_counter!("forebay_attempts_total", "Attempts that ended, by outcome");
    describe_histogram!(
        "forebay_overhead_seconds",
        "Our own time, by stage of a job's way; dispatch is parse to commit"
    );
    describe_histogram!("forebay_log_commit_seconds", "Write and sync of one commit");
    describe_counter!("forebay_log_records_total", "Records made durable");
    describe_gauge!("forebay_log_bytes", "Bytes of the log on disk");
    describe_gauge!("forebay_log_blobs", "Files in sled's blobs folder; anything but 0 is an alarm");
    describe_gauge!("forebay_log_refusing", "1 while new jobs are refused for want of disk");
    describe_gauge!("forebay_readers", "Readers attached, by door");
    describe_counter!("forebay_replayed_records_total", "Records read from before a reader's arrival");
    describe_counter!("forebay_resumes_total", "Readers that came with a cursor, by door");
    describe_gauge!("forebay_cost_usd_total", "Money spent");
    describe_counter!("forebay_usage_missing_total", "Attempts whose provider reported no usage");
    describe_counter!("forebay_cache_total", "Jobs answered by join, or not");
    describe_gauge!("forebay_queue_depth", "Jobs waiting");
    describe_gauge!("forebay_provider_state", "0 closed, 1 half-open, 2 open");
    describe_counter!("forebay_passed_on_total", "Requests passed on to a provider as they were, by outcome");
    describe_counter!("forebay_webhooks_total", "Webhooks tried, by outcome");
    describe_gauge!("forebay_webhooks_pending", "Jobs whose webhook is still to be told");
    describe_counter!("forebay_errors_total", "Errors given, by code and fault");
    describe_counter!("forebay_skipped_packets_total", "Provider packets of a kind we do not know");
    describe_gauge!("forebay_nats_connected", "1 while NATS is connected");
    describe_counter!("forebay_nats_slow_consumer_total", "Times the NATS client dropped messages");
    describe_histogram!("gen_ai_client_token_usage", "Tokens per attempt");
    describe_histogram!("gen_ai_server_time_to_first_token", "Seconds from request to first output");
    describe_histogram!("gen_ai_server_time_per_output_token", "Seconds per output token after the first");
    describe_histogram!("gen_ai_server_request_duration", "Seconds per attempt");
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

/// A job ended.
pub fn job_ended(labels: &Labels, state: State) {
    counter!("forebay_jobs_total", "gateway" => labels.gateway.to_string(), "task" => labels.task.as_str(),
        "provider" => labels.provider.to_string(), "model" => labels.model.to_string(), "state" => state.as_str())
    .increment(1);
}

/// Jobs under way, now.
pub fn jobs_in_flight(count: usize) {
    gauge!("forebay_jobs_in_flight").set(count as f64);
}

/// Jobs in line, now.
pub fn queue_depth(jobs: usize) {
    gauge!("forebay_queue_depth").set(jobs as f64);
}

/// A target's breaker: 0 closed, 1 half-open, 2 open. Only of targets whose models are labels.
pub fn provider_state(provider: &str, model: &str, state: u8) {
    gauge!("forebay_provider_state", "provider" => provider.to_owned(), "model" => model.to_owned())
        .set(f64::from(state));
}

/// An attempt ended.
pub fn attempt_ended(labels: &Labels, outcome: AttemptOutcome, took: Duration) {
    counter!("forebay_attempts_total", "provider" => labels.provider.to_string(), "model" => labels.model.to_string(),
        "outcome" => outcome.as_str())
    .increment(1);
    histogram!("gen_ai_server_request_duration", "gen_ai_provider_name" => labels.provider.to_string(),
        "gen_ai_request_model" => labels.model.to_string())
    .record(took);
}

/// The first output of an attempt came.
pub fn first_output(labels: &Labels, after: Duration) {
    histogram!("gen_ai_server_time_to_first_token", "gen_ai_provider_name" => labels.provider.to_string(),
        "gen_ai_request_model" => labels.model.to_string())
    .record(after);
}

/// An attempt's tokens, and how long each took after the first.
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

/// A part of the way in which the time is ours and not the provider's.
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

/// Our own time.
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

/// One commit of the log.
pub fn log_commit(took: Duration, records: u64) {
    histogram!("forebay_log_commit_seconds").record(took);
    counter!("forebay_log_records_total").increment(records);
}

/// How much disk the log takes, and whether sled made blob files (it must not).
pub fn log_size(bytes: u64, blobs: u64) {
    gauge!("forebay_log_bytes").set(bytes as f64);
    gauge!("forebay_log_blobs").set(blobs as f64);
}

/// Whether new jobs are refused for want of disk.
pub fn log_refusing(refusing: bool) {
    gauge!("forebay_log_refusing").set(f64::from(u8::from(refusing)));
}

/// A reader came or left. `door` is `ws`, `sse`, `nats` or `stream`.
pub fn readers(door: &'static str, change: f64) {
    gauge!("forebay_readers", "door" => door).increment(change);
}

/// Records that were there before their reader came.
pub fn replayed(records: u64) {
    counter!("forebay_replayed_records_total").increment(records);
}

/// A reader came with a cursor.
pub fn resumed(door: &'static str) {
    counter!("forebay_resumes_total", "door" => door).increment(1);
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

/// A charge became durable. `tags` are those that the configuration allow-lists as labels.
pub fn charged(charge: &Charge, labels: &Labels, tags: &[(String, String)]) {
    counter!("forebay_usage_missing_total")
        .increment(u64::from(charge.usage.source != crate::job::UsageSource::Provider));
    let mut all = vec![
        Label::new("gateway", labels.gateway.to_string()),
        Label::new("provider", labels.provider.to_string()),
        Label::new("model", labels.model.to_string()),
    ];
    all.extend(tags.iter().map(|(name, value)| Label::new(name.clone(), value.clone())));
    // A Prometheus counter of whole numbers cannot hold dollars: it is kept as a growing gauge.
    gauge!("forebay_cost_usd_total", all).increment(charge.cost.usd.to_f64_for_metrics());
}

/// `hit`, `miss` or `join`.
pub fn cache(result: &'static str) {
    counter!("forebay_cache_total", "result" => result).increment(1);
}

/// A provider was asked for what is no job; its status, or 0 when there was no answer.
pub fn passed_on(provider: &str, status: u16) {
    let outcome = match status {
        0 => "none",
        100..=399 => "ok",
        400..=499 => "refused",
        _ => "failed",
    };
    counter!("forebay_passed_on_total", "provider" => provider.to_owned(), "outcome" => outcome).increment(1);
}

/// A webhook was tried: `delivered`, `failed` (another try follows) or `given_up`.
pub fn webhook(outcome: &'static str) {
    counter!("forebay_webhooks_total", "outcome" => outcome).increment(1);
}

/// Jobs whose webhook is still to be told.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn webhooks_pending(count: usize) {
    gauge!("forebay_webhooks_pending").set(count as f64);
}

/// An error was given to somebody.
pub fn error(failure: &Failure) {
    let fault = match failure.fault {
        crate::job::Fault::Caller => "caller",
        crate::job::Fault::Provider => "provider",
        crate::job::Fault::Forebay => "forebay",
    };
    counter!("forebay_errors_total", "code" => failure.code.as_str(), "fault" => fault).increment(1);
}

/// A provider packet of a kind that we do not know.
pub fn skipped_packet() {
    counter!("forebay_skipped_packets_total").increment(1);
}

/// Whether NATS is connected.
pub fn nats_connected(connected: bool) {
    gauge!("forebay_nats_connected").set(f64::from(u8::from(connected)));
}

/// The NATS client dropped messages.
pub fn nats_slow_consumer() {
    counter!("forebay_nats_slow_consumer_total").increment(1);
}
