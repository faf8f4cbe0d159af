//! `kill -9` at any moment: nothing that was acknowledged is lost, nothing is there twice.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use forebay::config::LogConfig;
use forebay::job::Timestamp;
use forebay::log::Log;
use forebay::wire::Cursor;

use crate::support::*;

const DIR: &str = "FOREBAY_TEST_KILL_DIR";
const WRITERS: usize = 12;
const ROUNDS: usize = 20;

fn small(path: &std::path::Path) -> LogConfig {
    // Small files, so that rotation and recycling are among what is killed.
    LogConfig { journal_bytes_max: 4 * 1024 * 1024, ..config(path) }
}

/// Not a test of its own: the process that is killed. Prints each acknowledgement.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let config = small(std::path::Path::new(&dir));
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        let writers = (0..WRITERS).map(|i| tokio::spawn(write(Arc::clone(&log), i)));
        futures_util::future::join_all(writers).await;
    });
}

async fn write(log: Arc<dyn Log>, writer: usize) {
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent reads");
    };
    let life = std::process::id();
    for turn in 0.. {
        let name = format!("w{writer}-{life}-{turn}");
        let job = job(&name, 1);
        let mut stream = start(&log, job.clone()).await;
        say(format!("ACK {name} 1"));
        let mut piece = 0;
        // One endless stream beside the short ones.
        while writer == 0 || piece < 40 {
            let batch: Vec<_> = (piece..=piece + piece % 3).map(|i| delta(text(i, 20 + (i * 97) % 3000))).collect();
            piece += batch.len();
            stream.append(batch.into()).await.expect("it appends");
            say(format!("ACK {name} {}", 1 + piece));
        }
        stream.append(paid_end(&job, 1, Timestamp(3_600_000))).await.expect("it ends");
        say(format!("END {name} {}", 2 + piece));
    }
}

/// Starts the child, kills it after `after`, and returns what it acknowledged: per stream its tail
/// and whether it ended.
fn killed(dir: &std::path::Path, after: Duration) -> HashMap<String, (u64, bool)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_writes_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = HashMap::new();
        for line in out.lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            if let [kind @ ("ACK" | "END"), name, tail] = words[..]
                && let Ok(tail) = tail.parse()
            {
                acknowledged.insert(name.to_owned(), (tail, kind == "END"));
            }
        }
        acknowledged
    });
    // The moment of death is what is random here; nothing waits for this.
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let config = small(dir.path());
    let mut random = fastrand::Rng::with_seed(7);
    let mut ended = 0;
    let mut checked = 0;
    for round in 0..ROUNDS {
        let acknowledged = killed(dir.path(), Duration::from_millis(random.u64(80..400)));
        runtime().block_on(async {
            let disk = open(&config);
            let log: Arc<dyn Log> = disk.clone();
            assert_eq!(log.health().notes, Vec::<String>::new(), "round {round}: a kill is not damage");
            for (name, (tail, end)) in &acknowledged {
                let stream = found(&log, name).await.unwrap_or_else(|| panic!("round {round}: {name} is lost"));
                let all = read(&log, &stream, Cursor::Start, 1 << 16).await;
                assert!(all.len() as u64 >= *tail, "round {round}: {name} lost records");
                assert!(!end || stream.tail().state.is_terminal());
                for (piece, text) in texts(&all).iter().enumerate() {
                    assert_eq!(&text[..8], format!("{piece:08}"), "round {round}: {name}");
                }
                checked += all.len();
            }
            for mut unfinished in log.unfinished() {
                unfinished.writer.append(paid_end(&unfinished.job, 1, Timestamp(3_600_000))).await.unwrap();
            }
            let rows = log.list(forebay::log::ListQuery { limit: 1000, ..Default::default() }).await.unwrap();
            assert!(rows.iter().all(|stream| stream.tail().state.is_terminal()));
            let lines = disk.charges(0, usize::MAX).unwrap();
            let mut jobs: Vec<_> = lines.iter().map(|(_, charge)| charge.job.as_str()).collect();
            ended = jobs.len();
            jobs.sort_unstable();
            jobs.dedup();
            assert_eq!(jobs.len(), ended, "round {round}: a job is in the ledger once");
            let sums = log.rollups(0, u32::MAX).await.unwrap();
            assert_eq!(sums.iter().map(|(_, sums)| sums.jobs).sum::<u64>(), ended as u64, "round {round}");
        });
    }
    println!("{ended} jobs, {checked} records checked");
    assert!(ended > ROUNDS * WRITERS / 2, "the children did work");
}
