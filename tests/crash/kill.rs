//! `kill -9` at random moments under jobs and readers: nothing that was seen is lost.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream;
use forebay::job::{Cost, Event, Record, State, Usage, Usd};
use forebay::wire::frame::{ClientMessage, Label, Protocol, ServerMessage};
use forebay::ws::client::Client;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::broker::{Broker, BrokerClient, found, long_job, soon};
use crate::support::NatsServer;

const JOBS: usize = 50;
/// Number of jobs that are published while no broker runs.
const JOBS_MEANWHILE: usize = 5;
const ROUNDS: usize = 20;
const SOAK_ROUNDS: usize = 200;
const PRICES: &str = "[prices.\"scripted/any\"]\ninput_per_mtok_usd = 3\noutput_per_mtok_usd = 15";

/// Records that a reader of one job received.
struct ReadJob {
    id: String,
    whole_text: String,
    records: Vec<Record>,
    state: State,
}

/// Submits a job through one of three entrances, if it is not submitted already, and reads it.
async fn submit_and_read(
    api: BrokerClient,
    jetstream: jetstream::Context,
    job: Value,
    way: usize,
    whole_text: String,
) -> ReadJob {
    let id = job["id"].as_str().unwrap().to_owned();
    let submit = async {
        match way {
            0 => publish(&jetstream, &job).await,
            1 => drop(api.submit(&job).await),
            2 => run_over_ws(&api, &job).await,
            _ => {}
        }
    };
    let (records, ()) = tokio::join!(api.records(&id), submit);
    let (records, state) = records.unwrap_or_else(|failure| panic!("{id}: {failure}"));
    ReadJob { id, whole_text, records, state }
}

async fn publish(jetstream: &jetstream::Context, job: &Value) {
    let acknowledged = jetstream.publish("forebay.jobs.default", job.to_string().into()).await.unwrap();
    soon("JetStream's acknowledgement", acknowledged.into_future()).await.unwrap();
}

