//! Which metrics and labels an expression of Prometheus uses, and which `src/telemetry.rs` defines.
//!
//! Knows as much of both languages as the deployment files need: no comments, no subqueries.

use std::collections::{BTreeMap, BTreeSet};

/// The labels that Prometheus adds to every series.
const ADDED: [&str; 3] = ["instance", "job", "alertname"];
/// The series that Prometheus makes itself.
const OWN: [&str; 1] = ["up"];
const WORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

struct Metric {
    is_histogram: bool,
    labels: BTreeSet<String>,
}

/// All metrics by name.
pub(crate) struct Metrics(BTreeMap<String, Metric>);

impl Metrics {
    /// The metrics that `source` describes, with the labels that its calls give them.
    pub(crate) fn of(source: &str) -> Metrics {
        let mut metrics = BTreeMap::new();
        for kind in ["counter", "gauge", "histogram"] {
            for call in calls(source, &format!("describe_{kind}!(")) {
                let name = literals(call)[0].0.to_owned();
                metrics.insert(name, Metric { is_histogram: kind == "histogram", labels: BTreeSet::new() });
            }
            for call in calls(source, &format!(" {kind}!(")) {
                let literals = literals(call);
                let metric = metrics.get_mut(literals[0].0).unwrap_or_else(|| panic!("not described: {call}"));
                metric
                    .labels
                    .extend(literals[1..].iter().filter(|(_, names)| *names).map(|(text, _)| (*text).to_owned()));
                if call.contains(", all)") {
                    let labels = calls(source, "Label::new(").into_iter().filter(|call| call.contains('"'));
                    metric.labels.extend(labels.map(|call| literals_of(call)[0].to_owned()));
                }
            }
        }
        assert!(metrics.len() > 20, "{} metrics: the reader of the source is broken", metrics.len());
        Metrics(metrics)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The metric of a series' name: a histogram's series have an ending.
    fn of_series(&self, series: &str) -> Option<&Metric> {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end));
        let plain = self.0.get(series).filter(|metric| !metric.is_histogram);
        plain.or_else(|| self.0.get(base?).filter(|metric| metric.is_histogram))
    }
}

/// The calls that begin with `start`, each to its closing parenthesis.
fn calls<'a>(source: &'a str, start: &str) -> Vec<&'a str> {
    let starts = source.match_indices(start).map(|(at, _)| at + start.len() - 1);
    starts
        .map(|at| {
            let mut depth = 0;
            let end = source[at..].find(|c: char| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            &source[at..=at + end.expect("calls are closed")]
        })
        .collect()
}

/// The string literals of a call, and whether `=>` follows: then it is the name of a label.
fn literals(call: &str) -> Vec<(&str, bool)> {
    let parts: Vec<&str> = call.split('"').collect();
    let inner = parts.iter().enumerate().skip(1).step_by(2);
    inner.map(|(at, text)| (*text, parts[at + 1].trim_start().starts_with("=>"))).collect()
}

fn literals_of(call: &str) -> Vec<&str> {
    literals(call).into_iter().map(|(text, _)| text).collect()
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
                known.extend(metric.labels.iter().map(String::as_str));
                known.extend(metric.is_histogram.then_some("le"));
            }
            None if OWN.contains(&name) => {}
            None => found.push(format!("no metric {name}")),
        }
    }
    found.extend(labels.into_iter().filter(|label| !known.contains(label)).map(|label| format!("no label {label}")));
    found
}

#[test]
fn a_metric_or_label_that_does_not_exist_is_found() {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/telemetry.rs")).unwrap();
    let metrics = Metrics::of(&source);
    for (expression, wanted) in [
        ("forebay_jobs_in_flight", ""),
        ("sum by (state) (rate(forebay_jobs_total{instance=~\"a|b\"}[5m])) > 0.5", ""),
        ("histogram_quantile(0.99, sum by (le) (rate(forebay_overhead_seconds_bucket{stage=\"admit\"}[5m])))", ""),
        ("increase(forebay_cost_usd_total{gateway=\"a\", provider=\"b\", model=\"c\"}[1h])", ""),
        ("gen_ai_client_token_usage_sum{gen_ai_token_type=\"input\"} or vector(0)", ""),
        ("up{job=\"forebay\"} == 0", ""),
        ("rate(forebay_job_total[5m])", "no metric forebay_job_total"),
        ("sum by (state) (forebay_jobs_totals)", "no metric forebay_jobs_totals, no label state"),
        ("rate(forebay_overhead_seconds[5m])", "no metric forebay_overhead_seconds"),
        ("rate(forebay_jobs_total_sum[5m])", "no metric forebay_jobs_total_sum"),
        ("forebay_jobs_total{door=\"ws\"}", "no label door"),
        ("sum by (stat) (forebay_jobs_total)", "no label stat"),
        ("sum(forebay_jobs_total) by (stat)", "no label stat"),
        ("forebay_jobs_in_flight / on (instance, kind) forebay_queue_depth", "no label kind"),
        ("sum by (le) (forebay_readers)", "no label le"),
        ("down", "no metric down"),
    ] {
        assert_eq!(complaints(&metrics, expression).join(", "), wanted, "{expression}");
    }
}
