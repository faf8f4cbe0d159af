//! A data folder that an earlier version wrote opens unchanged.
//!
//! `tests/fixtures/data-folder` was written by commit 9cc0572 (version 0.1.0, 22 November 2026) and left by `kill -9`:
//! four finished jobs that were sealed, a user's stream, one job under way and one that had just finished. Zeros at the
//! ends of journal files were cut off, and journal files without a tick were left out. Never write it anew: a format
//! that a later version reads is added as another folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use forebay::config::LogConfig;
use forebay::job::{Code, Event, Job, Record, State};
use forebay::log::{DiskLog, Log, Opened, RowRange, Status};
use forebay::wire::Cursor;
use sha2::{Digest, Sha256};

use crate::support::*;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/data-folder");
/// Bytes of a journal file in the log that wrote the fixture.
const JOURNAL_FILE_BYTES: u64 = 1024 * 1024;
/// Bytes of the output in the fixture, as the JSON that it is.
const OUTPUT_BYTES: u64 = 33_301;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
            continue;
        }
        fs::copy(entry.path(), &target).unwrap();
        if target.extension().is_some_and(|extension| extension == "journal") {
            fs::OpenOptions::new().write(true).open(&target).unwrap().set_len(JOURNAL_FILE_BYTES).unwrap();
        }
    }
}

fn text(records: &[Record]) -> String {
    texts(records).concat()
}

async fn records(log: &Arc<dyn Log>, name: &str) -> Vec<Record> {
    let stream = found(log, name).await.unwrap_or_else(|| panic!("{name} is lost"));
    read(log, &stream, Cursor::Start, 1 << 16).await
}

/// What must be found each time that the folder is opened.
async fn check_contents(disk: &Arc<DiskLog>) {
    let log: Arc<dyn Log> = disk.clone();
    let log = &log;
    assert_eq!(log.health().notes, Vec::<String>::new(), "nothing is damaged or lost");
    for (name, answer, state) in [
        ("echo", "Rhine, Danube, Elbe.", State::Completed),
        ("output", "", State::Completed),
        ("failed", "", State::Failed),
        ("keyed", "once", State::Completed),
        ("last", "the last", State::Completed),
        ("unfinished", "half an answer", State::Streaming),
    ] {
        let all = records(log, name).await;
        assert!(matches!(all[0].event, Event::Accepted(_)), "{name}");
        assert!(all.iter().map(|record| record.seq).eq(0..all.len() as u64), "{name}");
        assert_eq!(text(&all), answer, "{name}");
        let stream = found(log, name).await.unwrap();
        assert_eq!(stream.tail().state, state, "{name}");
        assert_eq!(stream.head().gateway.as_str(), "default");
        let job: Job = log.job(&stream).await.unwrap().unwrap();
        assert_eq!(job.id, id(name));
        assert_eq!(job.model.to_string(), "scripted/echo");
    }
    let echo = found(log, "echo").await.unwrap();
    let status = serde_json::to_value(Status::of(&echo)).unwrap();
    assert_eq!(status["usage"]["output_tokens"], 2000);
    assert_eq!(status["cost"]["usd"], "0.005");
    assert_eq!(status["metadata"]["teamId"], "me");
    let failed = found(log, "failed").await.unwrap().outcome().unwrap();
    assert_eq!(failed.error.as_ref().map(|failure| failure.code), Some(Code::ProviderRejected));

    let all = records(log, "output").await;
    let output = all.iter().find_map(|record| match &record.event {
        Event::Output(output) => Some(output.clone()),
        _ => None,
    });
    let sha256 = output.unwrap().sha256.unwrap();
    let stream = found(log, "output").await.unwrap();
    let bytes = log.read_output(&stream, &sha256, OUTPUT_BYTES).await.unwrap();
    assert_eq!(bytes.len() as u64, OUTPUT_BYTES);
    assert_eq!(*sha256, Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>());

    let sums = log.rollups(0, u32::MAX).await.unwrap();
    let jobs: u64 = sums.iter().map(|(_, sums)| sums.jobs).sum();
    let pico_usd: i128 = sums.iter().map(|(_, sums)| sums.usd.pico()).sum();
    assert_eq!((jobs, pico_usd), (5, 5_086_000_000), "what the broker said that they cost: 0.005086 USD");
    assert_eq!(disk.charges(0, 100).unwrap().len(), 5);

    let range = RowRange { limit: 100, budget_bytes: usize::MAX, ..RowRange::default() };
    let rows = log.rows(range).await.unwrap();
    let appended = rows.iter().filter(|(_, value)| value.windows(7).any(|bytes| bytes == br#"{"n":1}"#));
    assert_eq!(appended.count(), 1, "the user's stream");
}

#[test]
fn a_data_folder_of_an_earlier_version_opens_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    // The jobs are old: they are to be kept all the same.
    let config = LogConfig { retention_s: u64::from(u32::MAX), ..config(dir.path()) };
    copy(Path::new(FIXTURE), &config.path);
    // As it was left, then as this version left it.
    for opening in 0..2 {
        runtime().block_on(async {
            let disk = open(&config);
            check_contents(&disk).await;
            if opening == 0 {
                disk.settle();
                check_contents(&disk).await;
            }
        });
    }
    runtime().block_on(async {
        let disk = open(&config);
        let log: Arc<dyn Log> = disk.clone();
        let mut unfinished = log.unfinished();
        assert_eq!(unfinished.len(), 1);
        let mut unfinished = unfinished.remove(0);
        assert_eq!(unfinished.job.id, id("unfinished"));
        unfinished.writer.append(vec![delta("!"), end()].into()).await.unwrap();
        assert_eq!(text(&records(&log, "unfinished").await), "half an answer!");
        let mut repeat = log.job(&found(&log, "keyed").await.unwrap()).await.unwrap().unwrap();
        repeat.id = id("another");
        assert!(matches!(log.open(Arc::new(repeat)).await.unwrap(), Opened::Joined(_)), "by its idempotency key");
        assert_eq!(log.rebuild_rollups().await.unwrap(), 5);
        log.forget(&id("output")).await.unwrap();
        disk.settle();
        assert!(found(&log, "output").await.is_none());
        log.close().await;
    });
}
