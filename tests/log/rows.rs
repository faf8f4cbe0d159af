//! Rows: a durable map whose batches are there as a whole or not at all.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay::config::LogConfig;
use forebay::job::Code;
use forebay::job::caps::{ROW_BYTES_MAX, ROW_KEY_BYTES_MAX};
use forebay::log::{Batch, Log, Row, RowRange};

use crate::support::*;

type Rows = Vec<(String, String)>;

async fn page(log: &Arc<dyn Log>, prefix: &str, after: Option<&str>, limit: usize, budget_bytes: usize) -> Rows {
    let after = after.map(|after| Bytes::from(after.to_owned()));
    let range = RowRange { prefix: prefix.to_owned().into(), after, limit, budget_bytes };
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    log.rows(range).await.unwrap().into_iter().map(|(key, value)| (text(key), text(value))).collect()
}

async fn all(log: &Arc<dyn Log>, prefix: &str) -> Rows {
    page(log, prefix, None, usize::MAX, usize::MAX).await
}

fn pairs(rows: &[(&str, &str)]) -> Rows {
    rows.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

#[test]
fn what_was_written_last_is_what_is_read() {
    check(async |bed| {
        let log = &bed.log;
        log.write_rows(vec![Row::put("a/1", "one"), Row::put("a/2", "two"), Row::put("b/1", "b")]).await.unwrap();
        log.write_rows(vec![Row::put("a/2", "TWO"), Row::remove("a/1"), Row::put("a/3", ""), Row::put("a/", "0")])
            .await
            .unwrap();
        assert_eq!(all(log, "a/").await, pairs(&[("a/", "0"), ("a/2", "TWO"), ("a/3", "")]));
        assert_eq!(log.row("a/1".into()).await.unwrap(), None);
        assert_eq!(log.row("a/3".into()).await.unwrap(), Some(Bytes::new()));
        assert_eq!(page(log, "a/", Some("a/"), 1, 99).await, pairs(&[("a/2", "TWO")]));
        assert_eq!(page(log, "a/", Some("a/2"), 9, 99).await, pairs(&[("a/3", "")]));
        assert_eq!(page(log, "a/", None, 9, 2).await, pairs(&[("a/", "0"), ("a/2", "TWO")]), "the budget is full");
        assert_eq!(page(log, "a/", None, 9, 0).await.len(), 1, "one is always read");
        assert_eq!(page(log, "c", None, 9, 99).await, []);
        // In the order of the calls, whichever task waits for them.
        let late: Vec<_> = (0..50).map(|i| log.write_rows(vec![Row::put("last", i.to_string())])).collect();
        drop(late);
        log.write_rows(vec![]).await.unwrap();
        assert_eq!(log.row("last".into()).await.unwrap(), Some("49".into()));
    });
}

#[test]
fn what_is_too_large_is_refused_and_nothing_of_it_is_there() {
    check(async |bed| {
        for bad in [Row::put("k", vec![0; ROW_BYTES_MAX + 1]), Row::put(vec![1; ROW_KEY_BYTES_MAX + 1], "v")] {
            let refused = bed.log.write_rows(vec![Row::put("good", "v"), bad]).await;
            assert_eq!(refused.unwrap_err().code, Code::TooLarge);
        }
        assert_eq!(bed.log.row("good".into()).await.unwrap(), None);
        let large = Bytes::from(vec![7; ROW_BYTES_MAX]);
        bed.log.write_rows(vec![Row::put("large", large.clone())]).await.unwrap();
        assert_eq!(bed.log.row("large".into()).await.unwrap(), Some(large));
    });
}

#[test]
fn rows_of_a_batch_are_there_when_its_events_are() {
    check(async |bed| {
        let mut writer = start(&bed.log, job("outbox", 1)).await;
        let stream = Arc::clone(writer.stream());
        let log = Arc::clone(&bed.log);
        let reader = tokio::spawn(async move {
            stream.watch().wait_for(|tail| tail.state.is_terminal()).await.map(|_| ()).unwrap();
            log.row("w/outbox".into()).await.unwrap()
        });
        let refused = Batch { events: vec![end()], rows: vec![Row::remove("")], ..Batch::default() };
        assert_eq!(writer.append(refused).await.unwrap_err().code, Code::TooLarge);
        let rows = vec![Row::put("w/outbox", "tell")];
        writer.append(Batch { events: vec![end()], rows, ..Batch::default() }).await.unwrap();
        assert_eq!(reader.await.unwrap(), Some("tell".into()));
    });
}

#[test]
fn after_close_no_rows_are_taken() {
    check(async |bed| {
        bed.log.close().await;
        let refused = bed.log.write_rows(vec![Row::put("a", "b")]).await;
        assert_eq!(refused.unwrap_err().code, Code::Overloaded);
    });
}

/// Changes that a seed repeats: rows of a few sizes that come, grow, shrink and go.
fn change(random: &mut fastrand::Rng, model: &mut BTreeMap<String, String>) -> Vec<Row> {
    let mut one = |random: &mut fastrand::Rng| {
        let key = format!("m/{:02}", random.u8(..40));
        if random.u8(..4) == 0 {
            model.remove(&key);
            return Row::remove(key);
        }
        let size = [0, 9, 300, 6_136, 6_137, 20_000][random.usize(..6)];
        let value = text(random.usize(..1000), size);
        model.insert(key.clone(), value.clone());
        Row::put(key, value)
    };
    (0..random.usize(1..9)).map(|_| one(random)).collect()
}

#[test]
fn rows_are_the_same_wherever_they_are_kept_and_after_every_end() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut random = fastrand::Rng::with_seed(11);
    let mut model = BTreeMap::new();
    for round in 0..30 {
        runtime().block_on(async {
            let disk = open(&config);
            let log: Arc<dyn Log> = disk.clone();
            let same = async |model: &BTreeMap<String, String>| {
                let expected: Rows = model.clone().into_iter().collect();
                assert_eq!(all(&log, "m/").await, expected, "round {round}");
                let mut paged: Rows = Vec::new();
                loop {
                    let after = paged.last().map(|(key, _)| key.clone());
                    let next = page(&log, "m/", after.as_deref(), 3, 30_000).await;
                    if next.is_empty() {
                        break;
                    }
                    paged.extend(next);
                }
                assert_eq!(paged, expected, "round {round}");
            };
            same(&model).await;
            for step in 0..20 {
                log.write_rows(change(&mut random, &mut model)).await.unwrap();
                if step % 7 == round % 7 {
                    disk.settle();
                    same(&model).await;
                }
            }
            same(&model).await;
            if round % 3 == 0 {
                log.close().await;
            }
        });
    }
}

