//! Cost and latency of a request, compared with the floor and with direct requests to the provider.

use std::time::Duration;

use anyhow::Result;

use crate::bench::load::{RequestShape, Tally, Target, closed, open};
use crate::bench::machine::cpu;
use crate::bench::report::{Reach, Row};
use crate::bench::stage::Stage;
use crate::bench::{Bench, WORKERS};

const UNARY: RequestShape = RequestShape { tokens: 1, pace_us: 0, streamed: false };
/// A script of 64 chunks that come one by one, as a model sends them, and not as one write.
const STREAM: RequestShape = RequestShape { tokens: 64, pace_us: 2000, streamed: true };
/// A script of sixteen tokens a moment apart, so that the first travels alone.
const FIRST: RequestShape = RequestShape { tokens: 16, pace_us: 5000, streamed: true };
/// Requests per second of the latency rows.
const STEADY: u32 = 50;

/// Measures the CPU per request of a process while it is loaded.
async fn cost_us(target: &Target, pid: u32, what: RequestShape, lasts: Duration) -> Result<f64> {
    let connections = if what.streamed { 32 } else { 8 * WORKERS };
    let before = cpu(pid)?;
    let tally = closed(target, what, connections, lasts).await.whole(target)?;
    Ok((cpu(pid)? - before).as_secs_f64() * 1e6 / tally.done() as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures CPU seconds as ratios of the floor's; runs alternate, medians count.
pub(super) async fn costs(bench: &mut Bench) -> Result<()> {
    let stage = Stage::set(bench).await?;
    let kinds = [
        (UNARY, "CPU of a unary chat through POST /v1/run", 4.0, 1.5),
        (STREAM, "CPU of a 64-chunk stream, each chunk in the log", 3.0, 2.0),
    ];
    for (what, title, most, seconds) in kinds {
        // Connections, pools and branch predictors get warm.
        for (target, pid) in [(stage.floor, stage.floor_pid), (stage.broker, stage.broker_pid)] {
            cost_us(&target, pid, what, Duration::from_millis(300)).await?;
        }
        let (mut floor, mut broker) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds(5) {
            floor.push(cost_us(&stage.floor, stage.floor_pid, what, bench.lasts(seconds)).await?);
            broker.push(cost_us(&stage.broker, stage.broker_pid, what, bench.lasts(seconds)).await?);
        }
        let (floor, broker) = (median(floor), median(broker));
        let row = Row::new("cpu", title, broker / floor, "× floor")
            .reach(Reach::AtMost(most), format!("≤ {most} × the floor's"))
            .control(format!("floor {floor:.0} µs a request, forebay {broker:.0} µs"))
            .figure("floor_us", floor)
            .figure("forebay_us", broker);
        bench.push(row);
    }
    Ok(())
}

/// Measures the added time at a steady rate: unary, and to the first token of a stream.
pub(super) async fn latency(bench: &mut Bench) -> Result<()> {
    let stage = Stage::set(bench).await?;
    let sync = bench.machine.sync_ms();
    for (what, title) in [(UNARY, "unary"), (FIRST, "time to first token")] {
        let mut tallies = Vec::new();
        for target in stage.targets() {
            open(&target, what, STEADY, Duration::from_millis(400)).await.whole(&target)?;
            tallies.push(open(&target, what, STEADY, bench.lasts(6.0)).await.whole(&target)?);
        }
        let at = |tally: &Tally, quantile| match what.streamed {
            true => tally.first_ms(quantile),
            false => tally.whole_ms(quantile),
        };
        let [direct, floor, broker] = [0, 1, 2].map(|index: usize| at(&tallies[index], 0.5));
        let (added, floors) = (broker - direct, (floor - direct).max(0.0));
        let most = 2.0 * floors + 3.0 * sync;
        let row = Row::new("latency", format!("added at {STEADY}/s, {title}, p50"), added, "ms")
            .reach(Reach::AtMost(most), format!("≤ 2 × the floor's + 3 fdatasyncs = {most:.2} ms"))
            .control(format!("floor adds {floors:.3} ms, direct {direct:.3} ms"))
            .figure("direct_p50_ms", direct)
            .figure("floor_p50_ms", floor)
            .figure("forebay_p50_ms", broker)
            .figure("direct_p99_ms", at(&tallies[0], 0.99))
            .figure("floor_p99_ms", at(&tallies[1], 0.99))
            .figure("forebay_p99_ms", at(&tallies[2], 0.99));
        bench.push(row);
    }
    Ok(())
}

/// Measures requests per second of clients that send the next request at once.
pub(super) async fn rate(bench: &mut Bench) -> Result<()> {
    let stage = Stage::set(bench).await?;
    for connections in [1, 16, 64] {
        let mut rates = Vec::new();
        let lasts = bench.lasts(2.0);
        for target in stage.targets() {
            closed(&target, UNARY, connections, Duration::from_millis(200)).await.whole(&target)?;
            let tally = closed(&target, UNARY, connections, lasts).await.whole(&target)?;
            rates.push(tally.done() as f64 / lasts.as_secs_f64());
        }
        let row = Row::new("rate", format!("unary, closed loop, {connections} connections"), rates[2], "requests/s")
            .reach(Reach::Open, "–")
            .control(format!("direct {:.0}, floor {:.0}", rates[0], rates[1]))
            .figure("direct_per_s", rates[0])
            .figure("floor_per_s", rates[1]);
        bench.push(row);
    }
    Ok(())
}
