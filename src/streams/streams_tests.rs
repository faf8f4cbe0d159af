//! Users' streams over a log that is closed and opened again, and over time.

use std::time::Duration;

use super::*;
use crate::config::{Durability, LogConfig};
use crate::dialect::durable_streams::Producer;
use crate::job::Timestamp;
use crate::log::memory::MemoryLog;
use crate::log::{DiskLog, Log, RowRange};

fn key(path: &str) -> Key {
    Key { gateway: Gateway::default(), path: path.into() }
}

fn plan(lifetime: Lifetime) -> Plan {
    Plan { content_type: "text/plain".into(), lifetime, closed: false }
}

fn text(seq: u64) -> Append {
    let producer = Some(Producer { id: "p".into(), epoch: 0, seq });
    Append { content_type: Some("text/plain".into()), producer, ..Append::default() }
}

async fn create(streams: &Arc<UserStreams>, path: &str, lifetime: Lifetime, body: &'static str) -> Arc<UserStream> {
    match streams.create(key(path), plan(lifetime), body.into()).await.unwrap() {
        Created::New(stream) => stream,
        Created::Same(_) | Created::Other => panic!("{path} is there"),
    }
}

async fn rows(log: &Arc<dyn Log>) -> usize {
    let range = RowRange { prefix: "s".into(), after: None, limit: usize::MAX, budget_bytes: usize::MAX };
    log.rows(range).await.unwrap().len()
}

fn simulated() -> (Arc<UserStreams>, Arc<dyn Log>) {
    let clock = Clock::Simulated { start: Timestamp(1_795_000_000_000), since: tokio::time::Instant::now() };
    let log: Arc<dyn Log> = MemoryLog::new(clock);
    (UserStreams::new(log.clone(), clock, Handle::current()), log)
}

#[tokio::test(start_paused = true)]
async fn a_feed_lives_as_long_as_it_is_used_and_leaves_nothing() {
    let (streams, log) = simulated();
    let tending = Handle::current().spawn(Arc::clone(&streams).expire_loop());
    let hour = Duration::from_secs(3600);
    let end = Timestamp(1_795_000_000_000).plus_ms(2 * 3_600_000);
    create(&streams, "idle", Lifetime::Idle(3600), "x").await;
    create(&streams, "read", Lifetime::Idle(3600), "x").await;
    create(&streams, "until", Lifetime::Until(end), "x").await;
    create(&streams, "ever", Lifetime::Unlimited, "x").await;
    let there = async || {
        let mut there = Vec::new();
        for path in ["idle", "read", "until", "ever"] {
            there.push(streams.find(&key(path)).await.unwrap().is_some());
        }
        there
    };
    assert_eq!(there().await, [true; 4]);
    for _ in 0..3 {
        tokio::time::sleep(hour / 2).await;
        if let Some(read) = streams.find(&key("read")).await.unwrap() {
            read.used(&streams);
        }
    }
    assert_eq!(there().await, [false, true, true, true], "half an hour after its last use");
    tokio::time::sleep(hour * 3 / 4).await;
    assert_eq!(there().await, [false, true, false, true]);
    tokio::time::sleep(hour).await;
    assert_eq!(there().await, [false, false, false, true]);
    tokio::time::sleep(hour).await;
    assert_eq!(rows(&log).await, 3, "the head, the mark and the content of what is there for ever");
    // A stream that is not used is not kept in memory either.
    assert_eq!(there().await, [false, false, false, true]);
    assert_eq!(streams.places().by_key.len(), 4);
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(streams.places().by_key.len(), 0);
    assert_eq!(there().await, [false, false, false, true]);
    tending.abort();
}

#[tokio::test]
async fn feeds_are_there_after_a_restart_and_a_removal_that_was_cut_short_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        path: dir.path().join("data"),
        durability: Durability::Process,
        journal_bytes_max: 16 * 1024 * 1024,
        free_bytes_min: 0,
        ..LogConfig::default()
    };
    let open = || -> (Arc<UserStreams>, Arc<dyn Log>) {
        let log: Arc<dyn Log> = DiskLog::open(&config, Clock::System).unwrap();
        (UserStreams::new(log.clone(), Clock::System, Handle::current()), log)
    };
    for round in 0..3_u64 {
        let (streams, log) = open();
        let stream = match round {
            0 => create(&streams, "kept", Lifetime::Unlimited, "").await,
            _ => streams.find(&key("kept")).await.unwrap().unwrap(),
        };
        assert_eq!(stream.read(0, usize::MAX).await.unwrap().content, "kept ".repeat(10 * round as usize).into_bytes());
        for seq in 10 * round..10 * round + 10 {
            let appended = stream.append(&streams, &text(seq), &"kept ".into()).await.unwrap();
            assert_eq!((appended.done, appended.next), (Done::New, seq + 1));
        }
        let again = stream.append(&streams, &text(3), &"kept ".into()).await.unwrap();
        assert_eq!(again.done, Done::Known(Some(10 * round + 9)));
        let to_delete = create(&streams, "to_delete", Lifetime::Unlimited, "x").await;
        for seq in 0..400 {
            to_delete.append(&streams, &text(seq), &"x".into()).await.unwrap();
        }
        assert!(streams.delete(key("to_delete")).await.unwrap());
        assert!(!streams.delete(key("to_delete")).await.unwrap());
        let late = to_delete.append(&streams, &text(400), &"x".into()).await;
        assert_eq!(late.unwrap_err().code, crate::job::Code::NotFound);
        assert!(rows(&log).await > 400, "nothing is removed yet");
        drop((streams, stream, to_delete, log));
    }
    let (streams, log) = open();
    assert!(streams.find(&key("to_delete")).await.unwrap().is_none());
    let tending = Handle::current().spawn(Arc::clone(&streams).expire_loop());
    while rows(&log).await > 33 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rows(&log).await, 33, "head, mark, producer and thirty appends of what is kept");
    tending.abort();
}
