//! Streams that are open at once, with every token delivered, and what each costs in memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::transit::submit_on;
use crate::bench::Bench;
use crate::bench::client::Connection;
use crate::bench::load::{RequestShape, Tally, Target, held};
use crate::bench::machine::{cpu, now_ns, rss_bytes};
use crate::bench::report::{Reach, Row};
use crate::bench::stage::Stage;
use crate::bench::token::Scanner;

/// Streams and tokens per second of each.
const SIZES: [(u32, u32); 3] = [(1000, 20), (5000, 4), (10_000, 1)];
/// Streams opened per second.
const OPENED_PER_S: u32 = 1500;
/// Number of files that a process has open beside its streams.
const OTHER_FILES: u64 = 300;
/// Streams of one WebSocket, where they share.
const SHARING: u32 = 100;
/// Longest time that one size may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time between two readings of the memory.
const LOOK: Duration = Duration::from_millis(200);

/// Measures one row for each size, one for memory per stream, one for memory at rest.
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let mut per_stream = None;
    for (streams, per_second) in SIZES {
        let title = format!("{streams} streams × {per_second}/s held, every token delivered");
        // A broker has a reader and a provider for each stream; the one that reads over a few
        // WebSockets needs half of that.
        let most = bench.machine.open_files_max;
        let connections =
            if 2 * u64::from(streams) + OTHER_FILES > most { Connections::Shared } else { Connections::Own };
        let files = u64::from(streams) + OTHER_FILES;
        if files > most {
            let why = format!("skipped: {files} open files needed, {most} allowed (ulimit -n)");
            bench.push(Row::missing("held", title, why));
            continue;
        }
        if bench.quick && streams > SIZES[0].0 {
            bench.push(Row::missing("held", title, "skipped by --quick"));
            continue;
        }
        if let Some(bytes) = hold(bench, (title, connections), streams, per_second).await? {
            per_stream = Some((streams, bytes));
        }
    }
    if let Some((streams, bytes)) = per_stream {
        let row = Row::new("held", format!("memory per open stream, at {streams}"), bytes / 1000.0, "kB")
            .reach(Reach::AtMost(40.0), "≤ 40 kB");
        bench.push(row);
    }
    Ok(())
}

/// The connections through which streams are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connections {
    /// Each stream has an HTTP request of its own, answered with server-sent events.
    Own,
    /// Many streams share one WebSocket.
    Shared,
}

/// Reads background jobs, [`SHARING`] to a WebSocket.
async fn shared(broker: &Target, what: RequestShape, streams: u32, ramp: Duration) -> Tally {
    let request = RequestShape { streamed: false, ..what }.background(broker);
    let since_ns = now_ns() + u64::try_from(ramp.as_nanos()).unwrap_or(0);
    let tally = Tally::new();
    let mut readers = JoinSet::new();
    for _ in 0..streams / SHARING {
        let (broker, request, tally) = (*broker, Arc::clone(&request), tally.clone());
        readers.spawn(async move {
            let reading = read(&broker, &request, (ramp, what.tokens), tally.scanner(since_ns));
            match timeout(PATIENCE, reading).await {
                Ok(Ok(scanner)) => tally.answered(&scanner, since_ns),
                Ok(Err(why)) => tally.failed(&why),
                Err(_) => tally.failed(&anyhow::anyhow!("tokens are missing after {} s", PATIENCE.as_secs())),
            }
        });
    }
    readers.join_all().await;
    tally
}

