//! Jobs, events and readers for the tests of the log.

use std::path::Path;
use std::sync::Arc;

use forebay::clock::Clock;
use forebay::config::{Durability, LogConfig};
use forebay::job::{
    AttemptOutcome, Charge, Completed, Cost, Delta, Event, Job, JobId, Record, Timestamp, Timing, Usage, UsageSource,
    Usd,
};
use forebay::log::memory::MemoryLog;
use forebay::log::{Batch, DiskLog, Followed, Follower, Log, Opened, Stream, StreamWriter};
use forebay::wire::Cursor;
use forebay::wire::record;

/// An implementation of the log, with its directory if it has one.
pub(crate) struct Bed {
    pub(crate) name: &'static str,
    pub(crate) log: Arc<dyn Log>,
    disk: Option<(Arc<DiskLog>, tempfile::TempDir)>,
}

impl Bed {
    /// Does now what the log does in its own time.
    pub(crate) fn settle(&self) {
        if let Some((disk, _)) = &self.disk {
            disk.settle();
        }
    }
}

/// Runs one law on every implementation.
pub(crate) fn check(law: impl AsyncFn(&Bed)) {
    let memory = || Bed { name: "memory", log: MemoryLog::new(Clock::System), disk: None };
    let disk = || {
        let dir = tempfile::tempdir().expect("a directory");
        let log = open(&config(dir.path()));
        Bed { name: "disk", log: log.clone(), disk: Some((log, dir)) }
    };
    for make in [&memory as &dyn Fn() -> Bed, &disk] {
        runtime().block_on(async {
            let bed = make();
            println!("on {}", bed.name);
            law(&bed).await;
            bed.log.close().await;
        });
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A small log that does not wait for the disk: what is tested here is not the disk's cache.
pub(crate) fn config(path: &Path) -> LogConfig {
    LogConfig {
        path: path.join("data"),
        durability: Durability::Process,
        journal_bytes_max: 16 * 1024 * 1024,
        free_bytes_min: 0,
        ..LogConfig::default()
    }
}

pub(crate) fn open(config: &LogConfig) -> Arc<DiskLog> {
    DiskLog::open(config, Clock::System).expect("the log opens")
}

pub(crate) fn id(text: &str) -> JobId {
    text.parse().expect("a token")
}

/// A job with a client's id. `body` stands for everything else in it.
pub(crate) fn job(name: &str, body: u8) -> Job {
    let job = crate::job::job("scripted/echo").id(name).input(serde_json::json!({"prompt": "hi", "n": body}));
    job.tags(r#"{"teamId":"AI"}"#).submitted_at(Timestamp(1_795_000_000_000)).body_sha256([body; 32]).build()
}

pub(crate) fn delta(text: impl Into<String>) -> Event {
    Event::Delta(Delta { text: text.into(), ..Delta::default() })
}

pub(crate) fn completed(usage: Usage, cost: Cost) -> Event {
    Event::Completed(Completed {
        finish_reason: "stop".into(),
        native_finish_reason: None,
        usage,
        cost,
        timing: Timing::default(),
        attempts: 1,
    })
}

pub(crate) fn end() -> Event {
    completed(Usage::default(), Cost::FREE)
}

/// A terminal with its charge.
pub(crate) fn paid_end(job: &Job, micro_usd: i128, at: Timestamp) -> Batch {
    let usage = Usage { output_tokens: Some(7), source: UsageSource::Provider, ..Usage::default() };
    let cost = Cost { usd: Usd::from_pico(micro_usd * 1_000_000), priced: true };
    let charge = Charge {
        job: job.id.clone(),
        attempt: 1,
        at,
        gateway: job.gateway.clone(),
        model: job.model.clone(),
        provider: "scripted".into(),
        provider_model: "echo".into(),
        metadata: job.metadata.clone(),
        outcome: AttemptOutcome::Completed,
        usage: usage.clone(),
        cost,
        closes_job: true,
        unpriced_job: false,
    };
    Batch { events: vec![completed(usage, cost)], charges: vec![charge], ..Batch::default() }
}

pub(crate) async fn start(log: &Arc<dyn Log>, job: Job) -> StreamWriter {
    match log.open(Arc::new(job)).await.expect("it opens") {
        Opened::New(writer) => writer,
        Opened::Joined(_) => panic!("it is known already"),
    }
}

/// A finished stream of `count` deltas of `size` bytes.
pub(crate) async fn finished(log: &Arc<dyn Log>, name: &str, count: usize, size: usize) -> Arc<Stream> {
    let mut writer = start(log, job(name, 1)).await;
    for i in 0..count {
        writer.append(vec![delta(text(i, size))].into()).await.expect("it appends");
    }
    writer.append(vec![end()].into()).await.expect("it ends");
    Arc::clone(writer.stream())
}

/// Text that says which piece it is, in `size` bytes or a few more.
pub(crate) fn text(piece: usize, size: usize) -> String {
    let mut text = format!("{piece:08} ");
    while text.len() < size {
        text.push(char::from(b'a' + ((piece + text.len()) % 26) as u8));
    }
    text
}

/// Everything from `cursor` to the terminal, or to the tail if there is none.
pub(crate) async fn read(log: &Arc<dyn Log>, stream: &Arc<Stream>, cursor: Cursor, budget: usize) -> Vec<Record> {
    let mut follower = Follower::new(log.clone(), Arc::clone(stream), cursor).expect("a good cursor");
    let mut records: Vec<Record> = Vec::new();
    while !follower.is_caught_up() || stream.tail().state.is_terminal() {
        match follower.next(budget).await.expect("it reads") {
            Followed::Records(chunk) => {
                let decoded = chunk.iter().map(|(seq, bytes)| record::decode(seq, bytes).expect("a record"));
                records.extend(decoded.map(record::RecordRef::into_record));
            }
            Followed::End(state) => {
                assert_eq!(records.last().map_or(Some(state), |last| last.event.terminal()), Some(state));
                break;
            }
        }
    }
    for pair in records.windows(2) {
        assert_eq!(pair[0].seq + 1, pair[1].seq, "records are dense");
    }
    records
}

pub(crate) fn texts(records: &[Record]) -> Vec<&str> {
    records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Delta(delta) => Some(delta.text.as_str()),
            _ => None,
        })
        .collect()
}

pub(crate) async fn found(log: &Arc<dyn Log>, name: &str) -> Option<Arc<Stream>> {
    match log.find(&id(name)).await.expect("it looks") {
        forebay::log::Found::Stream(stream) => Some(stream),
        _ => None,
    }
}