/// Sends `run` on every new connection until the broker answers `accepted`.
async fn run_over_ws(api: &BrokerClient, job: &Value) {
    let raw = serde_json::value::to_raw_value(job).unwrap();
    found("a job to be accepted over WebSocket", || async {
        let mut client = Client::connect(&api.ws, None, Protocol::Json).await.ok()?;
        client.say(&ClientMessage::Run { reference: Label::Number(1), job: raw.clone() }).await.ok()?;
        loop {
            match client.next().await.ok()? {
                ServerMessage::Accepted { .. } => return Some(()),
                ServerMessage::Error { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    })
    .await;
}

fn a_job(id: &str, random: &mut fastrand::Rng) -> (Value, String) {
    let (count, interval_ms) = (random.u64(1..60), random.u64(0..12));
    let on_crash = ["interrupt", "restart", "continue"][random.usize(..3)];
    let mut job = long_job(id, count, interval_ms, &json!({"on_crash": on_crash}));
    job["metadata"] = json!({"rule": on_crash});
    (job, (0..count).map(|n| format!("{n} ")).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_nothing_that_was_seen_and_ends_every_job_once() {
    let soak = std::env::var_os("FOREBAY_SOAK").is_some();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let nats = NatsServer::start(true);
    let mut broker = Broker::start(Some(&nats.url()), PRICES).await;
    let jetstream = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    found("the queue", || async { jetstream.get_stream("FOREBAY_JOBS").await.ok() }).await;
    let mut seen = Vec::new();
    for round in 0..if soak { SOAK_ROUNDS } else { ROUNDS } {
        let begin = |number: usize, random: &mut fastrand::Rng| {
            let (job, text) = a_job(&format!("r{round}-{number}"), random);
            tokio::spawn(submit_and_read(broker.client(), jetstream.clone(), job, number % 3, text))
        };
        let mut jobs: Vec<_> = (0..JOBS).map(|number| begin(number, &mut random)).collect();
        tokio::time::sleep(Duration::from_millis(random.u64(0..500))).await;
        broker.kill();
        for number in JOBS..JOBS + JOBS_MEANWHILE {
            let (job, text) = a_job(&format!("r{round}-{number}"), &mut random);
            publish(&jetstream, &job).await;
            jobs.push(tokio::spawn(submit_and_read(broker.client(), jetstream.clone(), job, 3, text)));
        }
        broker.up().await;
        seen.extend(join_all(jobs).await.into_iter().map(Result::unwrap));
    }
    let acknowledged = || async {
        let mut queue = jetstream.get_stream("FOREBAY_JOBS").await.ok()?;
        (queue.info().await.ok()?.state.messages == 0).then_some(())
    };
    found("every published job to be acknowledged", acknowledged).await;

    broker.kill();
    broker.up().await;
    let mut states = HashMap::<State, usize>::new();
    for seen in &seen {
        check(seen, &broker).await;
        *states.entry(seen.state).or_default() += 1;
    }
    println!("{states:?}");
    assert!(states[&State::Completed] > seen.len() / 10, "{states:?}");
    assert!(states.contains_key(&State::Interrupted), "some job was under way at some kill: {states:?}");
    assert_eq!(states.len(), 2, "{states:?}");
    check_books(&seen, &broker).await;
}

/// What a reader saw is what is there, and it is what the rule allows.
async fn check(seen: &ReadJob, broker: &Broker) {
    let ReadJob { id, whole_text, records, state } = seen;
    let (stored, stored_state) = broker.records(id).await;
    assert_eq!((&stored, stored_state), (records, *state), "{id}: as seen, so stored");
    let terminals = records.iter().filter(|record| record.event.terminal().is_some()).count();
    assert_eq!(terminals, 1, "{id}: {records:?}");
    assert_eq!(records.last().unwrap().event.terminal(), Some(*state), "{id}: the terminal is last");
    let mut text = String::new();
    for record in records {
        match &record.event {
            Event::Delta(delta) => text.push_str(&delta.text),
            Event::Restarted(_) => text.clear(),
            _ => {}
        }
    }
    match state {
        State::Completed => assert_eq!(&text, whole_text, "{id}"),
        _ => assert!(whole_text.starts_with(&text), "{id}: {text}"),
    }
}

/// The sums of the ledger are those of the logs.
async fn check_books(seen: &[ReadJob], broker: &Broker) {
    let (mut usd, mut output_tokens, mut attempts) = (Usd::ZERO, 0, 0);
    for record in seen.iter().flat_map(|seen| &seen.records) {
        attempts += u64::from(matches!(record.event, Event::Attempt(_)));
        let (cost, usage) = paid(&record.event);
        usd += cost.usd;
        output_tokens += usage.output_tokens.unwrap_or_default();
    }
    assert!(usd > Usd::ZERO);
    for rule in ["interrupt", "restart", "continue"] {
        let costs = broker.json(&format!("/v1/costs?tag.rule={rule}")).await;
        assert!(costs["total"]["jobs"].as_u64() > Some(0), "{costs}");
    }
    let before = broker.json("/v1/costs").await;
    let rebuilt = broker.rebuild_costs().await;
    assert_eq!(rebuilt["lines"], json!(attempts), "a line for each attempt");
    assert_eq!(broker.json("/v1/costs").await, before, "added up again, it is the same");
    let total = before["total"].clone();
    let expected = json!([seen.len(), attempts, output_tokens, usd]);
    assert_eq!(json!([total["jobs"], total["attempts"], total["output_tokens"], total["usd"]]), expected, "{total}");
}

fn paid(event: &Event) -> (Cost, Usage) {
    match event {
        Event::Completed(end) => (end.cost, end.usage.clone()),
        Event::Failed(end) => (end.cost, end.usage.clone()),
        Event::Cancelled(end) => (end.cost, end.usage.clone()),
        Event::Interrupted(end) => (end.cost, end.usage.clone()),
        _ => (Cost::FREE, Usage::default()),
    }
}
