//! Many readers, and readers who do not read.

use std::time::Duration;

use forebay::job::State;
use forebay::wire::frame::{Close, Protocol, ServerMessage};
use forebay::ws::SocketOutcome;
use forebay::ws::client::{Follow, follow};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::support::{Raw, Received, TestBroker, completed, delta, spawn, within};

/// What one reader may cost us.
const HELD_BYTES_MAX: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_late_ones_included_read_the_same() {
    let broker = TestBroker::start("").await;
    let mut writer = broker.open("j").await;
    let mut readers = Vec::new();
    for n in 0..1000 {
        let protocol = Protocol::ALL[n % 2];
        let what = Follow { url: broker.url(), token: None, protocol, id: "j".into(), cursor: "-1".into() };
        readers.push(spawn(async move {
            let mut digest = Sha256::new();
            let state = follow(what, |record| digest.update(format!("{record:?}"))).await;
            assert_eq!(state.unwrap(), State::Completed);
            digest.finalize()
        }));
        if n % 10 == 0 {
            writer.append(vec![delta(&format!("word {n} "))].into()).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
    writer.append(vec![completed()].into()).await.unwrap();
    let mut digests = Vec::new();
    for reader in readers {
        digests.push(within(reader).await.unwrap());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_holds_one_frame_is_closed_and_delays_nobody() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 300").await;
    broker.finished("big", 400, &"x".repeat(16_000)).await;
    let (mut never, mut trickle) = (Raw::plain(&broker).await, Raw::plain(&broker).await);
    for raw in [&mut never, &mut trickle] {
        raw.subscribe("s", "big", "-1", u64::MAX).await;
        raw.subscribe("t", "big", "-1", u64::MAX).await;
    }
    let slow = spawn(async move {
        while trickle.socket.read_u8().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let what =
        Follow { url: broker.url(), token: None, protocol: Protocol::Json, id: "big".into(), cursor: "-1".into() };
    let mut count = 0;
    assert_eq!(within(follow(what, |_| count += 1)).await.unwrap(), State::Completed);
    assert_eq!(count, 402, "others are served meanwhile");
    let endings = broker.endings(3).await;
    // Neither answers a ping: which clock runs out first depends on how much the kernel took in.
    let closed = |ending: &&SocketOutcome| matches!(ending.close, Some(Close::Stalled | Close::NoPong));
    let closed: Vec<_> = endings.iter().filter(closed).collect();
    assert_eq!(closed.len(), 2, "{endings:?}");
    for ending in closed {
        assert!((1..HELD_BYTES_MAX).contains(&ending.held_bytes_max), "{ending:?}");
    }
    slow.abort();
    drop(never);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_drains_slowly_is_not_closed() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 500").await;
    broker.finished("big", 1200, &"x".repeat(16_000)).await;
    let mut raw = Raw::plain(&broker).await;
    raw.subscribe("s", "big", "-1", u64::MAX).await;
    let (mut bytes, mut chunk) = (0, vec![0; 1024 * 1024]);
    // Four times as long as the stall allows, and pings wait behind data all the while.
    while bytes < 12_000_000 {
        let n = within(raw.socket.read(&mut chunk)).await.unwrap();
        assert!(n > 0, "closed after {bytes} bytes");
        bytes += n;
        tokio::time::sleep(Duration::from_millis(n as u64 / 3000)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_not_there_is_closed_for_want_of_a_pong() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 60").await;
    broker.open("j").await;
    let mut dead = Raw::plain(&broker).await;
    dead.subscribe("s", "j", "now", 1000).await;
    let mut alive = Raw::plain(&broker).await;
    alive.subscribe("s", "j", "now", 1000).await;
    let living = spawn(async move {
        let mut tails = 0;
        loop {
            match alive.receive().await {
                Received::Ping => alive.frame(0x8a, b"").await,
                Received::Message(message, _) => {
                    if let ServerMessage::Heartbeat { tails: said } = *message {
                        assert_eq!(said.len(), 1);
                        tails += 1;
                        if tails == 12 {
                            return;
                        }
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    });
    within(living).await.unwrap();
    // It hears the code if it was only slow to answer.
    loop {
        match dead.receive().await {
            Received::Close(code, _) => break assert_eq!(code, 4101),
            Received::End => panic!("no close"),
            _ => {}
        }
    }
    drop(dead);
    let endings = broker.endings(2).await;
    assert!(endings.contains(&SocketOutcome { close: Some(Close::NoPong), held_bytes_max: 0 }), "{endings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_reaches_its_reader_at_once() {
    let broker = TestBroker::start("").await;
    let mut writer = broker.open("j").await;
    let mut raw = Raw::plain(&broker).await;
    raw.subscribe("s", "j", "now", u64::MAX).await;
    assert!(matches!(raw.message().await, ServerMessage::Subscribed { .. }));
    assert!(matches!(raw.message().await, ServerMessage::CaughtUp { .. }));
    let mut took = Vec::new();
    for n in 0..500 {
        let since = std::time::Instant::now();
        writer.append(vec![delta(&n.to_string())].into()).await.unwrap();
        assert!(matches!(raw.message().await, ServerMessage::Events { .. }));
        took.push(since.elapsed());
    }
    took.sort();
    println!("append to reader: p50 {:?}, p99 {:?}", took[250], took[495]);
    assert!(took[250] < Duration::from_millis(20), "no timer is in the way: {:?}", took[250]);
}
