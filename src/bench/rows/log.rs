//! The log without entrances: durable appends, events over many streams, and readers at the tail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::bench::children::Scratch;
use crate::bench::load::ms;
use crate::bench::machine::now_ns;
use crate::bench::report::{Reach, Row};
use crate::bench::token::{histogram, sent_ns, stamp};
use crate::clock::Clock;
use crate::config::{Durability, LogConfig};
use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{Cancelled, Cost, Delta, Event, Usage};
use crate::log::disk::DiskLog;
use crate::log::{Batch, Followed, Follower, Log, Opened, StreamWriter, Streams};
use crate::wire::Cursor;
use crate::wire::record::{BodyRef, decode};
use crate::wire::submit::{self, Entrance};

/// Appends under way at once in the first rows.
const IN_FLIGHT: usize = 64;
/// Events of one append in the rows of events: what one read of a provider's socket brings.
const BURST: usize = 8;
/// Appends per second in front of the readers.
const READ_RATE: u32 = 2000;

/// A log in a fresh directory of its own.
pub(super) struct FreshLog {
    config: LogConfig,
    pub(super) log: Arc<DiskLog>,
    scratch: Scratch,
}

impl FreshLog {
    pub(super) fn open(bench: &Bench, durability: Durability) -> Result<FreshLog> {
        let scratch = Scratch::new(bench.scratch.path())?;
        let config = LogConfig { path: scratch.path().join("data"), durability, ..LogConfig::default() };
        let log = DiskLog::open(&config, Clock::System)?;
        Ok(FreshLog { config, log, scratch })
    }

    /// Closes the log and keeps its directory.
    pub(super) fn close(self) -> (LogConfig, Scratch) {
        (self.config, self.scratch)
    }
}

/// Opens the stream of a new job.
pub(super) async fn begin(log: &Arc<DiskLog>) -> Result<StreamWriter> {
    let request = submit::from_json(br#"{"model":"bench/bench","input":"hi"}"#)?;
    let job = request.into_job(&Entrance::default(), Clock::System.now())?;
    match log.open(Arc::new(job)).await? {
        Opened::New(writer) => Ok(writer),
        Opened::Joined(_) => bail!("a new job was taken for an old one"),
    }
}

async fn begin_many(log: &Arc<DiskLog>, count: usize) -> Result<Vec<StreamWriter>> {
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let log = Arc::clone(log);
        opening.spawn(async move { begin(&log).await });
    }
    opening.join_all().await.into_iter().collect()
}

/// Makes the event of a plain token.
pub(super) fn delta(text: &str) -> Event {
    Event::Delta(Delta { text: text.into(), ..Delta::default() })
}

/// Makes the terminal event of a job.
pub(super) fn terminal() -> Event {
    Event::Cancelled(Cancelled { by: "bench".into(), usage: Usage::default(), cost: Cost::default() })
}

/// Measures appends per second, the time to their acknowledgement, and events per second.
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let sync = bench.machine.sync_ms();
    let (events, ack) = append(bench, IN_FLIGHT, 1, 3.0).await?;
    // The target is for a disk whose fdatasync takes 0.25 ms; a slower one allows less.
    let least = 20_000.0 * (0.25 / sync).min(1.0);
    bench.push(
        Row::new("log", format!("durable appends/s, {IN_FLIGHT} in flight"), events, "/s")
            .reach(Reach::AtLeast(least), format!("≥ {:.0}k (20k at 0.25 ms)", least / 1000.0))
            .control(format!("fdatasync {sync:.3} ms")),
    );
    bench.push(
        Row::new("log", format!("append → durable, {IN_FLIGHT} in flight, p50"), ms(&ack, 0.5) / sync, "fdatasyncs")
            .reach(Reach::AtMost(3.0), "≤ 3 fdatasyncs")
            .control(format!("p50 {:.3} ms, p99 {:.3} ms", ms(&ack, 0.5), ms(&ack, 0.99)))
            .figure("ack_p50_ms", ms(&ack, 0.5))
            .figure("ack_p99_ms", ms(&ack, 0.99))
            .figure("ack_p99_fdatasyncs", ms(&ack, 0.99) / sync),
    );
    for (streams, burst) in [(1, BURST), (64, BURST), (1000, 1), (1000, BURST)] {
        let (events, _) = append(bench, streams, burst, 2.5).await?;
        let reach = if (streams, burst) == (1000, BURST) { Reach::AtLeast(300_000.0) } else { Reach::Open };
        let text = if reach == Reach::Open { "–" } else { "≥ 300k" };
        let title = format!("durable events/s, {streams} streams, {burst} an append");
        bench.push(Row::new("log", title, events, "/s").reach(reach, text).control(format!("fdatasync {sync:.3} ms")));
    }
    Ok(())
}

