//! Nothing lost, nothing doubled, whatever is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay::job::{Record, State};
use forebay::wire::frame::{Protocol, ServerMessage};
use forebay::ws::client::{Follow, follow};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Raw, Received, TestBroker, completed, delta, spawn, within};

async fn whole(broker: &TestBroker, id: &str, protocol: Protocol) -> Vec<Record> {
    let mut records = Vec::new();
    let what = Follow { url: broker.url(), token: None, protocol, id: id.into(), cursor: "-1".into() };
    let state = within(follow(what, |record| records.push(record.clone()))).await.unwrap();
    assert_eq!(state, State::Completed);
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_subprotocols_give_the_same_records() {
    let broker = TestBroker::start("").await;
    broker.finished("j", 3000, "ü🦀\"\\\u{1}").await;
    let json = whole(&broker, "j", Protocol::Json).await;
    let msgpack = whole(&broker, "j", Protocol::Msgpack).await;
    assert_eq!(json.len(), 3002);
    assert!(json.iter().enumerate().all(|(index, record)| record.seq == index as u64));
    assert_eq!(json, msgpack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_cut_at_any_byte_and_resumed_says_the_same() {
    let broker = TestBroker::start("").await;
    broker.finished("j", 12, "word ").await;
    // Credit of one byte: one record a frame, so that every record is a place to be cut at.
    let mut raw = Raw::connect(&broker, "/v1/ws", Protocol::Json, "").await;
    raw.allowance = 1_000_000;
    raw.subscribe("s", "j", "-1", 1).await;
    let uncut = raw.read_out("s").await;
    assert_eq!((uncut.items.len(), uncut.end, uncut.caught_up), (14, Some(State::Completed), 1));
    let session_bytes = 1_000_000 - raw.allowance;
    assert!(session_bytes > 2000, "{session_bytes}");
    for cut in 0..session_bytes {
        let mut first = Raw::connect(&broker, "/v1/ws", Protocol::Json, "").await;
        first.allowance = cut;
        first.subscribe("s", "j", "-1", 1).await;
        let mut read = first.read_out("s").await;
        drop(first);
        if read.end.is_none() {
            let mut second = Raw::connect(&broker, "/v1/ws", Protocol::Json, "").await;
            second.subscribe("s", "j", read.cursor.as_deref().unwrap_or("-1"), 1_000_000).await;
            let rest = second.read_out("s").await;
            read.items.extend(rest.items);
            read.end = rest.end;
        }
        assert_eq!(read.end, Some(State::Completed), "cut after {cut} bytes");
        assert!(read.items == uncut.items, "cut after {cut} bytes");
    }
}

/// Forwards to `broker`; connection `n` is cut after about `n * step` bytes to the client.
async fn cutting_proxy(broker: &TestBroker, step: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1/ws", listener.local_addr().unwrap());
    let (target, cuts) = (broker.address.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&cuts);
    spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let mut left = step * seen.fetch_add(1, Ordering::Relaxed);
            let server = TcpStream::connect(&target).await.unwrap();
            spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await.ok() });
                let mut chunk = [0; 512];
                while left > 0 {
                    let most = left.min(chunk.len());
                    match from_server.read(&mut chunk[..most]).await {
                        Ok(n) if n > 0 && to_client.write_all(&chunk[..n]).await.is_ok() => left -= n,
                        _ => break,
                    }
                }
                up.abort();
            });
        }
    });
    (url, cuts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_connection_is_cut_again_and_again_reads_the_whole_stream() {
    let broker = TestBroker::start("").await;
    let mut writer = broker.open("j").await;
    let (url, cuts) = cutting_proxy(&broker, 6000).await;
    let what = Follow { url, token: None, protocol: Protocol::Json, id: "j".into(), cursor: "-1".into() };
    let reader = spawn(async move {
        let mut seqs = Vec::new();
        let state = follow(what, |record| seqs.push(record.seq)).await;
        (state, seqs)
    });
    for n in 0..200 {
        writer.append(vec![delta(&n.to_string())].into()).await.unwrap();
        tokio::task::yield_now().await;
    }
    writer.append(vec![completed()].into()).await.unwrap();
    let (state, seqs) = within(reader).await.unwrap();
    assert_eq!(state.unwrap(), State::Completed);
    assert_eq!(seqs, (0..202).collect::<Vec<u64>>());
    assert!(cuts.load(Ordering::Relaxed) > 3, "it was cut");
}

#[tokio::test]
async fn the_messages_of_a_subscription_come_in_order() {
    let broker = TestBroker::start("").await;
    let mut writer = broker.open("j").await;
    let mut raw = Raw::plain(&broker).await;
    raw.subscribe("s", "j", "-1", 100_000).await;
    let ServerMessage::Subscribed { id, state, earliest, tail, .. } = raw.message().await else { panic!() };
    assert_eq!((id.as_str(), state), ("j", State::Pending));
    assert!(earliest.ends_with("_0000000000") && tail.ends_with("_0000000001"), "{earliest} {tail}");
    assert!(matches!(raw.message().await, ServerMessage::Events { items, .. } if items.len() == 1));
    assert!(matches!(raw.message().await, ServerMessage::CaughtUp { cursor, .. } if cursor == tail));
    writer.append(vec![delta("a"), delta("b")].into()).await.unwrap();
    let ServerMessage::Events { items, cursor, .. } = raw.message().await else { panic!() };
    assert_eq!(items.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2]);
    assert!(cursor.ends_with("_0000000003"));
    writer.append(vec![completed()].into()).await.unwrap();
    assert!(matches!(raw.message().await, ServerMessage::Events { items, .. } if items[0].seq == 3));
    let ServerMessage::End { state, cursor, .. } = raw.message().await else { panic!() };
    assert_eq!(state, State::Completed);
    // `now` and the last cursor on a finished stream: an immediate correct end, and the name is free again.
    for at in ["now", &cursor] {
        raw.subscribe("s", "j", at, 0).await;
        assert!(matches!(raw.message().await, ServerMessage::Subscribed { .. }));
        assert!(matches!(raw.message().await, ServerMessage::CaughtUp { .. }));
        assert!(matches!(raw.message().await, ServerMessage::End { state: State::Completed, .. }));
    }
}

