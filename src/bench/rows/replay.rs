//! Replay of an old job: from sled, after a restart, rendered as its reader gets it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};

use super::log::{FreshLog, begin, delta, terminal};
use crate::bench::Bench;
use crate::bench::report::{Reach, Row};
use crate::clock::Clock;
use crate::config::Durability;
use crate::job::JobId;
use crate::job::caps::{BATCH_EVENTS_MAX, FRAME_BYTES_MAX};
use crate::log::disk::DiskLog;
use crate::log::{Batch, Followed, Follower, Found, Log, Streams};
use crate::wire::Cursor;
use crate::wire::record::decode;

/// Number of records of the job.
const RECORDS: usize = 400_000;

/// Measures the megabytes of JSON per second that one reader gets; the median of some restarts.
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let fresh = FreshLog::open(bench, Durability::Process)?;
    let records = if bench.quick { RECORDS / 4 } else { RECORDS };
    let id = write(&fresh.log, records).await?;
    fresh.log.close().await;
    let (config, _scratch) = fresh.close();
    let mut rates = Vec::new();
    let mut opens_ms = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let log = DiskLog::open(&config, Clock::System)?;
        opens_ms.push(start.elapsed().as_secs_f64() * 1e3);
        rates.push(read(&log, &id, records).await?);
        log.close().await;
    }
    rates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    opens_ms.sort_unstable_by(f64::total_cmp);
    let (bytes_per_s, records_per_s) = rates[1];
    let row = Row::new("replay", "replay of a sealed job after a restart, one reader", bytes_per_s / 1e6, "MB/s")
        .reach(Reach::AtLeast(300.0), "≥ 300 MB/s")
        .control(format!("{records} records, {:.2} M records/s; JSON bytes as rendered", records_per_s / 1e6))
        .figure("records_per_s", records_per_s)
        .figure("open_ms", opens_ms[1]);
    bench.push(row);
    Ok(())
}

async fn write(log: &Arc<DiskLog>, records: usize) -> Result<JobId> {
    let mut writer = begin(log).await?;
    for _ in 0..records / BATCH_EVENTS_MAX {
        let events: Vec<_> = (0..BATCH_EVENTS_MAX).map(|_| delta(" some words")).collect();
        writer.append(events.into()).await?;
    }
    writer.append(Batch::from(vec![terminal()])).await?;
    Ok(writer.stream().head().id.clone())
}

/// Returns the JSON bytes and records per second of one replay.
async fn read(log: &Arc<DiskLog>, id: &JobId, records: usize) -> Result<(f64, f64)> {
    let Found::Stream(stream) = log.find(id).await? else { bail!("the sealed job is gone") };
    let reading: Arc<dyn Log> = Arc::<DiskLog>::clone(log);
    let mut follower = Follower::new(reading, stream, Cursor::Start)?;
    let start = Instant::now();
    let (mut bytes, mut seen, mut frame) = (0, 0, Vec::new());
    while let Followed::Records(chunk) = follower.next(FRAME_BYTES_MAX).await? {
        frame.clear();
        for (seq, stored) in chunk.iter() {
            decode(seq, stored)?.write_json(&mut frame);
        }
        bytes += frame.len();
        seen += chunk.len();
    }
    let took = start.elapsed().as_secs_f64();
    if (seen as usize) < records / BATCH_EVENTS_MAX * BATCH_EVENTS_MAX {
        bail!("only {seen} records came back");
    }
    Ok((bytes as f64 / took, seen as f64 / took))
}