#[test]
fn a_page_is_of_one_moment_while_rows_are_written_and_sealed() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let disk = open(&config(dir.path()));
        let log: Arc<dyn Log> = disk.clone();
        let done = Arc::new(AtomicBool::new(false));
        let (writes, until) = (Arc::clone(&log), Arc::clone(&done));
        let writer = tokio::spawn(async move {
            for i in 0..400 {
                let value = text(i, if i % 2 == 0 { 20 } else { 15_000 });
                let rows = (0..4).map(|row| Row::put(format!("p/{row}"), value.clone())).collect();
                writes.write_rows(rows).await.unwrap();
            }
            until.store(true, Ordering::Relaxed);
        });
        let (sealed, until) = (Arc::clone(&disk), Arc::clone(&done));
        let sealer = tokio::task::spawn_blocking(move || {
            while !until.load(Ordering::Relaxed) {
                sealed.settle();
            }
        });
        let mut seen = 0;
        while !done.load(Ordering::Relaxed) {
            let rows = all(&log, "p/").await;
            assert!(rows.windows(2).all(|pair| pair[0].1 == pair[1].1), "of two batches");
            seen += rows.len();
        }
        writer.await.unwrap();
        sealer.await.unwrap();
        println!("{seen} rows seen");
    });
}

#[test]
fn rows_do_not_keep_the_journal_from_going_round() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { journal_bytes_max: 4 * 1024 * 1024, ..config(dir.path()) };
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        for i in 0..400 {
            // One that stays where it was first written, one that changes, many that come and go.
            let rows = vec![
                Row::put(format!("j/{:04}", i % 300), text(i, 40_000)),
                Row::put("j/last", i.to_string()),
                Row::remove(format!("j/{:04}", (i + 100) % 300)),
            ];
            log.write_rows(rows).await.unwrap();
        }
        assert_eq!(log.row("j/last".into()).await.unwrap(), Some("399".into()));
    });
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        assert_eq!(log.health().notes, Vec::<String>::new());
        assert_eq!(log.row("j/last".into()).await.unwrap(), Some("399".into()));
        assert_eq!(log.row("j/0099".into()).await.unwrap(), Some(text(399, 40_000).into()));
    });
}