/// Bytes of `events` until the broker has nothing more to say: two pongs in a row.
async fn until_quiet(raw: &mut Raw) -> Vec<usize> {
    let (mut frames, mut pongs) = (Vec::new(), 0);
    raw.say(json!({"type": "ping", "n": 1})).await;
    while pongs < 2 {
        match raw.next().await {
            Received::Message(message, bytes) => match *message {
                ServerMessage::Events { .. } => {
                    frames.push(bytes);
                    pongs = 0;
                }
                ServerMessage::Pong { .. } => {
                    pongs += 1;
                    raw.say(json!({"type": "ping", "n": 1})).await;
                }
                ServerMessage::End { .. } => panic!("the end came without the records"),
                _ => {}
            },
            other => panic!("{other:?}"),
        }
    }
    frames
}

#[tokio::test]
async fn credit_bounds_what_is_sent() {
    let broker = TestBroker::start("").await;
    broker.finished("j", 2000, "some words ").await;
    for credit in [0, 1, 1000, 5000, 100_000] {
        let mut raw = Raw::plain(&broker).await;
        raw.subscribe("s", "j", "-1", credit).await;
        let frames = until_quiet(&mut raw).await;
        let sent: usize = frames.iter().sum();
        let last = frames.last().copied().unwrap_or(0);
        assert!(sent >= credit as usize && sent - last < credit.max(1) as usize, "{credit}: {frames:?}");
        assert!(sent <= credit as usize + 700, "over by no more than a record and its envelope: {credit} {frames:?}");
        raw.say(json!({"type": "credit", "sub": "s", "add": 10_000_000})).await;
        assert_eq!(raw.read_out("s").await.end, Some(State::Completed));
    }
}

#[tokio::test]
async fn one_subscription_does_not_hold_up_another() {
    let broker = TestBroker::start("").await;
    broker.finished("big", 60_000, "some words ").await;
    broker.finished("small", 5, "x").await;
    // One that has no credit.
    let mut raw = Raw::plain(&broker).await;
    raw.subscribe("stalled", "big", "-1", 0).await;
    raw.subscribe("s", "small", "-1", 100_000).await;
    let read = raw.read_out("s").await;
    assert_eq!((read.items.len(), read.end), (7, Some(State::Completed)));
    // One that is a long replay.
    let mut raw = Raw::plain(&broker).await;
    raw.subscribe("long", "big", "-1", u64::MAX).await;
    while !matches!(raw.message().await, ServerMessage::Events { .. }) {}
    raw.subscribe("s", "small", "-1", 100_000).await;
    loop {
        if let ServerMessage::End { sub, .. } = raw.message().await {
            assert_eq!(sub, "s".into(), "the small one ends while the long one goes on");
            break;
        }
    }
}

#[tokio::test]
async fn unsubscribing_ends_a_subscription_and_frees_its_name() {
    let broker = TestBroker::start("").await;
    let mut writer = broker.open("j").await;
    let mut raw = Raw::plain(&broker).await;
    raw.subscribe("s", "j", "now", 100_000).await;
    assert!(matches!(raw.message().await, ServerMessage::Subscribed { .. }));
    assert!(matches!(raw.message().await, ServerMessage::CaughtUp { .. }));
    raw.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    raw.say(json!({"type": "ping", "n": 1})).await;
    assert!(matches!(raw.message().await, ServerMessage::Pong { .. }));
    writer.append(vec![delta("unseen")].into()).await.unwrap();
    raw.subscribe("s", "j", "now", 100_000).await;
    assert!(matches!(raw.message().await, ServerMessage::Subscribed { .. }));
}

#[tokio::test]
async fn the_short_form_subscribes_by_itself_and_closes_after_the_end() {
    let broker = TestBroker::start("").await;
    broker.finished("j", 5, "x").await;
    for (path, items) in [("/v1/jobs/j/ws", 7), ("/v1/jobs/j/ws?cursor=-1", 7), ("/v1/jobs/j/ws?cursor=now", 0)] {
        let mut raw = Raw::connect(&broker, path, Protocol::Json, "").await;
        let read = raw.read_out("j").await;
        assert_eq!((read.items.len(), read.end), (items, Some(State::Completed)), "{path}");
        assert_eq!(raw.close_code().await, Some(1000), "{path}");
    }
    for path in ["/v1/jobs/nothing/ws", "/v1/jobs/j/ws?cursor=nonsense"] {
        let mut raw = Raw::connect(&broker, path, Protocol::Json, "").await;
        assert!(matches!(raw.message().await, ServerMessage::Welcome { .. }));
        assert!(matches!(raw.message().await, ServerMessage::Error { .. }), "{path}");
        assert_eq!(raw.close_code().await, Some(1000), "{path}");
    }
}
