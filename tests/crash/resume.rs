//! Readers whose lines break, and break again: on every door that can be resumed they piece together exactly what a
//! reader saw who was never cut. `SEED=… cargo test --test crash line` repeats a run.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::broker::{Broker, long_job, soon};
use crate::line::{self, Answer, Break};

/// Times that lines break, at least, for each way of resuming: while jobs run, and again after their end.
const BREAKS: usize = 200;
const JOBS: usize = 4;
const PIECES: u64 = 600;
const INTERVAL_MS: u64 = 3;
/// A line's most bytes: so few that a reader needs more lines than its share of `BREAKS`.
const BYTES_MAX: usize = 3_000;
const KILLS: usize = 4;

/// How a reader says where it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Way {
    /// The header of browsers' `EventSource`.
    LastEventId,
    /// `?cursor=`.
    Cursor,
    /// `?from=`: how many events it has.
    From,
}

const WAYS: [Way; 3] = [Way::LastEventId, Way::Cursor, Way::From];

/// One reader of one job.
struct Reader {
    way: Way,
    job: String,
    /// What it has, as it was sent.
    has: Vec<String>,
    /// Where it was.
    place: String,
    ended: bool,
    breaks: usize,
}

impl Reader {
    fn new(way: Way, job: &str) -> Reader {
        Reader { way, job: job.to_owned(), has: Vec::new(), place: "-1".to_owned(), ended: false, breaks: 0 }
    }

    /// Path and headers of what it asks next.
    fn asks(&self) -> (String, String) {
        let Reader { job, place, .. } = self;
        let events = format!("/v1/jobs/{job}/events");
        match self.way {
            Way::LastEventId => (events, format!("last-event-id: {place}\r\n")),
            Way::Cursor => (format!("{events}?cursor={place}"), String::new()),
            Way::From => (format!("{events}?from={}", self.has.len()), String::new()),
        }
    }

    /// Takes what arrived whole.
    fn takes(&mut self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{:?} {}", self.way, String::from_utf8_lossy(&answer.body));
        for (place, data) in events(&answer.body) {
            let record: Value = serde_json::from_str(&data).unwrap();
            self.ended = ["completed", "failed", "interrupted"].iter().any(|kind| record["kind"] == **kind);
            self.has.push(data);
            self.place = place;
        }
    }

    /// Reads to the job's end, through everything.
    async fn reads(mut self, broker: String, mut random: fastrand::Rng) -> Reader {
        while !self.ended {
            let (path, headers) = self.asks();
            let breaks = Break::draw(&mut random, BYTES_MAX);
            match line::get(&broker, &path, &headers, Some(breaks)).await {
                Ok(answer) => {
                    self.breaks += usize::from(answer.as_ref().is_none_or(|answer| !answer.whole));
                    answer.iter().for_each(|answer| self.takes(answer));
                }
                // Nobody listens while the broker is dead.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        self
    }
}

/// The events of a session that are whole: `id` and `data`.
fn events(session: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(session);
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    let field = |event: &str, name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let events = whole.split("\n\n");
    events.filter_map(|event| Some((field(event, "id: ").unwrap_or_default(), field(event, "data: ")?))).collect()
}

/// A seed that a failure prints, or that of `$SEED`.
fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    seed
}

/// Every job's readers by every way, each with chances of its own. They read while nobody waits for them.
fn begin(broker: &Broker, jobs: &[String], random: &mut fastrand::Rng) -> Vec<JoinHandle<Reader>> {
    let each = jobs.iter().flat_map(|job| WAYS.map(|way| (way, job)));
    let reads = each.map(|(way, job)| Reader::new(way, job).reads(broker.address(), random.fork()));
    reads.map(tokio::spawn).collect()
}

async fn end(reading: Vec<JoinHandle<Reader>>) -> Vec<Reader> {
    let read = soon("readers to come to the end", join_all(reading)).await;
    read.into_iter().map(Result::unwrap).collect()
}

/// Each has what a reader saw whose line did not break; by way, how many broke.
async fn check(broker: &Broker, readers: &[Reader]) -> BTreeMap<Way, usize> {
    let mut broken = BTreeMap::new();
    for reader in readers {
        let path = Reader::new(reader.way, &reader.job).asks().0;
        let uncut = line::get(&broker.address(), &path, "", None).await.unwrap().unwrap();
        assert!(uncut.whole);
        let whole: Vec<String> = events(&uncut.body).into_iter().map(|(_, data)| data).collect();
        assert_eq!(reader.has, whole, "{:?} of {}", reader.way, reader.job);
        *broken.entry(reader.way).or_default() += reader.breaks;
    }
    broken
}

/// The records of a job are dense, and say all that its script says.
async fn check_records(broker: &Broker, job: &str) {
    let uncut = line::get(&broker.address(), &format!("/v1/jobs/{job}/events"), "", None).await.unwrap().unwrap();
    let mut text = String::new();
    for (seq, (_, data)) in events(&uncut.body).into_iter().enumerate() {
        let record: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(record["seq"], seq, "{job}");
        text += record["text"].as_str().unwrap_or_default();
    }
    assert_eq!(text, (0..PIECES).map(|n| format!("{n} ")).collect::<String>(), "{job}");
}

async fn submit(broker: &Broker) -> Vec<String> {
    let door = broker.door();
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let options = json!({"on_crash": "continue"});
        jobs.push(door.submit(&long_job(&format!("j{number}"), PIECES, INTERVAL_MS, &options)).await);
    }
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_breaks_200_times_at_any_byte_loses_and_doubles_nothing() {
    let mut random = fastrand::Rng::with_seed(seed());
    let broker = Broker::start(None, "").await;
    let jobs = submit(&broker).await;
    for when in ["while they run", "after their end"] {
        let readers = end(begin(&broker, &jobs, &mut random)).await;
        let broken = check(&broker, &readers).await;
        println!("{when}: {broken:?}");
        assert!(WAYS.iter().all(|way| broken[way] >= BREAKS), "{when}: {broken:?}");
    }
    for job in &jobs {
        check_records(&broker, job).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_under_readers_whose_lines_break_loses_and_doubles_nothing() {
    let mut random = fastrand::Rng::with_seed(seed());
    let mut broker = Broker::start(None, "").await;
    let jobs = submit(&broker).await;
    let reading = begin(&broker, &jobs, &mut random);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.u64(100..600))).await;
        broker.kill();
        broker.up().await;
    }
    println!("{:?}", check(&broker, &end(reading).await).await);
    for job in &jobs {
        check_records(&broker, job).await;
    }
}
