//! What idle connections and slow uploads cost the broker: the real program, its resident memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

mod support;

/// No wait in these tests is longer on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Idle connections, where the system lets us open so many files.
const IDLE: u64 = 5_000;
/// Files that both processes need besides.
const OTHER_FILES: u64 = 200;
/// What an idle connection may cost: its task, its buffer, its share of the allocator's slack.
const IDLE_KIB_MAX: u64 = 32;
const UPLOADS: u64 = 50;
const UPLOAD_KIB: u64 = 5 * 1024;
/// What the broker may take beside the bodies themselves.
const SLACK_KIB: u64 = 96 * 1024;

struct Broker {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Broker {
    fn start() -> Broker {
        let dir = tempfile::tempdir().unwrap();
        let port = support::free_port();
        let config = format!("[server]\nlisten = \"127.0.0.1:{port}\"\n[nats]\nenabled = false\n");
        std::fs::write(dir.path().join("forebay.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.arg("serve").current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let broker = Broker { child: command.spawn().unwrap(), addr: ([127, 0, 0, 1], port).into(), _dir: dir };
        let soon = Instant::now() + PATIENCE;
        while TcpStream::connect(broker.addr).is_err() {
            assert!(Instant::now() < soon, "the broker does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        broker
    }

    /// Resident memory now.
    fn kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The status of the answer that comes next; its head and body, if small, are read with it.
fn status(stream: &mut TcpStream) -> u16 {
    let mut said = [0; 4096];
    let count = stream.read(&mut said).unwrap();
    String::from_utf8_lossy(&said[..count]).get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn healthy(stream: &mut TcpStream) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert_eq!(status(stream), 200);
}

#[test]
fn idle_connections_and_slow_uploads_take_bounded_memory() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
    let files = limit.maximum.unwrap_or(u64::MAX);
    let broker = Broker::start();
    healthy(&mut broker.connect());
    let at_rest = broker.kib();

    let idle = IDLE.min(files.saturating_sub(OTHER_FILES));
    // Every other one has been served before.
    let mut connections: Vec<TcpStream> = (0..idle).map(|_| broker.connect()).collect();
    connections.iter_mut().step_by(2).for_each(healthy);
    let with_idle = broker.kib();
    eprintln!("{at_rest} KiB at rest, {with_idle} KiB with {idle} idle connections");
    assert!(with_idle - at_rest < idle * IDLE_KIB_MAX + SLACK_KIB, "{at_rest} to {with_idle} KiB");

    let body =
        format!(r#"{{"model":"nobody/knows","input":"{}"}}"#, "a".repeat(usize::try_from(UPLOAD_KIB * 1024).unwrap()));
    let (most, rest) = body.as_bytes().split_at(body.len() - 1024);
    let mut uploads: Vec<TcpStream> = (0..UPLOADS).map(|_| broker.connect()).collect();
    for stream in &mut uploads {
        let head = format!("POST /v1/run HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
    }
    for piece in most.chunks(256 * 1024) {
        uploads.iter_mut().for_each(|stream| stream.write_all(piece).unwrap());
    }
    healthy(&mut broker.connect());
    let with_uploads = broker.kib();
    eprintln!("{with_uploads} KiB with {UPLOADS} uploads of {UPLOAD_KIB} KiB under way");
    assert!(with_uploads - with_idle < UPLOADS * UPLOAD_KIB * 3 / 2 + SLACK_KIB, "{with_idle} to {with_uploads} KiB");

    // Half of them are aborted; the others are answered.
    drop(uploads.split_off(usize::try_from(UPLOADS / 2).unwrap()));
    for stream in &mut uploads {
        stream.write_all(rest).unwrap();
        assert_eq!(status(stream), 404, "it was read to its end: there is no such model");
    }
    connections.iter_mut().step_by(97).for_each(healthy);
}
