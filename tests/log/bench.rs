//! Figures, on request: `cargo test --release --test log -- --ignored bench --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::config::{Durability, LogConfig};
use forebay::log::{Followed, Follower, Log};
use forebay::wire::Cursor;
use futures_util::future::join_all;

use crate::support::*;

/// How long each row runs.
const RUN: Duration = Duration::from_secs(3);

async fn appends(log: &Arc<dyn Log>, streams: usize, batch: usize) -> (f64, Vec<Duration>) {
    let began = Instant::now();
    let writers = (0..streams).map(|i| {
        let log = Arc::clone(log);
        tokio::spawn(async move {
            let mut writer = start(&log, job(&format!("b{streams}-{batch}-{i}"), 1)).await;
            let mut waits = Vec::new();
            while began.elapsed() < RUN {
                let events: Vec<_> = (0..batch).map(|_| delta(" a token or so")).collect();
                let asked = Instant::now();
                writer.append(events.into()).await.expect("it appends");
                waits.push(asked.elapsed());
            }
            writer.append(vec![end()].into()).await.expect("it ends");
            waits
        })
    });
    let mut waits: Vec<Duration> = Vec::new();
    for writer in join_all(writers).await {
        waits.extend(writer.expect("it ran"));
    }
    let rate = waits.len() as f64 / began.elapsed().as_secs_f64();
    waits.sort_unstable();
    (rate, waits)
}

fn fdatasync_ms(dir: &std::path::Path) -> f64 {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(dir.join("probe")).expect("a file");
    file.write_all_at(&vec![1; 4 << 20], 0).and_then(|()| file.sync_all()).expect("it writes");
    let mut took: Vec<Duration> = (0..200)
        .map(|i| {
            let began = Instant::now();
            file.write_all_at(&[i as u8; 4096], (i % 1000) * 4096).and_then(|()| file.sync_data()).expect("it syncs");
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[100].as_secs_f64() * 1e3
}

#[test]
#[ignore = "figures, not a check"]
fn bench_appends() {
    for durability in [Durability::Power, Durability::Process] {
        for (streams, batch) in [(1, 1), (64, 1), (1000, 1), (1000, 8), (5000, 1)] {
            let dir = tempfile::tempdir().expect("a directory");
            let config = LogConfig { path: dir.path().join("data"), durability, ..LogConfig::default() };
            let sync = fdatasync_ms(dir.path());
            runtime().block_on(async {
                let log: Arc<dyn Log> = open(&config);
                let (rate, waits) = appends(&log, streams, batch).await;
                let at = |share: f64| waits[(share * (waits.len() - 1) as f64) as usize].as_secs_f64() * 1e3;
                println!(
                    "{durability:?} {streams} streams x {batch}: {rate:.0} appends/s, {:.0} events/s, ack p50 {:.3} p99 {:.3} ms, fdatasync {sync:.3} ms",
                    rate * batch as f64, at(0.5), at(0.99),
                );
                log.close().await;
            });
        }
    }
}

#[test]
#[ignore = "figures, not a check"]
fn bench_replay() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = LogConfig { path: dir.path().join("data"), durability: Durability::Process, ..LogConfig::default() };
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        for (size, count) in [(60, 1_000_000), (1000, 100_000)] {
            let mut writer = start(&log, job(&format!("r{size}"), 1)).await;
            for at in (0..count).step_by(500) {
                let events: Vec<_> = (at..at + 500).map(|i| delta(text(i, size))).collect();
                writer.append(events.into()).await.expect("it appends");
            }
            writer.append(vec![end()].into()).await.expect("it ends");
            let stream = Arc::clone(writer.stream());
            drop(writer);
            log.rollups(0, 1).await.expect("it reads");
            for (budget, round) in [(65_536, 1), (65_536, 2), (262_144, 1)] {
                let mut follower = Follower::new(log.clone(), Arc::clone(&stream), Cursor::Start).expect("a cursor");
                let (began, mut bytes) = (Instant::now(), 0);
                while let Followed::Records(chunk) = follower.next(budget).await.expect("it reads") {
                    bytes += chunk.iter().map(|(_, record)| record.len()).sum::<usize>();
                }
                let rate = bytes as f64 / began.elapsed().as_secs_f64() / 1e6;
                println!("replay of {size} B records, budget {budget}, round {round}: {rate:.0} MB/s");
            }
        }
        log.close().await;
    });
}
