//! The one table of metrics: names, kinds, labels and help texts.
//!
//! `/metrics` takes its help texts from here, and the reference in `src/guide/metrics.md` is made of it. A test of
//! `src/telemetry.rs` moves every metric and compares what `/metrics` then prints with this table.

/// How a metric moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts observations in buckets; its series end in `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// The description of one metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// The name, without the endings of a histogram's series.
    pub name: &'static str,
    /// How the value moves: counter, gauge or histogram.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence, with its unit.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

/// The labels of what is measured at a provider, as the OpenTelemetry conventions name them.
const AT_PROVIDER: &[&str] = &["gen_ai_provider_name", "gen_ai_request_model"];

/// The descriptions of every metric.
pub const METRICS: &[Metric] = &[
    counter(
        "forebay_jobs_total",
        &["gateway", "task", "provider", "model", "state"],
        "Jobs that ended, by their terminal state: completed, failed, cancelled or interrupted.",
    ),
    gauge("forebay_jobs_in_flight", &[], "Jobs that were accepted and have not ended."),
    gauge("forebay_queue_depth", &[], "Jobs that wait in the queue because no target can be asked now."),
    counter(
        "forebay_attempts_total",
        &["provider", "model", "outcome"],
        "Attempts that ended, by outcome; one attempt is one try of one job at one target.",
    ),
    gauge(
        "forebay_provider_state",
        &["provider", "model"],
        "The circuit breaker of a target: 0 closed (it is asked), 1 half-open (it is tried), 2 open (it is left alone).",
    ),
    counter(
        "forebay_errors_total",
        &["code", "fault"],
        "Errors that were given to clients, by error code and by whose fault it was: caller, provider or forebay.",
    ),
    counter(
        "forebay_cache_total",
        &["result"],
        "Submitted jobs, by whether they joined an earlier job (join) or not (miss).",
    ),
    gauge(
        "forebay_cost_usd_total",
        &["gateway", "provider", "model"],
        "Money spent since the process started, in US dollars. The keys of metrics.tag_labels are further labels.",
    ),
    counter(
        "forebay_usage_missing_total",
        &[],
        "Attempts whose provider reported no usage, so that their tokens are estimated or unknown.",
    ),
    counter(
        "forebay_skipped_packets_total",
        &[],
        "Packets of providers of a kind that Forebay does not know and skipped.",
    ),
    counter(
        "forebay_passed_on_total",
        &["provider", "outcome"],
        "Requests that were passed on to a provider unchanged, by outcome: ok, refused (4xx), failed (5xx) or none (no answer).",
    ),
    histogram(
        "forebay_overhead_seconds",
        &["stage"],
        "Seconds that Forebay itself takes, by stage of a job; the stage dispatch is the sum from parse to commit.",
    ),
    histogram("forebay_log_commit_seconds", &[], "Seconds that one commit of the log takes: a write and a sync."),
    counter("forebay_log_records_total", &[], "Records that were made durable."),
    gauge("forebay_log_bytes", &[], "Bytes that the data folder takes on the disk."),
    gauge("forebay_log_blobs", &[], "Files in the blobs folder of the database; any number but 0 is an alarm."),
    gauge("forebay_log_refusing", &[], "1 while new jobs are refused because the disk is full or failed, else 0."),
    gauge("forebay_readers", &["door"], "Readers that are connected, by protocol: ws, sse or nats."),
    counter(
        "forebay_resumes_total",
        &["door"],
        "Readers that came with a cursor, by protocol: ws, sse, nats, stream (Durable Streams) or responses (OpenAI).",
    ),
    counter(
        "forebay_replayed_records_total",
        &[],
        "Records that were already in the log when their reader came, and were read from there.",
    ),
    counter(
        "forebay_webhooks_total",
        &["outcome"],
        "Tries to deliver a webhook, by outcome: delivered, failed (another try follows) or given_up.",
    ),
    gauge("forebay_webhooks_pending", &[], "Ended jobs whose webhook is not delivered yet."),
    gauge("forebay_nats_connected", &[], "1 while the connection to NATS stands, else 0."),
    counter(
        "forebay_nats_slow_consumer_total",
        &[],
        "Times that the NATS client dropped messages because they came too fast.",
    ),
    histogram(
        "gen_ai_client_token_usage",
        &["gen_ai_token_type", "gen_ai_provider_name", "gen_ai_request_model"],
        "Tokens of one attempt, by type: input or output.",
    ),
    histogram(
        "gen_ai_server_time_to_first_token",
        AT_PROVIDER,
        "Seconds from the request to a provider until the first output of its answer.",
    ),
    histogram(
        "gen_ai_server_time_per_output_token",
        AT_PROVIDER,
        "Seconds that a provider takes for each output token after the first.",
    ),
    histogram(
        "gen_ai_server_request_duration",
        AT_PROVIDER,
        "Seconds that one attempt takes, from its start to its end.",
    ),
];
