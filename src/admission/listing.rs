//! The state of every target, as `GET /v1/providers` and the metrics show it.

use serde_json::{Map, Value, json};

use super::Admission;
use super::targets::TargetHealth;
use crate::job::{Limits, Window};
use crate::policy::breaker::{Breaker, Report};
use crate::snapshot::ConfigSnapshot;
use crate::telemetry;

impl Admission {
    /// Lists the providers that are on, each with the targets that have been asked.
    #[must_use]
    pub fn listing(&self, snapshot: &ConfigSnapshot) -> Value {
        let all = self.queue.targets.all();
        let of = |provider: &str| {
            let targets = all.iter().filter(|target_health| *target_health.target.provider == *provider);
            targets.map(|target_health| self.row(target_health)).collect::<Vec<_>>()
        };
        let provider = |(name, kind): &(Box<str>, &'static str)| json!({"id": name, "kind": kind, "targets": of(name)});
        json!({"object": "list", "data": snapshot.on.iter().map(provider).collect::<Vec<_>>()})
    }

    /// Sets the metrics of all targets that have time series.
    pub fn measure(&self, snapshot: &ConfigSnapshot) {
        for target_health in
            self.queue.targets.all().iter().filter(|target_health| snapshot.has_series(&target_health.target))
        {
            let state = match self.report(target_health).breaker {
                Breaker::Closed => 0,
                Breaker::HalfOpen => 1,
                Breaker::Open => 2,
            };
            telemetry::provider_state(&target_health.target.provider, &target_health.target.model, state);
        }
    }

    fn row(&self, target_health: &TargetHealth) -> Value {
        let report = self.report(target_health);
        let mut row = json!({
            "model": target_health.target.model,
            "state": match report.breaker {
                Breaker::Closed => "closed",
                Breaker::HalfOpen => "half_open",
                Breaker::Open => "open",
            },
            "failures_in_a_row": report.failures_in_a_row,
            "calls": report.calls,
            "errors": report.errors,
        });
        if let Some(unavailable) = report.shut {
            row["retry_after_ms"] = json!(unavailable.until.ms_since(self.queue.now()));
            row["reason"] = json!(unavailable.reason);
        }
        if let Some(time) = report.first_token {
            row["first_token_ms"] = json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
        if !report.limits.is_empty() {
            row["limits"] = limits(&report.limits);
        }
        row
    }

    fn report(&self, target_health: &TargetHealth) -> Report {
        target_health.health().report(&self.queue.rules.load().health, self.queue.now())
    }
}

fn limits(limits: &Limits) -> Value {
    let mut shown = Map::new();
    for (name, window) in [("requests", limits.requests), ("tokens", limits.tokens)] {
        if let Some(Window { limit, remaining, reset_ms }) = window {
            shown.insert(name.into(), json!({"limit": limit, "remaining": remaining, "reset_ms": reset_ms}));
        }
    }
    Value::Object(shown)
}
