//! The processes of a measurement: upstream, floor and broker, each on its own so that its CPU and
//! memory are its own.
//!
//! Promises that none outlives the bench: the kernel kills them when its main thread ends, however
//! it ends. Does not know what is measured.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};

use super::client::Connection;
use super::{Role, machine};

/// Seconds within which a process must have started.
const START_S: u64 = 20;

/// A process that is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Process {
    /// Returns the id of the process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts a helper process of the bench and waits until it listens.
    pub(super) fn helper(role: Role, upstream: Option<SocketAddr>) -> Result<Process> {
        let mut command = myself(role)?;
        if let Some(upstream) = upstream {
            command.arg("--upstream").arg(upstream.to_string());
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("start a helper of the bench")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("a helper without stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim().parse() {
            Ok(address) => Ok(Process { child, address }),
            Err(_) => {
                // The process has printed the reason on stderr.
                let _ = child.kill();
                let _ = child.wait();
                bail!("the bench's {role:?} did not start")
            }
        }
    }

    /// Waits for a helper that writes `records` into the log of `dir` and dies of a `kill -9`.
    pub(super) async fn until_killed(role: Role, dir: &Path, records: u64) -> Result<()> {
        let mut command = myself(role)?;
        command.arg("--out").arg(dir).arg("--records").arg(records.to_string());
        let child = command.spawn().with_context(|| format!("start the bench's {role:?}"))?;
        let mut process = Process { child, address: ([0; 4], 0).into() };
        loop {
            match process.child.try_wait()? {
                Some(status) if status.signal() == Some(Signal::KILL.as_raw()) => return Ok(()),
                Some(status) => bail!("the bench's {role:?} ended with {status}"),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Starts a broker with a configuration of its own and waits until it is ready for jobs.
    pub(super) async fn broker(dir: &Path, upstream: SocketAddr) -> Result<Process> {
        let address = free_address()?;
        let config = dir.join("forebay.toml");
        std::fs::write(&config, configuration(dir, address, upstream))?;
        let log = dir.join("broker.log");
        let output = File::create(&log)?;
        let mut command = myself(Role::Broker)?;
        command.arg("--broker-config").arg(&config).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("start the broker")?;
        let mut broker = Process { child, address };
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(START_S) {
            if let Some(status) = broker.child.try_wait()? {
                bail!("the broker ended with {status} before it was ready: {}", last_lines(&log));
            }
            if is_ready(address).await {
                return Ok(broker);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the broker was not ready within {START_S} s: {}", last_lines(&log))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already = nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory on the disk of `--out` that is removed when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new directory in `parent`.
    pub(super) fn new(parent: &Path) -> Result<Scratch> {
        let path = parent.join(format!("run-{}-{}", std::process::id(), machine::now_ns()));
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Scratch(path.canonicalize()?))
    }

    /// Returns the path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in an ignored folder, and the next `make clean` takes it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Prepares a child process: it dies with the bench, and may open as many files as the machine allows.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn settle_in() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("die with the bench")?;
    machine::raise_open_files();
    Ok(())
}

/// Ends this child process as a `kill -9` would.
pub(super) fn kill_myself() -> Result<()> {
    kill_process(getpid(), Signal::KILL).context("be killed")
}

/// Replaces this child process by `forebay serve`, which keeps what [`settle_in`] set.
pub(super) fn become_broker(config: &Path) -> Result<()> {
    let error = Command::new(std::env::current_exe()?).arg("serve").arg("--config").arg(config).exec();
    Err(error).context("start `forebay serve`")
}

/// Prints the address on which a helper listens.
pub(super) fn announce(address: SocketAddr) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{address}")?;
    Ok(stdout.flush()?)
}

fn myself(role: Role) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.arg("bench").arg("--role").arg(role.name()).stdin(Stdio::null());
    // What the bench measures is not what its caller's environment configures.
    let ours = |name: &OsStr| name.to_string_lossy().starts_with("FOREBAY__");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    Ok(command)
}

/// Returns a port that was free a moment ago; if another process takes it first, the broker ends.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Returns the log's directory of a broker whose files are in `dir`.
pub(super) fn data_dir(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn configuration(dir: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let data = data_dir(dir);
    format!(
        "[server]\nlisten = \"{address}\"\n[nats]\nenabled = false\n[log]\npath = {data:?}\ndurability = \"power\"\n\
         [providers.up]\nkind = \"openai-compatible\"\nbase_url = \"http://{upstream}/v1\"\n"
    )
}

async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else { return false };
    let request = b"GET /readyz HTTP/1.1\r\nHost: bench\r\n\r\n";
    let answered = tokio::time::timeout(Duration::from_secs(1), connection.exchange(request, |_| {})).await;
    matches!(answered, Ok(Ok(200)))
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}
