//! Which metrics and labels an expression of Prometheus uses, and which the broker has.
//!
//! Knows as much of the language as the deployment files need: no comments, no subqueries.

use std::collections::{BTreeMap, BTreeSet};

use forebay::telemetry::{Kind, METRICS, Metric};

/// The labels that Prometheus adds to every series.
const ADDED: [&str; 3] = ["instance", "job", "alertname"];
/// The series that Prometheus makes itself.
const OWN: [&str; 1] = ["up"];
const WORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// All metrics by name.
pub(crate) struct Metrics(BTreeMap<&'static str, &'static Metric>);

impl Metrics {
    /// The metrics that the broker has.
    pub(crate) fn all() -> Metrics {
        Metrics(METRICS.iter().map(|metric| (metric.name, metric)).collect())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().copied()
    }

    /// The metric of a series' name: a histogram's series have an ending.
    fn of_series(&self, series: &str) -> Option<&'static Metric> {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end));
        let is_histogram = |metric: &&Metric| metric.kind == Kind::Histogram;
        let plain = self.0.get(series).copied().filter(|metric| !is_histogram(metric));
        plain.or_else(|| self.0.get(base?).copied().filter(is_histogram))
    }
}

/// The series and the labels that an expression names.
fn uses(expression: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut series, mut labels) = (Vec::new(), Vec::new());
    let (mut rest, mut is_grouping, mut in_labels) = (expression, false, false);
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let len = match first {
            '"' => rest[1..].find('"').expect("strings end") + 2,
            '[' => rest.find(']').expect("ranges end") + 1,
            '0'..='9' => rest.find(|c: char| !is_name(c) && c != '.').unwrap_or(rest.len()),
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(len);
        match first {
            '{' => in_labels = true,
            '(' if is_grouping => (in_labels, is_grouping) = (true, false),
            '}' | ')' => in_labels = false,
            c if is_name(c) && !c.is_ascii_digit() => {
                if in_labels {
                    labels.push(token);
                } else if GROUPINGS.contains(&token) {
                    is_grouping = true;
                } else if !WORDS.contains(&token) && !after.trim_start().starts_with('(') {
                    // `sum by (…)` is a function although its parenthesis comes later.
                    let next = after.split_whitespace().next().unwrap_or_default();
                    if !GROUPINGS.contains(&next) {
                        series.push(token);
                    }
                }
            }
            _ => {}
        }
        rest = after;
    }
    (series, labels)
}

/// What an expression names that does not exist.
pub(crate) fn complaints(metrics: &Metrics, expression: &str) -> Vec<String> {
    let (series, labels) = uses(expression);
    let mut known: BTreeSet<&str> = ADDED.into();
    let mut found = Vec::new();
    for name in series {
        match metrics.of_series(name) {
            Some(metric) => {
                known.extend(metric.labels);
                known.extend((metric.kind == Kind::Histogram).then_some("le"));
            }
            None if OWN.contains(&name) => {}
            None => found.push(format!("no metric {name}")),
        }
    }
    found.extend(labels.into_iter().filter(|label| !known.contains(label)).map(|label| format!("no label `{label}`")));
    found
}

#[test]
fn a_metric_or_label_that_does_not_exist_is_found() {
    let metrics = Metrics::all();
    for (expression, wanted) in [
        ("forebay_jobs_in_flight", ""),
        ("sum by (state) (rate(forebay_jobs_total{instance=~\"a|b\"}[5m])) > 0.5", ""),
        ("histogram_quantile(0.99, sum by (le) (rate(forebay_overhead_seconds_bucket{stage=\"admit\"}[5m])))", ""),
        ("increase(forebay_cost_usd_total{gateway=\"a\", provider=\"b\", model=\"c\"}[1h])", ""),
        ("gen_ai_client_token_usage_sum{gen_ai_token_type=\"input\"} or vector(0)", ""),
        ("up{job=\"forebay\"} == 0", ""),
        ("rate(forebay_job_total[5m])", "no metric forebay_job_total"),
        ("sum by (state) (forebay_jobs_totals)", "no metric forebay_jobs_totals, no label `state`"),
        ("rate(forebay_overhead_seconds[5m])", "no metric forebay_overhead_seconds"),
        ("rate(forebay_jobs_total_sum[5m])", "no metric forebay_jobs_total_sum"),
        ("forebay_jobs_total{door=\"ws\"}", "no label `door`"),
        ("sum by (stat) (forebay_jobs_total)", "no label `stat`"),
        ("sum(forebay_jobs_total) by (stat)", "no label `stat`"),
        ("forebay_jobs_in_flight / on (instance, kind) forebay_queue_depth", "no label `kind`"),
        ("sum by (le) (forebay_readers)", "no label `le`"),
        ("down", "no metric down"),
    ] {
        assert_eq!(complaints(&metrics, expression).join(", "), wanted, "{expression}");
    }
}
