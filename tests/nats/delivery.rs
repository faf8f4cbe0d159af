//! `options.deliver.subject`.

use std::sync::Arc;

use async_nats::{HeaderMap, Subscriber};
use forebay::clock::Clock;
use forebay::job::Record;
use forebay::log::Log;
use forebay::log::memory::MemoryLog;
use serde_json::{Value, json};

use crate::broker::{TestBroker, answering, ask, client, header, job, long_job, next, record_of, text};
use crate::support::NatsServer;

fn delivered(mut body: Value, id: &str) -> Value {
    body["id"] = id.into();
    body["options"] = json!({"deliver": {"subject": "agents.replies.42"}});
    body
}

/// What a receiver makes of its subject: each record of `id` once, in order, to the terminal.
async fn receive(subject: &mut Subscriber, id: &str, mut seen: Vec<Record>) -> Vec<Record> {
    loop {
        let message = next(subject).await;
        if header(&message, "Forebay-Job-Id") != id {
            continue;
        }
        let record = record_of(&message);
        if record.seq < seen.len() as u64 {
            assert_eq!(record, seen[record.seq as usize], "a double is equal");
            continue;
        }
        assert_eq!(record.seq, seen.len() as u64, "no gap");
        let ended = record.event.terminal().is_some();
        seen.push(record);
        if ended {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_to_the_jobs_own_subject() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut subject = client.subscribe("agents.replies.*").await.unwrap();
    let body = delivered(job(&json!([{"text": ["a", "b"]}])), "d1").to_string();
    ask(&client, "run", HeaderMap::new(), body).await;
    assert_eq!(text(&receive(&mut subject, "d1", Vec::new()).await), "ab");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entrance_that_opens_again_delivers_what_the_last_one_left() {
    let server = NatsServer::start(false);
    let log = MemoryLog::new(Clock::System);
    let first = TestBroker::open(&server.url(), Arc::clone(&log) as Arc<dyn Log>);
    let client = client(&server).await;
    answering(&client).await;
    let mut subject = client.subscribe("agents.replies.*").await.unwrap();
    let body = delivered(long_job(300, 20), "d2").to_string();
    ask(&client, "run", HeaderMap::new(), body).await;
    let before = vec![record_of(&next(&mut subject).await)];
    // Its jobs go on: only the entrance closes, in the middle of the answer.
    first.stop().await;
    let second = TestBroker::open(&server.url(), Arc::clone(&log) as Arc<dyn Log>);
    let all = receive(&mut subject, "d2", before).await;
    assert_eq!(text(&all), (0..300).map(|n| format!("{n} ")).collect::<String>());
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_restart_in_the_middle_leaves_no_gap() {
    let mut server = NatsServer::start(true);
    let (broker, client) = TestBroker::start(&server).await;
    let jetstream = async_nats::jetstream::new(client.clone());
    // A stream keeps what is delivered, so that the receiver's own connection is not part of the test.
    let config = async_nats::jetstream::stream::Config {
        name: "REPLIES".into(),
        subjects: vec!["agents.replies.*".into()],
        ..Default::default()
    };
    let mut stream = jetstream.create_stream(config).await.unwrap();
    let body = delivered(long_job(400, 5), "d3").to_string();
    let inbox = ask(&client, "run", HeaderMap::new(), body).await;
    crate::broker::until("some records", || {
        let stream = stream.clone();
        async move { stream.get_info().await.is_ok_and(|info| info.state.messages > 50) }
    })
    .await;
    server.restart();
    drop(inbox);
    answering(&client).await;
    let whole = forebay::job::State::Completed;
    let total = loop {
        let found = broker.broker.stream(&"d3".parse().unwrap()).await.unwrap();
        if found.tail().state == whole {
            break found.tail().durable;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    crate::broker::until("all records", || {
        let stream = stream.clone();
        async move { stream.get_info().await.is_ok_and(|info| info.state.messages >= total) }
    })
    .await;
    let count = stream.info().await.unwrap().state.messages;
    let mut seen = std::collections::BTreeSet::new();
    for place in 1..=count {
        let message = stream.get_raw_message(place).await.unwrap();
        seen.insert(message.headers.get("Forebay-Seq").unwrap().as_str().parse::<u64>().unwrap());
    }
    assert_eq!(seen, (0..total).collect(), "no gap");
    broker.stop().await;
}
