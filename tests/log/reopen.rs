//! What is there after a restart that went well.

use std::sync::Arc;

use forebay::job::{Code, Timestamp};
use forebay::log::{Log, Opened};
use forebay::wire::Cursor;

use crate::support::*;

/// Ways in which a log ends without damage.
#[derive(Clone, Copy, Debug)]
enum Goodbye {
    /// Closed: everything is sealed.
    Closed,
    /// Dropped: the journal holds what the sealer had not done.
    Dropped,
    /// The log was sealed, then dropped.
    Settled,
}

#[test]
fn everything_is_there_after_a_restart() {
    for goodbye in [Goodbye::Closed, Goodbye::Dropped, Goodbye::Settled] {
        println!("{goodbye:?}");
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let mut expected = Vec::new();
        runtime().block_on(async {
            let disk = open(&config);
            let log: Arc<dyn Log> = disk.clone();
            for i in 0..20 {
                let stream = finished(&log, &format!("done-{i}"), 30, 200 + 50 * i).await;
                expected.push((read(&log, &stream, Cursor::Start, 4096).await, stream.epoch()));
            }
            let mut keyed = job("open", 1);
            keyed.idempotency_key = Some("k".into());
            let mut writer = start(&log, keyed).await;
            for i in 0..100 {
                writer.append(vec![delta(text(i, 300))].into()).await.unwrap();
            }
            let paid = job("paid", 1);
            start(&log, paid.clone()).await.append(paid_end(&paid, 5, Timestamp(7))).await.unwrap();
            match goodbye {
                Goodbye::Closed => log.close().await,
                Goodbye::Dropped => {}
                Goodbye::Settled => disk.settle(),
            }
        });
        for _ in 0..2 {
            runtime().block_on(async {
                let disk = open(&config);
                let log: Arc<dyn Log> = disk.clone();
                assert_eq!(log.health().notes, Vec::<String>::new());
                for (i, (records, epoch)) in expected.iter().enumerate() {
                    let stream = found(&log, &format!("done-{i}")).await.unwrap();
                    assert_eq!(stream.epoch(), *epoch);
                    assert_eq!(&read(&log, &stream, Cursor::Start, 999).await, records);
                    assert!(log.job(&stream).await.unwrap().is_some());
                }
                let unfinished = log.unfinished();
                assert!(log.unfinished().is_empty(), "given away once");
                assert_eq!(unfinished.len(), 1);
                let stream = Arc::clone(unfinished[0].writer.stream());
                assert_eq!(unfinished[0].job.id, id("open"));
                assert_eq!(texts(&read(&log, &stream, Cursor::Start, 999).await).len(), 100);
                let mut again = job("another", 1);
                again.idempotency_key = Some("k".into());
                assert!(matches!(log.open(Arc::new(again)).await.unwrap(), Opened::Joined(_)), "by key");
                let repeat = log.open(Arc::new(job("done-3", 1))).await.unwrap();
                assert!(matches!(repeat, Opened::Joined(_)), "by id");
                let other = log.open(Arc::new(job("done-3", 2))).await.unwrap_err();
                assert_eq!(other.code, Code::Conflict);
                assert_eq!(disk.charges(0, 10).unwrap().len(), 1);
                assert_eq!(log.rollups(0, u32::MAX).await.unwrap()[0].1.jobs, 1);
            });
        }
        runtime().block_on(async {
            let log: Arc<dyn Log> = open(&config);
            let mut writer = log.unfinished().remove(0).writer;
            writer.append(vec![delta("after"), end()].into()).await.unwrap();
            let all = read(&log, &Arc::clone(writer.stream()), Cursor::Start, 999).await;
            assert_eq!(texts(&all).len(), 101);
        });
    }
}

#[test]
fn a_forgotten_job_stays_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    runtime().block_on(async {
        let disk = open(&config);
        let log: Arc<dyn Log> = disk.clone();
        finished(&log, "sealed", 50, 100).await;
        disk.settle();
        finished(&log, "fresh", 50, 100).await;
        for name in ["sealed", "fresh"] {
            log.forget(&id(name)).await.unwrap();
        }
        let second = finished(&log, "sealed", 3, 100).await;
        assert_eq!(second.tail().durable, 5);
    });
    runtime().block_on(async {
        let disk = open(&config);
        let log: Arc<dyn Log> = disk.clone();
        for _ in 0..2 {
            assert!(found(&log, "fresh").await.is_none());
            assert_eq!(found(&log, "sealed").await.unwrap().tail().durable, 5);
            disk.settle();
        }
    });
}

#[test]
fn an_input_that_is_not_to_be_kept_is_gone_after_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    for bytes in [100, 100_000] {
        runtime().block_on(async {
            let disk = open(&config);
            let log: Arc<dyn Log> = disk.clone();
            let mut private = job(&format!("private-{bytes}"), 1);
            private.options.log_payload = false;
            private.input = serde_json::value::to_raw_value(&text(1, bytes)).unwrap();
            let mut writer = start(&log, private).await;
            let stream = Arc::clone(writer.stream());
            assert!(log.job(&stream).await.unwrap().is_some(), "needed while it runs");
            writer.append(vec![end()].into()).await.unwrap();
            assert!(log.job(&stream).await.unwrap().is_none());
            disk.settle();
            assert!(log.job(&stream).await.unwrap().is_none());
            assert_eq!(std::fs::read_dir(config.path.join("jobs")).unwrap().count(), 0);
        });
    }
}

#[test]
fn two_brokers_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    runtime().block_on(async {
        let log = open(&config);
        let second = forebay::log::DiskLog::open(&config, forebay::clock::Clock::System);
        assert!(second.err().unwrap().message.contains("another forebay"));
        drop(log);
        open(&config);
    });
}
