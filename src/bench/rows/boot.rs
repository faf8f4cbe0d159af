//! Coming up after a `kill -9` with a log of millions of records.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use super::log::{begin, delta, terminal};
use crate::bench::children::{Process, Scratch, data_dir};
use crate::bench::machine::{rss_bytes, rss_most_bytes};
use crate::bench::report::{Reach, Row};
use crate::bench::{Bench, Role};
use crate::clock::Clock;
use crate::config::LogConfig;
use crate::job::caps::BATCH_EVENTS_MAX;
use crate::log::disk::DiskLog;
use crate::log::{Batch, Log};

/// Number of records in the log.
const RECORDS: u64 = 10_000_000;
/// Number of jobs that they belong to; every second one is unfinished.
const JOBS: u64 = 128;

/// Measures the seconds from the start of a broker to its readiness, and the most memory it took.
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let records = if bench.quick { RECORDS / 10 } else { RECORDS };
    let scratch = Scratch::new(bench.scratch.path())?;
    Process::until_killed(Role::Writer, scratch.path(), records).await?;
    // No request goes to this provider: a job that was under way at the crash is not repeated.
    let no_upstream = ([127, 0, 0, 1], 9).into();
    let start = Instant::now();
    let broker = Process::broker(scratch.path(), no_upstream).await?;
    let ready_s = start.elapsed().as_secs_f64();
    let (peak, rest) = (rss_most_bytes(broker.pid())?, rss_bytes(broker.pid())?);
    let title = format!("kill -9 with {:.0} million records, start → ready", records as f64 / 1e6);
    let unfinished = JOBS / 2;
    bench.push(
        Row::new("boot", title.clone(), ready_s, "s")
            .reach(Reach::AtMost(5.0), "≤ 5 s")
            .control(format!("{JOBS} jobs, {unfinished} of them under way"))
            .figure("records", records as f64),
    );
    bench.push(
        Row::new("boot", format!("{title}, most memory"), peak as f64 / 1e6, "MB")
            .reach(Reach::AtMost(300.0), "≤ 300 MB")
            .control(format!("{:.0} MB when ready", rest as f64 / 1e6)),
    );
    Ok(())
}

/// Writes `records` in the child process and returns; the caller then kills the process.
pub(in crate::bench) async fn write(dir: &std::path::Path, records: u64) -> Result<Arc<DiskLog>> {
    let config = LogConfig { path: data_dir(dir), ..LogConfig::default() };
    let log = DiskLog::open(&config, Clock::System)?;
    let batches = records / JOBS / BATCH_EVENTS_MAX as u64;
    let mut writing = JoinSet::new();
    for job in 0..JOBS {
        let log = Arc::clone(&log);
        writing.spawn(async move {
            let mut writer = begin(&log).await?;
            for _ in 0..=batches {
                let events: Vec<_> = (0..BATCH_EVENTS_MAX).map(|_| delta(" token")).collect();
                writer.append(events.into()).await?;
            }
            if job % 2 == 0 {
                writer.append(Batch::from(vec![terminal()])).await?;
            }
            anyhow::Ok(())
        });
    }
    for written in writing.join_all().await {
        written?;
    }
    if log.health().refusing.is_some() {
        bail!("the log refuses appends");
    }
    Ok(log)
}
