//! The stages in which Forebay spends the time of a unary chat, and the threads that use the CPU.
//!
//! The stages are the broker's own figures (`forebay_overhead_seconds`); what it takes to write an
//! answer to its socket has no figure of its own: it is part of what the `io` threads use.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bench::client::Connection;
use crate::bench::load::{RequestShape, Target, closed, open};
use crate::bench::machine::thread_cpu;
use crate::bench::report::Row;
use crate::bench::stage::Stage;
use crate::bench::{Bench, WORKERS};

const UNARY: RequestShape = RequestShape { tokens: 1, pace_us: 0, streamed: false };
/// Requests per second of an even load, under which no request waits for another.
const STEADY: u32 = 50;
/// The stages in the order in which a job goes through them. `event` and `dispatch` overlap with others.
const STAGES: [&str; 7] = ["parse", "admit", "start", "plan", "commit", "seal", "render"];
/// Purpose of each thread, by the beginning of its name.
const THREADS: [(&str, &str); 5] = [
    ("forebay-io", "io: parse, admit, render, write"),
    ("actix-rt", "actors: start, plan, the provider's call"),
    ("forebay-commit", "append and commit"),
    ("forebay-seal", "sealing"),
    ("sled", "sled's own"),
];

/// Measures time and CPU, each at its own load.
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let stage = Stage::set(bench).await?;
    let target = stage.broker;
    open(&target, UNARY, STEADY, Duration::from_millis(400)).await.whole(&target)?;
    let before = sums(&target).await?;
    open(&target, UNARY, STEADY, bench.lasts(6.0)).await.whole(&target)?;
    let after = sums(&target).await?;
    let mean = |name: &str| mean_us(&before, &after, name).with_context(|| format!("no figure of the stage `{name}`"));
    let means = STAGES.iter().map(|name| Ok((*name, mean(name)?))).collect::<Result<Vec<_>>>()?;
    bench.push(shares("wall time of a unary chat with us, mean at 50/s", "µs", &means));

    let before = thread_cpu(stage.broker_pid)?;
    let tally = closed(&target, UNARY, 8 * WORKERS, bench.lasts(3.0)).await.whole(&target)?;
    let after = thread_cpu(stage.broker_pid)?;
    let used = |prefix: &str| {
        let of = |all: &BTreeMap<String, Duration>| {
            let threads = all.iter().filter(|(name, _)| name.starts_with(prefix));
            threads.map(|(_, cpu)| cpu.as_secs_f64()).sum::<f64>()
        };
        (of(&after) - of(&before)).max(0.0) * 1e6 / tally.done() as f64
    };
    let threads: Vec<(&str, f64)> = THREADS.iter().map(|(prefix, title)| (*title, used(prefix))).collect();
    bench.push(shares("CPU of a unary chat by thread, closed loop", "µs", &threads));
    Ok(())
}

/// Makes one row of the sum and each part's share of it.
fn shares(what: &str, unit: &'static str, parts: &[(&'static str, f64)]) -> Row {
    let sum: f64 = parts.iter().map(|(_, part)| part).sum();
    let share = |(name, part): &(&str, f64)| format!("{name} {:.0} %", 100.0 * part / sum.max(f64::MIN_POSITIVE));
    let shares: Vec<String> = parts.iter().map(share).collect();
    let row = Row::new("stages", what, sum, unit).control(shares.join(", "));
    parts.iter().fold(row, |row, (name, part)| row.figure(name, *part))
}

/// Reads the sum of seconds and the count of each stage from `/metrics`.
async fn sums(target: &Target) -> Result<BTreeMap<String, f64>> {
    let mut body = Vec::new();
    let mut connection = Connection::open(target.address).await?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n";
    let status = connection.exchange(request, |piece| body.extend_from_slice(piece)).await?;
    if status != 200 {
        bail!("/metrics was answered {status}");
    }
    let text = String::from_utf8_lossy(&body);
    let lines = text.lines().filter(|line| line.starts_with("forebay_overhead_seconds_"));
    let sample = |line: &str| Some((line.rsplit_once(' ')?.0.to_owned(), line.rsplit_once(' ')?.1.parse().ok()?));
    Ok(lines.filter_map(sample).collect())
}

fn mean_us(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, stage: &str) -> Option<f64> {
    let grown = |what: &str| {
        let name = format!("forebay_overhead_seconds_{what}{{stage=\"{stage}\"}}");
        Some(after.get(&name)? - before.get(&name).unwrap_or(&0.0))
    };
    let (sum, count) = (grown("sum")?, grown("count")?);
    (count > 0.0).then(|| sum * 1e6 / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_of_what_was_added_between_two_readings() {
        let reading = |sum: f64, count: f64| {
            let name = |what: &str| format!("forebay_overhead_seconds_{what}{{stage=\"seal\"}}");
            BTreeMap::from([(name("sum"), sum), (name("count"), count)])
        };
        assert_eq!(mean_us(&reading(1.0, 10.0), &reading(1.5, 20.0), "seal"), Some(50_000.0));
        assert_eq!(mean_us(&BTreeMap::new(), &reading(0.5, 5.0), "seal"), Some(100_000.0));
        assert_eq!(mean_us(&reading(1.0, 10.0), &reading(1.0, 10.0), "seal"), None);
        assert_eq!(mean_us(&reading(1.0, 10.0), &reading(1.5, 20.0), "parse"), None);
    }
}