const DIR: &str = "FOREBAY_TEST_ROWS_DIR";
const WRITERS: usize = 6;

/// Not a test of its own: the process that is killed. Prints each acknowledgement.
#[test]
fn child_that_writes_rows_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&small(Path::new(&dir)));
        let writers = (0..WRITERS).map(|i| tokio::spawn(write(Arc::clone(&log), i)));
        futures_util::future::join_all(writers).await;
    });
}

fn small(path: &Path) -> LogConfig {
    LogConfig { journal_bytes_max: 4 * 1024 * 1024, ..config(path) }
}

/// Each batch says its number in three rows and leaves a row of its own.
async fn write(log: Arc<dyn Log>, writer: usize) {
    let last = log.row(format!("k/{writer}/a").into()).await.unwrap();
    let first = last.map_or(0, |last| String::from_utf8_lossy(&last)[..8].parse::<usize>().unwrap() + 1);
    for i in first.. {
        let value = text(i, [20, 300, 9_000][i % 3]);
        let mut rows: Vec<_> =
            ["a", "b", "c"].iter().map(|part| Row::put(format!("k/{writer}/{part}"), value.clone())).collect();
        rows.push(Row::put(format!("n/{writer}/{i:08}"), text(i, 100)));
        if i >= 500 {
            rows.push(Row::remove(format!("n/{writer}/{:08}", i - 500)));
        }
        log.write_rows(rows).await.expect("it writes");
        let mut out = std::io::stdout().lock();
        writeln!(out, "ACK {writer} {i}").and_then(|()| out.flush()).expect("the parent reads");
    }
}

fn killed(dir: &Path, after: Duration) -> [Option<usize>; WRITERS] {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "rows::child_that_writes_rows_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = [None; WRITERS];
        for line in out.lines().map_while(Result::ok) {
            if let ["ACK", writer, i] = line.split(' ').collect::<Vec<_>>()[..]
                && let (Ok(writer), Ok(i)) = (writer.parse::<usize>(), i.parse())
            {
                acknowledged[writer] = Some(i);
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
fn rows_that_were_acknowledged_survive_a_kill_and_batches_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let mut last = [None; WRITERS];
    for round in 0..15 {
        let acknowledged = killed(dir.path(), Duration::from_millis(random.u64(80..400)));
        runtime().block_on(async {
            let log: Arc<dyn Log> = open(&small(dir.path()));
            assert_eq!(log.health().notes, Vec::<String>::new(), "round {round}: a kill is not damage");
            for writer in 0..WRITERS {
                last[writer] = acknowledged[writer].or(last[writer]);
                let rows = all(&log, &format!("k/{writer}/")).await;
                assert!(rows.windows(2).all(|pair| pair[0].1 == pair[1].1), "round {round}: half a batch");
                let there = rows.first().map(|(_, value)| value[..8].parse::<usize>().unwrap());
                assert!(there >= last[writer], "round {round}: {there:?} of {:?}", last[writer]);
                let own = all(&log, &format!("n/{writer}/")).await;
                let count = there.map_or(0, |there| there + 1);
                let numbers = own.iter().map(|(key, _)| key[4..].parse::<usize>().unwrap());
                assert!(numbers.eq(count.saturating_sub(500)..count), "round {round}");
                last[writer] = there;
            }
        });
    }
    println!("{last:?} batches");
    assert!(last.iter().all(|last| last.is_some_and(|last| last > 100)), "the children did work");
}
