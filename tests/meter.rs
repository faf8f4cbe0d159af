//! The metering actor over a real log: what was appended is what a query finds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use actix::Arbiter;
use forebay::clock::Clock;
use forebay::config::Config;
use forebay::job::{
    AttemptOutcome, Bill, Charge, Completed, Cost, Event, Job, Target, Timestamp, Timing, Usage, UsageSource,
};
use forebay::log::memory::MemoryLog;
use forebay::log::{Batch, Log, Opened, Streams};
use forebay::meter::{CostQuery, Meter, PriceBook, Sale};
use forebay::wire::submit::{Entrance, from_json};

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

fn job(team: &str) -> Job {
    let json = format!(r#"{{"model":"openai/gpt","input":"x","metadata":{{"teamId":"{team}"}}}}"#);
    from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap()
}

fn cost(book: &PriceBook, job: &Job, target: &Target, usage: &Usage) -> Cost {
    let bill = Bill::default();
    book.cost(&Sale { job, target, kind: "none", region: None, usage, bill: &bill, at: Timestamp(0) })
}

/// Runs a job of one attempt to its end and returns its charge.
async fn run(log: &Arc<MemoryLog>, meter: &Meter, team: &str) -> Charge {
    let job = job(team);
    let target = Target { provider: "openai".into(), model: "gpt".into() };
    let usage =
        Usage { input_tokens: Some(1000), output_tokens: Some(100), source: UsageSource::Provider, ..Usage::default() };
    let cost = cost(&meter.book(), &job, &target, &usage);
    let charge = Charge {
        job: job.id.clone(),
        attempt: 1,
        at: Timestamp(3_600_000),
        gateway: job.gateway.clone(),
        model: job.model.clone(),
        provider: target.provider,
        provider_model: target.model,
        metadata: job.metadata.clone(),
        outcome: AttemptOutcome::Completed,
        usage: usage.clone(),
        cost,
        closes_job: true,
        unpriced_job: !cost.priced,
    };
    let Opened::New(mut writer) = log.open(Arc::new(job)).await.unwrap() else { panic!("a new job") };
    let (finish_reason, timing) = ("stop".into(), Timing::default());
    let end =
        Event::Completed(Completed { finish_reason, native_finish_reason: None, usage, cost, timing, attempts: 1 });
    writer.append(Batch { events: vec![end], charges: vec![charge.clone()], ..Batch::default() }).await.unwrap();
    charge
}

#[actix::test]
async fn what_was_charged_is_what_a_query_finds() {
    forebay::telemetry::install();
    let log = MemoryLog::new(Clock::System);
    let prices = "prices.\"openai/gpt\" = { input_per_mtok_usd = 2.5, output_per_mtok_usd = 10 }\n";
    let meter = Meter::start_in_arbiter(&Arbiter::current(), Arc::clone(&log) as Arc<dyn Log>, &config(prices));
    let query = |pairs: &[(&str, &str)]| CostQuery::parse(pairs.iter().copied()).unwrap();
    assert_eq!(meter.query(CostQuery::default()).await.unwrap().rows, []);

    for team in ["AI", "AI", "ops"] {
        let charge = run(&log, &meter, team).await;
        meter.settled(vec![charge]).await;
    }
    let answer = meter.query(query(&[("by", "teamId")])).await.unwrap();
    let rows: Vec<_> = answer.rows.iter().map(|row| (row.key["teamId"].clone(), row.sums.usd.to_string())).collect();
    assert_eq!(rows, [("AI".into(), "0.007".into()), ("ops".into(), "0.0035".into())]);
    assert_eq!((answer.total.jobs, answer.total.unpriced_jobs), (3, 0));
    assert_eq!(meter.query(query(&[("since", "1970-01-02")])).await.unwrap().total.jobs, 0);

    // The label shows the money under the configured names, and nothing under the unlisted tag.
    let shown = forebay::telemetry::render();
    let series = shown.lines().find(|line| line.starts_with("forebay_cost_usd_total{")).expect("a series");
    assert!(series.contains("model=\"gpt\"") && !series.contains("teamId"), "{series}");

    assert_eq!(meter.rebuild().await.unwrap(), 3, "lines of the ledger");
    assert_eq!(meter.query(query(&[("by", "teamId")])).await.unwrap(), answer, "a rebuild changes nothing");
}

#[actix::test]
async fn a_reload_changes_prices_and_labels_from_then_on() {
    let log = MemoryLog::new(Clock::System);
    let meter = Meter::start_in_arbiter(&Arbiter::current(), Arc::clone(&log) as Arc<dyn Log>, &Config::default());
    let before = meter.book();
    assert!(!run(&log, &meter, "AI").await.cost.priced, "no price is known yet");
    let prices = "metrics.tag_labels = [\"teamId\"]\nprices.\"openai/gpt\" = { request_usd = 1 }\n";
    meter.reload(Arc::new(config(prices))).await;
    let charge = run(&log, &meter, "reloaded").await;
    assert_eq!(charge.cost, Cost { usd: "1".parse().unwrap(), priced: true });
    let target = Target { provider: "openai".into(), model: "gpt".into() };
    assert!(!cost(&before, &job("AI"), &target, &charge.usage).priced, "who holds the old book keeps it");
    let total = meter.query(CostQuery::default()).await.unwrap().total;
    assert_eq!((total.jobs, total.unpriced_jobs, total.usd.to_string()), (2, 1, "1".to_owned()));
}

#[actix::test]
async fn many_queries_at_once_are_all_answered() {
    let log = MemoryLog::new(Clock::System);
    let meter = Meter::start_in_arbiter(&Arbiter::current(), Arc::clone(&log) as Arc<dyn Log>, &Config::default());
    run(&log, &meter, "AI").await;
    let all = (0..1000).map(|_| meter.query(CostQuery::default()));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.into_iter().all(|answer| answer.is_ok_and(|answer| answer.total.jobs == 1)));
}
