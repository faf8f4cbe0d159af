//! Much more through the log than it keeps: disk and memory stay where they are.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::config::{Durability, LogConfig};
use forebay::log::Log;

use crate::support::*;

/// How much, and what is kept of it.
struct Churn {
    bytes: u64,
    window_bytes: u64,
    journal_bytes: u64,
    writers: usize,
}

fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

/// Megabytes of this process in memory.
fn resident_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

/// Returns the last job of the first writer.
async fn churn(log: &Arc<dyn Log>, round: usize, writers: usize, bytes: u64) -> String {
    let each = bytes / writers as u64;
    let tasks = (0..writers).map(|writer| {
        let log = Arc::clone(log);
        tokio::spawn(async move {
            let (mut written, mut turn) = (0, 0);
            while written < each {
                let mut stream = start(&log, job(&format!("c{round}-{writer}-{turn}"), 1)).await;
                for piece in 0..16 {
                    let events: Vec<_> = (0..16).map(|i| delta(text(piece * 16 + i, 100))).collect();
                    stream.append(events.into()).await.expect("it appends");
                    written += 16 * 120;
                }
                stream.append(vec![end()].into()).await.expect("it ends");
                turn += 1;
            }
            turn - 1
        })
    });
    let turns: Vec<_> =
        futures_util::future::join_all(tasks).await.into_iter().map(|turn| turn.expect("it ran")).collect();
    format!("c{round}-0-{}", turns[0])
}

fn run(what: &Churn) {
    const ROUNDS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        path: dir.path().join("data"),
        durability: Durability::Process,
        retention_bytes: what.window_bytes,
        journal_bytes_max: what.journal_bytes,
        free_bytes_min: 0,
        // Every expired job would leave its tombstone for a week.
        tombstone_s: 0,
        ..LogConfig::default()
    };
    let mut samples = Vec::new();
    runtime().block_on(async {
        let disk = open(&config);
        let log: Arc<dyn Log> = disk.clone();
        let mut newest = String::new();
        for round in 0..ROUNDS {
            let began = Instant::now();
            newest = churn(&log, round, what.writers, what.bytes / ROUNDS as u64).await;
            let took = began.elapsed();
            let sample = (disk_bytes(&config.path) / 1_000_000, resident_mb());
            println!("round {round}: {} MB on disk, {:.0} MB in memory, {took:?}", sample.0, sample.1);
            samples.push(sample);
        }
        disk.settle();
        let blobs = fs::read_dir(config.path.join("sled/blobs")).map_or(0, Iterator::count);
        assert_eq!(blobs, 0, "sled made blob files");
        // The oldest are gone, the newest there.
        assert!(found(&log, "c0-0-0").await.is_none());
        assert!(found(&log, &newest).await.is_some(), "{newest}");
    });
    let limit = (3 * what.window_bytes + what.journal_bytes) / 1_000_000;
    for (disk, _) in &samples {
        assert!(*disk <= limit, "{disk} MB on disk, {limit} allowed");
    }
    let (early, late) = (samples[ROUNDS / 2].1, samples[ROUNDS - 1].1);
    assert!(late < early * 1.3 + 20.0, "memory grows: {early:.0} MB, then {late:.0} MB");
}

#[test]
fn much_more_than_is_kept_goes_through_and_nothing_grows() {
    run(&Churn { bytes: 240_000_000, window_bytes: 40_000_000, journal_bytes: 32_000_000, writers: 32 });
}

#[test]
#[ignore = "tens of gigabytes: make soak"]
fn soak_churn() {
    run(&Churn { bytes: 20_000_000_000, window_bytes: 512_000_000, journal_bytes: 256_000_000, writers: 64 });
}

/// Fills a log in a process of its own, which is killed; then opens it and looks at time and memory.
fn reopen_after_kill(records: u64) -> (Duration, f64) {
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "churn::child_that_fills_a_log_and_is_killed", "--nocapture"])
        .env(DIR, dir.path())
        .env(RECORDS, records.to_string())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let filled = std::io::BufRead::lines(out).map_while(Result::ok).any(|line| line == "FILLED");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(filled);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "churn::child_that_opens_a_log_and_says_what_it_cost", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("OPENED ")).unwrap_or_else(|| panic!("{said}"));
    let (ms, mb) = line.split_once(' ').unwrap();
    (Duration::from_millis(ms.parse().unwrap()), mb.parse().unwrap())
}

const DIR: &str = "FOREBAY_TEST_FILL_DIR";
const RECORDS: &str = "FOREBAY_TEST_FILL_RECORDS";

fn filled(dir: &std::ffi::OsStr) -> LogConfig {
    LogConfig { path: Path::new(dir).join("data"), durability: Durability::Process, ..LogConfig::default() }
}

#[test]
fn child_that_fills_a_log_and_is_killed() {
    let (Some(dir), Ok(records)) = (std::env::var_os(DIR), std::env::var(RECORDS)) else { return };
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&filled(&dir));
        churn(&log, 0, 32, records.parse::<u64>().unwrap() * 120).await;
        // Unfinished ones too.
        for i in 0..100 {
            start(&log, job(&format!("open-{i}"), 1)).await.append(vec![delta("x")].into()).await.unwrap();
        }
        println!("\nFILLED");
        std::future::pending::<()>().await;
    });
}

#[test]
fn child_that_opens_a_log_and_says_what_it_cost() {
    let Some(dir) = std::env::var_os(DIR).filter(|_| std::env::var_os(RECORDS).is_none()) else { return };
    runtime().block_on(async {
        let before = resident_mb();
        let began = Instant::now();
        let log: Arc<dyn Log> = open(&filled(&dir));
        let took = began.elapsed();
        assert_eq!(log.unfinished().len(), 100);
        assert_eq!(log.health().notes, Vec::<String>::new());
        println!("\nOPENED {} {}", took.as_millis(), resident_mb() - before);
    });
}

#[test]
fn a_log_of_a_fiftieth_opens_in_a_fraction_after_a_kill() {
    let (took, mb) = reopen_after_kill(200_000);
    println!("200 000 records: {took:?}, {mb:.0} MB");
    // A fiftieth of the target's time would be 100 ms; a start costs something however small it is.
    assert!(took < Duration::from_secs(2) && mb < 120.0, "{took:?}, {mb:.0} MB");
}

#[test]
#[ignore = "10 million records: make soak"]
fn soak_reopen() {
    let (took, mb) = reopen_after_kill(10_000_000);
    println!("10 million records: {took:?}, {mb:.0} MB");
    assert!(took < Duration::from_secs(5) && mb < 300.0, "{took:?}, {mb:.0} MB");
}
