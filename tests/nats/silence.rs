//! The heartbeats that a reader gets while no event happens.

use std::sync::Arc;

use async_nats::{HeaderMap, Message, Subscriber};
use forebay::cli::nats::{NatsClient, Progress};
use forebay::job::State;
use forebay::snapshot::ConfigSnapshot;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::broker::{TestBroker, ask, header, job, json_of, next, soon};
use crate::service::headers;
use crate::support::NatsServer;

/// Starts a broker whose readers get a heartbeat every 20 ms.
async fn beating(server: &NatsServer) -> (TestBroker, async_nats::Client) {
    let (broker, client) = TestBroker::start(server).await;
    let mut config = broker.broker.snapshot.load().config.clone();
    config.server.heartbeat_ms = 20;
    broker.broker.snapshot.store(Arc::new(ConfigSnapshot::build(config, &|_| None).unwrap()));
    (broker, client)
}

/// Makes a job whose answer is `a` and then silence.
fn silent_job(id: &str, options: Value) -> Value {
    let mut body = job(&json!([{"text": "a"}, "stall"]));
    body["id"] = id.into();
    body["options"] = options;
    body
}

async fn any(inbox: &mut Subscriber) -> Message {
    soon("a message", inbox.next()).await.expect("the inbox is open")
}

fn is_heartbeat(message: &Message) -> bool {
    header(message, "Forebay-Kind") == "heartbeat"
}

/// Reads on to the record of this kind and returns its cursor.
async fn up_to(inbox: &mut Subscriber, kind: &str) -> String {
    loop {
        let message = any(inbox).await;
        if header(&message, "Forebay-Kind") == kind {
            return header(&message, "Forebay-Cursor").to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_gets_heartbeats_that_are_no_records() {
    let server = NatsServer::start(false);
    let (broker, client) = beating(&server).await;
    let mut inbox = ask(&client, "run", HeaderMap::new(), silent_job("quiet", json!({})).to_string()).await;
    let cursor = up_to(&mut inbox, "delta").await;
    let body = json!({"id": "quiet", "cursor": cursor}).to_string();
    let mut later = ask(&client, "events", headers(&[("Accept", "application/msgpack")]), body).await;
    for _ in 0..3 {
        let (message, packed) = (any(&mut inbox).await, any(&mut later).await);
        for message in [&message, &packed] {
            assert!(is_heartbeat(message), "{message:?}");
            assert_eq!((header(message, "Forebay-Seq"), header(message, "Forebay-Cursor")), ("", &*cursor));
        }
        assert_eq!(json_of(&message), json!({"kind": "heartbeat"}));
        assert_eq!(rmp_serde::from_slice::<Value>(&packed.payload).unwrap(), json!({"kind": "heartbeat"}));
    }
    broker.broker.cancel(&"quiet".parse().unwrap(), "client").await.unwrap();
    up_to(&mut inbox, "cancelled").await;
    up_to(&mut later, "cancelled").await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_of_the_jobs_own_gets_records_only() {
    let server = NatsServer::start(false);
    let (broker, client) = beating(&server).await;
    let mut subject = client.subscribe("agents.replies").await.unwrap();
    let body = silent_job("kept", json!({"deliver": {"subject": "agents.replies"}}));
    let mut inbox = ask(&client, "run", HeaderMap::new(), body.to_string()).await;
    for _ in 0..3 {
        up_to(&mut inbox, "heartbeat").await;
    }
    broker.broker.cancel(&"kept".parse().unwrap(), "client").await.unwrap();
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "cancelled") {
        let message = any(&mut subject).await;
        assert_eq!(header(&message, "Forebay-Seq"), kinds.len().to_string());
        kinds.push(header(&message, "Forebay-Kind").to_owned());
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_client_does_not_take_a_heartbeat_for_a_record() {
    let server = NatsServer::start(false);
    let (broker, client) = beating(&server).await;
    let remote = NatsClient::connect(&server.url(), "forebay", None).await.unwrap();
    let mut inbox = ask(&client, "run", HeaderMap::new(), silent_job("both", json!({})).to_string()).await;
    next(&mut inbox).await;
    let mut seen = Vec::new();
    let mut see = |what: Progress<'_>| {
        if let Progress::Record(record) = what {
            seen.push((record.seq, record.event.kind()));
        }
    };
    let beats = async {
        for _ in 0..10 {
            up_to(&mut inbox, "heartbeat").await;
        }
        broker.broker.cancel(&"both".parse().unwrap(), "client").await.unwrap();
    };
    let run = soon("the run", remote.run(silent_job("both", json!({})), &mut see));
    let (ended, ()) = tokio::join!(run, beats);
    assert_eq!(ended.unwrap(), State::Cancelled);
    assert_eq!(seen, [(0, "accepted"), (1, "attempt"), (2, "delta"), (3, "cancelled")]);
    broker.stop().await;
}