/// Submits the jobs within `ramp`, subscribes, and reads the given number of tokens of each.
async fn read(
    broker: &Target,
    request: &[u8],
    (ramp, tokens): (Duration, u64),
    mut scanner: Scanner,
) -> Result<Scanner> {
    let mut submitting = Connection::open(broker.address).await?;
    let mut socket = Connection::open(broker.address).await?;
    socket.upgrade("/v1/ws").await?;
    let start = tokio::time::Instant::now();
    for sub in 0..SHARING {
        tokio::time::sleep_until(start + ramp * sub / SHARING).await;
        let id = submit_on(&mut submitting, request).await?;
        let credit = u32::MAX;
        socket.send_text(&format!(r#"{{"type":"subscribe","sub":{sub},"id":"{id}","credit":{credit}}}"#)).await?;
    }
    let mut bytes = Vec::new();
    while scanner.tokens < tokens * u64::from(SHARING) {
        socket.bytes(&mut bytes).await?;
        scanner.feed(&bytes);
    }
    Ok(scanner)
}

/// Measures one size and returns the bytes per stream.
async fn hold(
    bench: &mut Bench,
    (mut title, connections): (String, Connections),
    streams: u32,
    per_second: u32,
) -> Result<Option<f64>> {
    let stage = Stage::set(bench).await?;
    let idle = rss_bytes(stage.broker_pid)?;
    if streams == SIZES[0].0 {
        let row = Row::new("held", "memory at rest", idle as f64 / 1e6, "MB").reach(Reach::AtMost(50.0), "≤ 50 MB");
        bench.push(row);
    }
    let ramp = Duration::from_secs(1) * streams / OPENED_PER_S + Duration::from_millis(300);
    let lasts = ramp + bench.lasts(6.0).max(Duration::from_secs(3));
    let tokens = (lasts.as_secs_f64() * f64::from(per_second)).ceil() as u64;
    let what = RequestShape { tokens, pace_us: u64::from(1_000_000 / per_second), streamed: true };
    let before = cpu(stage.broker_pid)?;
    let start = std::time::Instant::now();
    let holding = async {
        match connections {
            Connections::Own => held(&stage.broker, what, streams, ramp).await,
            Connections::Shared => shared(&stage.broker, what, streams, ramp).await,
        }
    };
    let (tally, [peak]) = with_peaks(|| Ok([rss_bytes(stage.broker_pid)?]), holding).await?;
    if connections == Connections::Shared {
        title += &format!(" ({SHARING} on a WebSocket: {} open files are too few)", bench.machine.open_files_max);
    }
    let cores = (cpu(stage.broker_pid)? - before).as_secs_f64() / start.elapsed().as_secs_f64();
    let tally = match tally.whole(&stage.broker) {
        Ok(tally) => tally,
        Err(why) => {
            bench.push(Row::missing("held", title, format!("not held: {why:#}")));
            return Ok(None);
        }
    };
    let share = tally.tokens() as f64 / (tokens * u64::from(streams)) as f64;
    let per_stream = peak.saturating_sub(idle) as f64 / f64::from(streams);
    let row = Row::new("held", title, share * 100.0, "%")
        .reach(Reach::AtLeast(100.0), "every token")
        .control(format!(
            "transit p50 {:.2} ms p99 {:.1} ms, {cores:.2} cores, {:.0} kB a stream",
            tally.transit_ms(0.5),
            tally.transit_ms(0.99),
            per_stream / 1000.0
        ))
        .figure("transit_p50_ms", tally.transit_ms(0.5))
        .figure("transit_p99_ms", tally.transit_ms(0.99))
        .figure("first_token_p99_ms", tally.first_ms(0.99))
        .figure("broker_cores", cores)
        .figure("rss_peak_mb", peak as f64 / 1e6)
        .figure("bytes_per_stream", per_stream);
    bench.push(row);
    Ok(Some(per_stream))
}

/// Returns the largest value that `look` reads while `work` runs.
pub(super) async fn with_peaks<T, const N: usize>(
    look: impl Fn() -> Result<[u64; N]>,
    running: impl Future<Output = T>,
) -> Result<(T, [u64; N])> {
    let mut peaks = look()?;
    let mut due = tokio::time::interval(LOOK);
    let mut running = std::pin::pin!(running);
    loop {
        tokio::select! {
            done = &mut running => return Ok((done, peaks)),
            _ = due.tick() => peaks = std::array::from_fn({ let seen = look()?; move |at| peaks[at].max(seen[at]) }),
        }
    }
}
