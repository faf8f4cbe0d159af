//! What goes, when, and what is left of it.

use std::sync::Arc;
use std::time::Duration;

use forebay::clock::Clock;
use forebay::config::LogConfig;
use forebay::job::{Code, State, Timestamp};
use forebay::log::{DiskLog, Follower, Found, Log};
use forebay::wire::Cursor;

use crate::support::*;

const START: Timestamp = Timestamp(1_795_000_000_000);

fn simulated(config: &LogConfig) -> (Arc<DiskLog>, Arc<dyn Log>) {
    let clock = Clock::Simulated { start: START, since: tokio::time::Instant::now() };
    let disk = DiskLog::open(config, clock).unwrap();
    (Arc::clone(&disk), disk)
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn a_finished_job_goes_by_age_leaves_a_tombstone_and_then_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_s: 3600, tombstone_s: 7200, ..config(dir.path()) };
    paused().block_on(async {
        let (disk, log) = simulated(&config);
        finished(&log, "plain", 40, 300).await;
        for (name, keep) in [("short", 60), ("long", 100_000)] {
            let mut own = job(name, 1);
            own.options.retention_s = Some(keep);
            start(&log, own).await.append(vec![end()].into()).await.unwrap();
        }
        let unfinished = start(&log, job("open", 1)).await;
        let known = async || {
            disk.settle();
            let mut known = Vec::new();
            for name in ["plain", "short", "long", "open"] {
                known.push(match log.find(&id(name)).await.unwrap() {
                    Found::Stream(_) => "there",
                    Found::Expired(stone) => {
                        assert_eq!((stone.state, stone.id.as_str()), (State::Completed, name));
                        "expired"
                    }
                    Found::Nothing => "gone",
                });
            }
            known
        };
        assert_eq!(known().await, ["there"; 4]);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(known().await, ["there", "expired", "there", "there"]);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(known().await, ["expired", "expired", "there", "there"]);
        let refused = log.open(Arc::new(job("plain", 1))).await.unwrap_err();
        assert_eq!(refused.code, Code::Expired);
        tokio::time::advance(Duration::from_secs(4000)).await;
        assert_eq!(known().await, ["expired", "gone", "there", "there"]);
        tokio::time::advance(Duration::from_secs(4000)).await;
        assert_eq!(known().await, ["gone", "gone", "there", "there"]);
        start(&log, job("plain", 2)).await;
        drop(unfinished);
    });
}

#[test]
fn over_the_size_the_oldest_finished_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_bytes: 60_000, ..config(dir.path()) };
    paused().block_on(async {
        let (disk, log) = simulated(&config);
        for i in 0..10 {
            finished(&log, &format!("b-{i}"), 10, 1000).await;
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        disk.settle();
        let mut there = Vec::new();
        for i in 0..10 {
            there.push(found(&log, &format!("b-{i}")).await.is_some());
        }
        assert_eq!(there, [false, false, false, false, false, true, true, true, true, true]);
    });
}

#[test]
fn a_reader_of_a_stream_that_is_removed_gets_its_end_or_a_clear_word() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_s: 60, ..config(dir.path()) };
    paused().block_on(async {
        let (disk, log) = simulated(&config);
        let stream = finished(&log, "r", 100, 1000).await;
        disk.settle();
        let mut follower = Follower::new(log.clone(), Arc::clone(&stream), Cursor::Start).unwrap();
        follower.next(3000).await.unwrap();
        tokio::time::advance(Duration::from_secs(61)).await;
        disk.settle();
        assert_eq!(follower.next(3000).await.unwrap_err().code, Code::Expired);
    });
}

#[test]
fn outputs_go_with_their_stream() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_s: 60, ..config(dir.path()) };
    paused().block_on(async {
        let (disk, log) = simulated(&config);
        let mut writer = start(&log, job("o", 1)).await;
        log.put_output_bytes(writer.stream(), vec![1; 50_000].into()).await.unwrap();
        writer.append(vec![end()].into()).await.unwrap();
        disk.settle();
        // One directory is for what is being written.
        let count = || std::fs::read_dir(config.path.join("outputs")).unwrap().count() - 1;
        assert_eq!(count(), 1);
        tokio::time::advance(Duration::from_secs(61)).await;
        disk.settle();
        assert_eq!(count(), 0);
    });
}
