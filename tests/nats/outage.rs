//! NATS that is unreachable, slow or restarted; and the command line's client, which survives that.

use std::sync::Arc;
use std::sync::Mutex;

use async_nats::HeaderMap;
use forebay::cli::nats::{NatsClient, Problem, Progress};
use forebay::clock::Clock;
use forebay::job::{Record, State};
use forebay::log::memory::MemoryLog;
use forebay::log::{Followed, Follower, Log};
use forebay::wire::{Cursor, submit};
use serde_json::json;

use crate::broker::{
    TestBroker, answering, ask, client, end, job, json_of, long_job, next, record_of, records, soon, text, until,
};
use crate::support::NatsServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_may_come_after_the_broker() {
    let mut server = NatsServer::reserve(true, &[]);
    let broker = TestBroker::open(&server.url(), MemoryLog::new(Clock::System));
    let request = submit::from_json(job(&json!([{"text": "x"}])).to_string().as_bytes()).unwrap();
    let submitted =
        broker.broker.submit(broker.broker.job(request, submit::Entrance::default()).unwrap()).await.unwrap();
    assert!(!submitted.reused && !broker.is_connected(), "the other entrances are open");
    server.up();
    let client = client(&server).await;
    until("readiness", || async { broker.is_connected() && broker.broker.unready().is_none() }).await;
    client.request("forebay.models", "".into()).await.expect("who is ready listens");
    let mut inbox = ask(&client, "run", HeaderMap::new(), job(&json!([{"text": "y"}])).to_string()).await;
    next(&mut inbox).await;
    assert_eq!(end(&records(&mut inbox, 0).await), State::Completed);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entrance_that_never_connected_closes_at_once() {
    let server = NatsServer::reserve(false, &[]);
    let broker = TestBroker::open(&server.url(), MemoryLog::new(Clock::System));
    let before = std::time::Instant::now();
    broker.stop().await;
    assert!(before.elapsed() < std::time::Duration::from_secs(5), "{:?}", before.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_cut_by_a_nats_restart_goes_on_by_cursor() {
    let mut server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut inbox = ask(&client, "run", HeaderMap::new(), long_job(600, 5).to_string()).await;
    let id = json_of(&next(&mut inbox).await)["id"].clone();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..30 {
        let message = next(&mut inbox).await;
        cursor = crate::broker::header(&message, "Forebay-Cursor").to_owned();
        seen.push(record_of(&message));
    }
    server.restart();
    drop(inbox);
    answering(&client).await;
    assert!(broker.is_connected());
    let body = json!({"id": id, "cursor": cursor}).to_string();
    let mut rest = ask(&client, "events", HeaderMap::new(), body).await;
    seen.extend(records(&mut rest, 30).await);
    assert_eq!(text(&seen), (0..600).map(|n| format!("{n} ")).collect::<String>());
    assert_eq!(broker.jobs().await, 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_nats_server_disturbs_no_other_reader() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut body = long_job(20_000, 0);
    body["id"] = "big".into();
    let mut inbox = ask(&client, "run", HeaderMap::new(), body.to_string()).await;
    next(&mut inbox).await;
    server.pause();
    let stream = broker.broker.stream(&"big".parse().unwrap()).await.unwrap();
    let mut follower = Follower::new(broker.broker.log.clone(), stream, Cursor::Start).unwrap();
    let local = async {
        loop {
            if let Followed::End(state) = follower.next(65_536).await.unwrap() {
                return state;
            }
        }
    };
    assert_eq!(soon("a reader beside NATS", local).await, State::Completed);
    server.resume();
    let records = records(&mut inbox, 0).await;
    assert_eq!(end(&records), State::Completed, "and what waited arrives");
    broker.stop().await;
}

fn collected(into: &Mutex<Vec<Record>>, seen: Progress<'_>) {
    if let Progress::Record(record) = seen {
        into.lock().unwrap().push(record.clone());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_shows_every_record_once_over_restarts() {
    let mut server = NatsServer::start(false);
    let log = MemoryLog::new(Clock::System);
    let first = TestBroker::open(&server.url(), log.clone() as Arc<dyn Log>);
    answering(&client(&server).await).await;
    let url = server.url();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let for_task = Arc::clone(&seen);
    let command = tokio::runtime::Handle::current().spawn(async move {
        let remote = NatsClient::connect(&url, "forebay", None).await?;
        remote.run(long_job(800, 5), &mut |step| collected(&for_task, step)).await
    });
    let shown = |count: usize| {
        let seen = Arc::clone(&seen);
        async move { seen.lock().unwrap().len() > count }
    };
    until("the first records", || shown(50)).await;
    first.stop().await;
    let second = TestBroker::open(&server.url(), log.clone() as Arc<dyn Log>);
    until("records of the second broker", || shown(100)).await;
    server.restart();
    let state = soon("the command", command).await.unwrap().unwrap();
    assert_eq!(state, State::Completed);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert!(seen.iter().map(|record| record.seq).eq(0..seen.len() as u64), "each once, in order");
    assert_eq!(text(&seen), (0..800).map(|n| format!("{n} ")).collect::<String>());
    assert_eq!(second.jobs().await, 1);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_says_that_it_cannot_connect() {
    let mut server = NatsServer::reserve(false, &[]);
    let connected = NatsClient::connect(&server.url(), "forebay", None).await;
    assert!(matches!(connected, Err(Problem::CannotConnect(_))), "no NATS");
    server.up();
    let remote = NatsClient::connect(&server.url(), "forebay", None).await.unwrap();
    let ran = remote.run(json!({"model": "m", "input": "x"}), &mut |_| {}).await;
    assert!(matches!(ran, Err(Problem::CannotConnect(_))), "no broker: {ran:?}");
    let broker = TestBroker::open(&server.url(), MemoryLog::new(Clock::System));
    answering(&client(&server).await).await;
    let ran = remote.run(json!({"model": "m", "input": "x", "nope": 1}), &mut |_| {}).await;
    assert!(matches!(&ran, Err(Problem::Refused(failure)) if failure.param.as_deref() == Some("nope")), "{ran:?}");
    broker.stop().await;
}
