//! Readers over WebSocket: coming back, and not reading.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::timeout;

use super::held::with_peaks;
use super::transit::submit;
use crate::bench::Bench;
use crate::bench::client::Connection;
use crate::bench::load::{RequestShape, Tally, Target, ms};
use crate::bench::machine::{now_ns, rss_bytes, tcp_bytes};
use crate::bench::report::{Reach, Row};
use crate::bench::stage::Stage;
use crate::bench::token::histogram;

/// Longest time that any step here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Script of the job that readers reconnect to.
const FINISHED: RequestShape = RequestShape { tokens: 2000, pace_us: 0, streamed: false };
/// Number of readers that do not read.
const STALLED: u32 = 200;
/// Script of about 2.5 MB of records for each reader, over five seconds.
const LONG: RequestShape = RequestShape { tokens: 20_000, pace_us: 250, streamed: false };

/// Measures the time from the first packet of a new connection to the first record behind the cursor.
pub(super) async fn reconnect(bench: &mut Bench) -> Result<()> {
    let stage = Stage::set(bench).await?;
    let id = submit(&stage.broker, &FINISHED.background(&stage.broker)).await?;
    timeout(PATIENCE, read(&stage.broker, &id, FINISHED.tokens, &Tally::new()))
        .await
        .context("the job did not end")??;
    let path = format!("/v1/jobs/{id}/ws?cursor={}", middle(&stage.broker, &id).await?);
    let mut took = histogram();
    let rounds = bench.rounds(400).max(100);
    for round in 0..rounds + 20 {
        let start = now_ns();
        let first = timeout(PATIENCE, first_record(&stage.broker, &path));
        first.await.context("no record came")??;
        // The first rounds warm caches and are not counted.
        if round >= 20 {
            took.saturating_record(now_ns() - start);
        }
    }
    for (quantile, name, most) in [(0.5, "p50", 0.4), (0.99, "p99", 2.0)] {
        let title = format!("reconnect over WebSocket → first record, {name}");
        let row = Row::new("reconnect", title, ms(&took, quantile), "ms")
            .reach(Reach::AtMost(most), format!("≤ {most} ms"))
            .control("TCP connect and upgrade are part of it");
        bench.push(row);
    }
    Ok(())
}

async fn first_record(broker: &Target, path: &str) -> Result<()> {
    let mut connection = Connection::open(broker.address).await?;
    connection.upgrade(path).await?;
    let mut bytes = Vec::new();
    loop {
        connection.bytes(&mut bytes).await?;
        if bytes.windows(6).any(|six| six == b"\"seq\":") {
            return Ok(());
        }
    }
}

/// Returns a cursor in the middle of a finished job.
async fn middle(broker: &Target, id: &str) -> Result<String> {
    let request = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n");
    let mut text = Vec::new();
    let mut connection = Connection::open(broker.address).await?;
    let status = connection.exchange(request.as_bytes(), |bytes| text.extend_from_slice(bytes)).await?;
    if status != 200 {
        bail!("the events of a job were answered {status}");
    }
    let text = String::from_utf8_lossy(&text);
    let cursors: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id:")).map(str::trim).collect();
    let middle = cursors.get(cursors.len() / 2).context("events without `id:`")?;
    Ok((*middle).to_owned())
}

/// Reads all tokens of a job over a WebSocket.
async fn read(broker: &Target, id: &str, tokens: u64, tally: &Tally) -> Result<()> {
    let due = now_ns();
    let mut scanner = tally.scanner(due);
    let mut connection = Connection::open(broker.address).await?;
    connection.upgrade(&format!("/v1/jobs/{id}/ws?cursor=-1")).await?;
    let mut bytes = Vec::new();
    while scanner.tokens < tokens {
        connection.bytes(&mut bytes).await?;
        scanner.feed(&bytes);
    }
    tally.answered(&scanner, due);
    Ok(())
}

/// Measures the cost of readers that open a WebSocket and never read, while another reads the same job.
pub(super) async fn stalled(bench: &mut Bench) -> Result<()> {
    let stage = Stage::set(bench).await?;
    // The first run fills caches; the second is the control.
    run(&stage, 0).await?;
    let (alone, control) = run(&stage, 0).await?;
    let (beside, peaks) = run(&stage, STALLED).await?;
    let [broker, kernel] = [0, 1].map(|at| peaks[at].saturating_sub(control[at]) as f64 / 1024.0 / f64::from(STALLED));
    let row = Row::new("stalled", format!("a reader that never reads ({STALLED} of them)"), broker + kernel, "KiB")
        .reach(Reach::AtMost(64.0), "≤ 64 KiB")
        .control(format!("{broker:.1} KiB in the broker, {kernel:.1} KiB in the kernel's buffers"))
        .figure("broker_kib", broker)
        .figure("kernel_kib", kernel)
        .figure("control_rss_mb", control[0] as f64 / 1e6)
        .figure("peak_rss_mb", peaks[0] as f64 / 1e6);
    bench.push(row);
    let (alone, beside) = (alone.transit_ms(0.99), beside.transit_ms(0.99));
    let row =
        Row::new("stalled", format!("a token's way to one that reads beside {STALLED} that do not, p99"), beside, "ms")
            .reach(Reach::Open, "–")
            .control(format!("{alone:.2} ms alone; 4,000 tokens/s"))
            .figure("alone_ms", alone);
    bench.push(row);
    Ok(())
}

/// Returns the tally of the one that reads, and the most memory of the broker and of the kernel's sockets.
async fn run(stage: &Stage, stalled: u32) -> Result<(Tally, [u64; 2])> {
    let tally = Tally::new();
    let broker = &stage.broker;
    let running = async {
        let id = submit(broker, &LONG.background(broker)).await?;
        let mut asleep = Vec::new();
        for _ in 0..stalled {
            let mut connection = Connection::open_stalled(broker.address).await?;
            connection.upgrade(&format!("/v1/jobs/{id}/ws?cursor=-1")).await?;
            asleep.push(connection);
        }
        read(broker, &id, LONG.tokens, &tally).await
    };
    let look = || Ok([rss_bytes(stage.broker_pid)?, tcp_bytes()?]);
    let (outcome, peaks) = with_peaks(look, timeout(PATIENCE, running)).await?;
    outcome.context("the job did not end")??;
    Ok((tally, peaks))
}
