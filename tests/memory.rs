//! What idle connections and slow uploads cost the broker: the real program, its resident memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::clock::Clock;
use forebay::config::LogConfig;
use forebay::job::{Event, Interrupted, Job, Output, OutputBody};
use forebay::log::{DiskLog, Log, Opened, Outputs, Streams};
use forebay::wire::submit::{self, Entrance};
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

const OUTPUT_CHUNKS: u64 = 512;
const OUTPUT_CHUNK_BYTES: usize = 512 * 1024;
/// What writing or reading an output of 256 MiB may take: a few chunks and the allocator's slack.
const OUTPUT_KIB_MAX: u64 = 48 * 1024;

struct Broker {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Broker {
    fn start() -> Broker {
        Broker::start_in(tempfile::tempdir().unwrap())
    }

    /// Starts in a directory that may hold a data folder.
    fn start_in(dir: TempDir) -> Broker {
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

    /// Returns the resident memory now.
    fn kib(&self) -> u64 {
        memory_kib(self.child.id(), "VmRSS:")
    }

    /// The most resident memory that there was.
    fn peak_kib(&self) -> u64 {
        memory_kib(self.child.id(), "VmHWM:")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

fn memory_kib(process: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
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

/// Stores a job with an output of [`OUTPUT_CHUNKS`] chunks in a data folder.
async fn store_large_output(data: &Path) {
    let config = LogConfig { path: data.into(), ..LogConfig::default() };
    let log = tokio::task::spawn_blocking(move || DiskLog::open(&config, Clock::System)).await.unwrap().unwrap();
    let job = submit::from_json(br#"{"model":"local/video","input":"x","id":"large"}"#).unwrap();
    let job: Job = job.into_job(&Entrance::default(), Clock::System.now()).unwrap();
    let Opened::New(mut writer) = log.open(Arc::new(job)).await.unwrap() else { panic!("a new job") };
    let before = memory_kib(std::process::id(), "VmRSS:");
    let mut output = log.begin_output(writer.stream()).unwrap();
    for number in 0..OUTPUT_CHUNKS {
        output.write(Bytes::from(vec![number as u8; OUTPUT_CHUNK_BYTES])).await.unwrap();
    }
    let stored = output.finish().await.unwrap();
    let after = memory_kib(std::process::id(), "VmRSS:");
    assert!(after.saturating_sub(before) < OUTPUT_KIB_MAX, "{before} to {after} KiB for {} bytes", stored.bytes);
    let body = OutputBody::Url("/v1/jobs/large/outputs/0".into());
    let output = Output { index: 0, mime: "video/mp4".into(), sha256: Some(stored.sha256.into()), body };
    let end = Event::Interrupted(Interrupted { usage: Default::default(), cost: Default::default() });
    writer.append(vec![Event::Output(output), end].into()).await.unwrap();
    log.close().await;
}

#[test]
fn a_large_output_is_written_and_served_without_being_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join(LogConfig::default().path);
    tokio::runtime::Runtime::new().unwrap().block_on(store_large_output(&data));
    let broker = Broker::start_in(dir);
    healthy(&mut broker.connect());
    let at_rest = broker.peak_kib();
    let mut stream = broker.connect();
    let request = "GET /v1/jobs/large/outputs/0 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let (mut read, mut buffer) = (0, vec![0; 1024 * 1024]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        read += count as u64;
    }
    let peak = broker.peak_kib();
    eprintln!("{at_rest} KiB at rest, {peak} KiB at most while an output was served");
    assert!(read >= OUTPUT_CHUNKS * OUTPUT_CHUNK_BYTES as u64, "{read} bytes");
    assert!(peak - at_rest < OUTPUT_KIB_MAX, "{at_rest} to {peak} KiB");
}
