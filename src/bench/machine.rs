//! Facts about the machine and its processes, read from the kernel.
//!
//! Owns the units in which rows are compared: CPU seconds of a process, its resident bytes, and
//! what one fdatasync of 4 KiB takes on the disk that the log is on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Ticks per second of the times in `/proc/<pid>/stat`. The kernel's ABI fixes it on every
/// architecture that we build for.
const USER_HZ: f64 = 100.0;
/// Bytes of the write whose fdatasync is the unit.
const SYNC_BYTES: usize = 4096;
/// How often that unit is measured.
const SYNC_ROUNDS: u64 = 300;

/// The machine that the figures were measured on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) fdatasync_4k_p50_ms: f64,
    pub(super) fdatasync_4k_p99_ms: f64,
    pub(super) open_files_max: u64,
    pub(super) load_1m_at_start: f64,
    pub(super) revision: String,
    pub(super) build: &'static str,
    pub(super) durability: &'static str,
}

impl Machine {
    /// Reads the facts of this machine; the disk is that of `dir`.
    pub(super) fn look(dir: &Path) -> Result<Machine> {
        let (p50, p99) = fdatasync(dir).with_context(|| format!("measure fdatasync in {}", dir.display()))?;
        let first = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let load = first("/proc/loadavg");
        Ok(Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: first("/proc/sys/kernel/osrelease").trim().to_owned(),
            fdatasync_4k_p50_ms: p50.as_secs_f64() * 1e3,
            fdatasync_4k_p99_ms: p99.as_secs_f64() * 1e3,
            open_files_max: raise_open_files(),
            load_1m_at_start: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
            revision: revision(),
            build: if cfg!(debug_assertions) { "debug: figures mean nothing" } else { "release" },
            durability: "power",
        })
    }

    /// Measures the unit again. The lowest of a run counts: what others do to the disk for a while must
    /// not make the targets lax.
    pub(super) fn look_again(&mut self, dir: &Path) -> Result<()> {
        let (p50, p99) = fdatasync(dir).with_context(|| format!("measure fdatasync in {}", dir.display()))?;
        let (p50, p99) = (p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
        if p50 < self.fdatasync_4k_p50_ms {
            (self.fdatasync_4k_p50_ms, self.fdatasync_4k_p99_ms) = (p50, p99);
        }
        Ok(())
    }

    /// The unit of every time that waits for the disk, in milliseconds.
    pub(super) fn sync_ms(&self) -> f64 {
        self.fdatasync_4k_p50_ms
    }
}

/// Returns the nanoseconds of the clock that all processes of this machine share.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Returns the CPU time of a process so far, all its threads, ended ones included.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the measured process is gone")?;
    // The name may hold spaces and brackets; the fields after the last bracket are plain.
    let (_, fields) = stat.rsplit_once(')').context("/proc/<pid>/stat has another form")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = (ticks(11).context("no utime")?, ticks(12).context("no stime")?);
    Ok(Duration::from_secs_f64((user + system) as f64 / USER_HZ))
}

/// Returns the CPU time of a process's threads so far, by name; threads of the same name are one.
pub(super) fn thread_cpu(pid: u32) -> Result<BTreeMap<String, Duration>> {
    let mut used: BTreeMap<String, Duration> = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the measured process is gone")? {
        let path = task?.path();
        // A thread may end between the two; what it used is lost then.
        let (Ok(name), Ok(stat)) = (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        let on_cpu_ns = stat.split_whitespace().next().and_then(|first| first.parse().ok());
        *used.entry(name.trim().to_owned()).or_default() +=
            Duration::from_nanos(on_cpu_ns.context("/proc/<pid>/task/<tid>/schedstat has another form")?);
    }
    Ok(used)
}

/// Returns the resident bytes of a process.
pub(super) fn rss_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Returns the most resident bytes that a process ever had.
pub(super) fn rss_most_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the measured process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} is not a number"))?;
    Ok(kib * 1024)
}

/// Returns the bytes that the kernel holds for all TCP sockets of this machine: what was sent and not read is
/// there, and in no process's memory. Exact to a megabyte per core.
pub(super) fn tcp_bytes() -> Result<u64> {
    let stat = fs::read_to_string("/proc/net/sockstat").context("the kernel does not tell its sockets' memory")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("TCP:")).context("no TCP in sockstat")?;
    let pages = line.split_whitespace().skip_while(|word| *word != "mem").nth(1).context("no mem in sockstat")?;
    Ok(pages.parse::<u64>().context("mem is not a number")? * rustix::param::page_size() as u64)
}

/// Allows this process, and those it starts, as many open files as the machine does.
pub(super) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hardest = limit.maximum;
    if limit.current != hardest {
        // Refused = it stays as it is, and the rows that need more say so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: hardest, maximum: hardest });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn fdatasync(dir: &Path) -> Result<(Duration, Duration)> {
    let path = dir.join("fdatasync");
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
    let page = [7; SYNC_BYTES];
    for at in 0..SYNC_ROUNDS {
        file.write_all_at(&page, at * SYNC_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut took = Vec::new();
    for at in 0..SYNC_ROUNDS {
        let start = Instant::now();
        file.write_all_at(&page, at * SYNC_BYTES as u64)?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    fs::remove_file(&path)?;
    took.sort_unstable();
    Ok((took[took.len() / 2], took[took.len() * 99 / 100]))
}

fn revision() -> String {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let version = output.ok().filter(|output| output.status.success());
    version.map_or_else(|| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_worked_has_cpu_time_and_memory() {
        let pid = std::process::id();
        let before = cpu(pid).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(60) {}
        assert!(cpu(pid).unwrap() > before);
        assert!(thread_cpu(pid).unwrap().values().sum::<Duration>() > Duration::from_millis(10));
        assert!(rss_bytes(pid).unwrap() > 100_000);
        assert!(cpu(u32::MAX).is_err());
    }

    #[test]
    fn the_shared_clock_moves_on() {
        let before = now_ns();
        assert!(now_ns() >= before && before > 0);
    }
}
