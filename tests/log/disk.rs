//! A disk that fills up: a clear word for new jobs and running ones, no damage, and back to work
//! when there is space again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use forebay::config::LogConfig;
use forebay::job::Code;
use forebay::log::{DiskLog, Log, Opened};
use forebay::wire::Cursor;

use crate::support::*;

/// A real, small disk; unmounted when dropped.
struct SmallDisk(PathBuf, Option<tempfile::TempDir>);

impl SmallDisk {
    /// `None` where we may not mount one.
    fn mount() -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&path).output();
        if !made.is_ok_and(|output| output.status.success()) {
            return None;
        }
        Some(SmallDisk(path, Some(dir)))
    }

    /// Fills it with a file, leaving `leave` bytes.
    fn fill(&self, leave: u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let size = usize::try_from(free.saturating_sub(leave)).unwrap();
        fs::write(self.0.join("ballast"), vec![1; size]).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        drop(self.1.take());
    }
}

fn small(path: &Path) -> LogConfig {
    LogConfig {
        path: path.join("data"),
        journal_bytes_max: 4 * 1024 * 1024,
        free_bytes_min: 4 * 1024 * 1024,
        ..config(path)
    }
}

fn code<T>(result: Result<T, forebay::job::Failure>) -> Option<Code> {
    result.err().map(|failure| failure.code)
}

async fn refuses(log: &Arc<dyn Log>, disk: &DiskLog) {
    disk.settle();
    assert!(log.health().refusing.is_some());
    assert_eq!(code(log.open(Arc::new(job("new", 1))).await), Some(Code::Overloaded));
}

#[test]
fn a_full_disk_refuses_new_jobs_ends_running_ones_and_recovers() {
    let Some(disk) = SmallDisk::mount() else {
        println!("SKIPPED: a small disk cannot be mounted here (not root?)");
        return;
    };
    let config = small(&disk.0);
    let mut records = Vec::new();
    runtime().block_on(async {
        let disk_log = open(&config);
        let log: Arc<dyn Log> = disk_log.clone();
        finished(&log, "before", 100, 500).await;
        let mut running = Vec::new();
        for i in 0..50 {
            running.push(start(&log, job(&format!("run-{i}"), 1)).await);
        }
        // Less than nothing is left: not a block for sled, nor for a new file.
        disk.fill(0);
        refuses(&log, &disk_log).await;
        for writer in &mut running {
            assert_eq!(code(writer.append(vec![delta("x")].into()).await), Some(Code::Overloaded));
        }
        let stream = found(&log, "before").await.unwrap();
        assert_eq!(read(&log, &stream, Cursor::Start, 999).await.len(), 102, "what is there is read");
        assert!(matches!(log.open(Arc::new(job("before", 1))).await.unwrap(), Opened::Joined(_)));
        assert_eq!(code(log.put_output_bytes(&stream, vec![1; 100].into()).await), Some(Code::Overloaded));
        for writer in &mut running[..40] {
            writer.append(vec![end()].into()).await.unwrap();
        }
        disk.empty();
        disk_log.settle();
        assert_eq!(log.health().refusing, None);
        assert_eq!(log.health().notes, Vec::<String>::new());
        for writer in &mut running[40..] {
            writer.append(vec![delta("y"), end()].into()).await.unwrap();
        }
        finished(&log, "after", 100, 500).await;
        for name in ["before", "after", "run-0", "run-49"] {
            let stream = found(&log, name).await.unwrap();
            records.push((name, read(&log, &stream, Cursor::Start, 999).await));
        }
    });
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        assert_eq!(log.health().notes, Vec::<String>::new());
        assert!(log.unfinished().is_empty());
        for (name, before) in &records {
            let stream = found(&log, name).await.unwrap();
            assert_eq!(&read(&log, &stream, Cursor::Start, 999).await, before);
        }
    });
}

#[test]
fn a_log_that_is_killed_on_a_full_disk_comes_back() {
    let Some(disk) = SmallDisk::mount() else {
        println!("SKIPPED: a small disk cannot be mounted here (not root?)");
        return;
    };
    let config = small(&disk.0);
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        finished(&log, "a", 100, 500).await;
        let mut open = start(&log, job("b", 1)).await;
        disk.fill(0);
        while open.append(vec![delta("x")].into()).await.is_ok() {}
        open.append(vec![end()].into()).await.unwrap();
    });
    disk.empty();
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        assert_eq!(log.health().notes, Vec::<String>::new());
        assert_eq!(found(&log, "a").await.unwrap().tail().durable, 102);
        assert!(found(&log, "b").await.unwrap().tail().state.is_terminal());
    });
}

#[test]
fn below_the_free_bytes_wanted_only_ends_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let plenty = config(dir.path());
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&plenty);
        start(&log, job("open", 1)).await;
    });
    let never = LogConfig { free_bytes_min: u64::MAX, ..plenty };
    runtime().block_on(async {
        let disk = open(&never);
        let log: Arc<dyn Log> = disk.clone();
        refuses(&log, &disk).await;
        let mut writer = log.unfinished().remove(0).writer;
        assert_eq!(code(writer.append(vec![delta("x")].into()).await), Some(Code::Overloaded));
        writer.append(vec![end()].into()).await.unwrap();
    });
}
