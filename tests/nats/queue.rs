//! The JetStream work queue.

use std::sync::Arc;

use async_nats::jetstream;
use forebay::clock::Clock;
use forebay::log::memory::MemoryLog;
use forebay::log::{ListQuery, Log, Streams};
use futures_util::StreamExt;
use serde_json::json;

use crate::broker::{TestBroker, answering, client, header, job, json_of, next, services, soon, until};
use crate::support::NatsServer;

/// How many messages wait in the queue.
async fn waiting(jetstream: &jetstream::Context) -> u64 {
    let mut stream = jetstream.get_stream("FOREBAY_JOBS").await.unwrap();
    stream.info().await.unwrap().state.messages
}

async fn ended(log: &Arc<MemoryLog>) -> usize {
    let rows = log.list(ListQuery { limit: 1000, ..ListQuery::default() }).await.unwrap();
    rows.iter().filter(|stream| stream.tail().state.is_terminal()).count()
}

async fn publish(jetstream: &jetstream::Context, body: &serde_json::Value) {
    let acknowledged = jetstream.publish("forebay.jobs.team-a", body.to_string().into()).await.unwrap();
    soon("JetStream's own acknowledgement", acknowledged.into_future()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_published_while_the_entrance_is_closed_are_done_afterwards_each_once() {
    let server = NatsServer::start(true);
    let log = MemoryLog::new(Clock::System);
    let client = client(&server).await;
    let jetstream = jetstream::new(client.clone());
    let first = TestBroker::open(&server.url(), Arc::clone(&log) as Arc<dyn Log>);
    until("the queue", || async { jetstream.get_stream("FOREBAY_JOBS").await.is_ok() }).await;
    first.stop().await;

    // All bodies are equal, and none has a name: every message is a job of its own.
    for _ in 0..50 {
        publish(&jetstream, &job(&json!([{"text": "x"}]))).await;
    }
    assert_eq!((waiting(&jetstream).await, ended(&log).await), (50, 0));
    let second = TestBroker::open(&server.url(), Arc::clone(&log) as Arc<dyn Log>);
    until("the jobs", || async { ended(&log).await == 50 }).await;
    until("their acknowledgement", || async { waiting(&jetstream).await == 0 }).await;
    assert_eq!(second.jobs().await, 50);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_handed_out_again_joins_its_job() {
    let server = NatsServer::start(true);
    let log = MemoryLog::new(Clock::System);
    let client = client(&server).await;
    let jetstream = jetstream::new(client.clone());
    let (name, subjects) = ("FOREBAY_JOBS".to_owned(), vec!["forebay.jobs.*".to_owned()]);
    let retention = jetstream::stream::RetentionPolicy::WorkQueue;
    let config = jetstream::stream::Config { name, subjects, retention, ..Default::default() };
    let stream = jetstream.create_stream(config).await.unwrap();
    publish(&jetstream, &job(&json!([{"text": "x"}]))).await;

    // The life before this one: the job became durable, and its broker died before it could say so.
    let before = services(&server.url(), Arc::clone(&log) as Arc<dyn Log>);
    let key = format!("js-{}-1", stream.cached_info().created.unix_timestamp());
    let request = forebay::wire::submit::from_json(job(&json!([{"text": "x"}])).to_string().as_bytes()).unwrap();
    let known = forebay::wire::submit::Entrance {
        gateway: Some("team-a".parse().unwrap()),
        idempotency_key: Some(key),
        ..Default::default()
    };
    let submitted = before.submit(before.job(request, known).unwrap()).await.unwrap();
    assert!(!submitted.reused);

    let broker = TestBroker::open(&server.url(), Arc::clone(&log) as Arc<dyn Log>);
    until("the acknowledgement", || async { waiting(&jetstream).await == 0 }).await;
    assert_eq!(broker.jobs().await, 1, "it joined");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_dropped_and_told_to_its_own_subject() {
    let server = NatsServer::start(true);
    let (broker, client) = TestBroker::start(&server).await;
    let jetstream = jetstream::new(client.clone());
    until("the queue", || async { jetstream.get_stream("FOREBAY_JOBS").await.is_ok() }).await;
    let mut replies = client.subscribe("agents.replies.7").await.unwrap();
    publish(&jetstream, &json!("not a job")).await;
    let poison = json!({"id": "bad", "model": "scripted/a", "input": "x", "nope": 1,
        "options": {"deliver": {"subject": "agents.replies.7"}}});
    publish(&jetstream, &poison).await;
    publish(&jetstream, &job(&json!([{"text": "x"}]))).await;
    let message = next(&mut replies).await;
    assert_eq!(header(&message, "Nats-Service-Error"), "invalid");
    assert_eq!(header(&message, "Forebay-Job-Id"), "bad");
    assert_eq!(json_of(&message)["error"]["param"], "nope");
    until("the queue to be empty", || async { waiting(&jetstream).await == 0 }).await;
    assert_eq!(broker.jobs().await, 1, "only the good one");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_restart_in_the_middle_of_the_queue_loses_nothing() {
    let mut server = NatsServer::start(true);
    let (broker, client) = TestBroker::start(&server).await;
    let jetstream = jetstream::new(client.clone());
    until("the queue", || async { jetstream.get_stream("FOREBAY_JOBS").await.is_ok() }).await;
    for number in 0..200 {
        if number == 100 {
            server.restart();
            answering(&client).await;
        }
        let mut body = job(&json!([{"text": "x"}, {"delay_ms": 20}]));
        body["id"] = format!("q-{number}").into();
        // As a publisher does that wants to be sure: again until JetStream says that it has it.
        let published = || async {
            match jetstream.publish("forebay.jobs.default", body.to_string().into()).await {
                Ok(acknowledged) => acknowledged.await.is_ok(),
                Err(_) => false,
            }
        };
        until("JetStream's own acknowledgement", published).await;
    }
    until("all jobs", || async { broker.jobs().await == 200 }).await;
    until("the queue to be empty", || async { waiting(&jetstream).await == 0 }).await;
    drop(client.drain().await);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_jetstream_the_service_works() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut inbox =
        crate::broker::ask(&client, "run", async_nats::HeaderMap::new(), job(&json!(["done"])).to_string()).await;
    assert!(inbox.next().await.is_some());
    broker.stop().await;
}