/// Each stream appends `burst` events, waits until they are durable, and appends again.
async fn append(bench: &Bench, streams: usize, burst: usize, seconds: f64) -> Result<(f64, Histogram<u64>)> {
    let fresh = FreshLog::open(bench, Durability::Power)?;
    let lasts = bench.lasts(seconds);
    let events = Arc::new(AtomicU64::new(0));
    let mut writing = JoinSet::new();
    let writers = begin_many(&fresh.log, streams).await?;
    let until = Instant::now() + lasts;
    for mut writer in writers {
        let events = Arc::clone(&events);
        writing.spawn(async move {
            // A histogram takes two hundred kilobytes: only runs with few streams have them.
            let mut ack = (streams <= IN_FLIGHT).then(histogram);
            while Instant::now() < until {
                let start = now_ns();
                let batch: Vec<Event> = (0..burst).map(|_| delta(" token")).collect();
                writer.append(batch.into()).await?;
                if let Some(ack) = &mut ack {
                    ack.saturating_record(now_ns() - start);
                }
                events.fetch_add(burst as u64, Ordering::Relaxed);
            }
            anyhow::Ok(ack)
        });
    }
    let mut all = histogram();
    for ack in writing.join_all().await {
        if let Some(ack) = ack? {
            all.add(&ack)?;
        }
    }
    fresh.log.close().await;
    Ok((events.load(Ordering::Relaxed) as f64 / lasts.as_secs_f64(), all))
}

/// Measures the time from append to reader, for one reader and for two hundred of one stream.
pub(super) async fn readers(bench: &mut Bench) -> Result<()> {
    for (count, quantile, name, most) in [(1, 0.5, "p50", 0.3), (200, 0.99, "p99", 10.0)] {
        let transit = follow(bench, count).await?;
        let title = format!("append → reader at {READ_RATE}/s, durability process, {count} readers, {name}");
        let row = Row::new("readers", title, ms(&transit, quantile), "ms")
            .reach(Reach::AtMost(most), format!("≤ {most} ms"))
            .control(format!("p50 {:.3} ms, p99 {:.3} ms", ms(&transit, 0.5), ms(&transit, 0.99)))
            .figure("p50_ms", ms(&transit, 0.5))
            .figure("p99_ms", ms(&transit, 0.99));
        bench.push(row);
    }
    Ok(())
}

async fn follow(bench: &Bench, count: usize) -> Result<Histogram<u64>> {
    let fresh = FreshLog::open(bench, Durability::Process)?;
    let writer = begin(&fresh.log).await?;
    let mut reading = JoinSet::new();
    for _ in 0..count {
        let log: Arc<dyn Log> = Arc::<DiskLog>::clone(&fresh.log);
        let follower = Follower::new(log, Arc::clone(writer.stream()), Cursor::Start)?;
        reading.spawn(read(follower));
    }
    let appends = (bench.lasts(4.0).as_secs_f64() * f64::from(READ_RATE)) as u32;
    let pacing = std::thread::Builder::new().name("bench-pace".into()).spawn(move || pace(&writer, appends))?;
    let mut all = histogram();
    let mut records = 0;
    for outcome in reading.join_all().await {
        let (transit, seen) = outcome?;
        all.add(&transit)?;
        records += seen;
    }
    // It has ended: its last append is what the readers waited for.
    pacing.join().ok().context("the writer panicked")??;
    let due = u64::from(appends) * count as u64;
    if records != due {
        bail!("{records} of {due} records reached the readers");
    }
    fresh.log.close().await;
    Ok(all)
}

/// Ticks on a thread of its own: a runtime's timers are too coarse for every half millisecond.
fn pace(writer: &StreamWriter, appends: u32) -> Result<()> {
    let start = std::time::Instant::now();
    for index in 0..appends {
        let due = start + Duration::from_secs(1) * index / READ_RATE;
        std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
        writer.log().append(writer.stream(), vec![delta(&stamp())].into())?;
    }
    writer.log().append(writer.stream(), Batch::from(vec![terminal()]))?;
    Ok(())
}

async fn read(mut follower: Follower) -> Result<(Histogram<u64>, u64)> {
    let (mut transit, mut seen) = (histogram(), 0);
    loop {
        match follower.next(FRAME_BYTES_MAX).await? {
            Followed::End(_) => return Ok((transit, seen)),
            Followed::Records(chunk) => {
                let now = now_ns();
                for (seq, bytes) in chunk.iter() {
                    if let BodyRef::Delta { text, .. } = decode(seq, bytes)?.body {
                        transit.saturating_record(now.saturating_sub(sent_ns(&text)));
                        seen += 1;
                    }
                }
            }
        }
    }
}
