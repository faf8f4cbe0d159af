//! Jobs over the socket: submitted, cancelled, left alone; and a broker that goes down.

use std::time::Duration;

use forebay::job::State;
use forebay::wire::frame::{Close, Protocol, ServerMessage};
use serde_json::{Value, json};

use crate::support::{Raw, Received, TestBroker, completed, spawn, within};

fn job(id: &str, script: Value, options: Value) -> Value {
    let input = json!({"messages": [], "script": script});
    json!({"type": "run", "ref": id, "job": {"model": "scripted/m", "id": id, "input": input, "options": options}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_accepted_once_and_followed_to_its_end_in_both_protocols() {
    let broker = TestBroker::start("").await;
    for (protocol, reused) in [(Protocol::Json, false), (Protocol::Msgpack, true)] {
        let mut raw = Raw::connect(&broker, "/v1/ws", protocol, "").await;
        assert!(matches!(raw.message().await, ServerMessage::Welcome { .. }));
        raw.say(job("a", json!([{"text": ["Hel", "lo"]}]), json!({}))).await;
        let ServerMessage::Accepted { reference, id, reused: said, .. } = raw.message().await else { panic!() };
        assert_eq!((reference, id.as_str(), said), ("a".into(), "a", reused));
        raw.subscribe("s", "a", "-1", 100_000).await;
        assert_eq!(raw.read_out("s").await.end, Some(State::Completed));
    }
    let mut raw = Raw::plain(&broker).await;
    raw.say(job("a", json!([{"text": "another body"}]), json!({}))).await;
    assert!(matches!(raw.message().await, ServerMessage::Error { error, .. } if error.code.as_str() == "conflict"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_cancels_only_a_job_that_said_so() {
    let broker = TestBroker::start("").await;
    let script = json!([{"repeat": {"text": "x", "count": 20, "interval_ms": 20}}]);
    let mut raw = Raw::plain(&broker).await;
    raw.say(job("goes", script.clone(), json!({"on_disconnect": "cancel"}))).await;
    assert!(matches!(raw.message().await, ServerMessage::Accepted { .. }));
    raw.say(job("stays", script, json!({}))).await;
    assert!(matches!(raw.message().await, ServerMessage::Accepted { .. }));
    drop(raw);
    let mut other = Raw::plain(&broker).await;
    for (id, end) in [("goes", State::Cancelled), ("stays", State::Completed)] {
        other.subscribe(id, id, "-1", 100_000).await;
        assert_eq!(other.read_out(id).await.end, Some(end), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_ends_for_its_reader() {
    let broker = TestBroker::start("").await;
    let mut raw = Raw::plain(&broker).await;
    raw.say(job("c", json!([{"text": "x"}, "stall"]), json!({}))).await;
    assert!(matches!(raw.message().await, ServerMessage::Accepted { .. }));
    raw.subscribe("s", "c", "-1", 100_000).await;
    raw.say(json!({"type": "cancel", "id": "c"})).await;
    assert_eq!(raw.read_out("s").await.end, Some(State::Cancelled));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_down_says_so_lets_readers_finish_and_closes_for_a_restart() {
    let broker = TestBroker::start("").await;
    let mut writer = broker.open("j").await;
    let (mut idle, mut reader) = (Raw::plain(&broker).await, Raw::plain(&broker).await);
    reader.subscribe("s", "j", "-1", 100_000).await;
    for _ in 0..3 {
        reader.message().await;
    }
    let svc = std::sync::Arc::clone(&broker.svc);
    let draining = spawn(async move { svc.drain(Duration::from_secs(5)).await });
    for raw in [&mut idle, &mut reader] {
        assert!(matches!(raw.message().await, ServerMessage::Goaway { retry_after_ms } if retry_after_ms > 0));
    }
    assert_eq!(idle.close_code().await, Some(1012));
    reader.say(job("late", json!([]), json!({}))).await;
    assert!(
        matches!(reader.message().await, ServerMessage::Error { error, .. } if error.code.as_str() == "overloaded")
    );
    writer.append(vec![completed()].into()).await.unwrap();
    assert_eq!(reader.read_out("s").await.end, Some(State::Completed));
    assert_eq!(reader.close_code().await, Some(1012));
    drop((idle, reader));
    within(draining).await.unwrap();
    assert!(broker.endings(2).await.iter().all(|ending| ending.close == Some(Close::Restart)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_silent_job_hears_heartbeats() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 20").await;
    let mut raw = Raw::plain(&broker).await;
    raw.say(job("quiet", json!([{"text": "a"}, "stall"]), json!({}))).await;
    assert!(matches!(raw.message().await, ServerMessage::Accepted { .. }));
    raw.subscribe("s", "quiet", "-1", 100_000).await;
    let mut tails = Vec::new();
    while tails.len() < 3 {
        match raw.receive().await {
            Received::Ping => raw.frame(0x8a, b"").await,
            Received::Message(message, _) => match *message {
                ServerMessage::Heartbeat { tails: said } if !said.is_empty() => tails.push(said),
                _ => {}
            },
            other => panic!("{other:?}"),
        }
    }
    raw.say(json!({"type": "cancel", "id": "quiet"})).await;
    assert_eq!(raw.read_out("s").await.end, Some(State::Cancelled));
}
