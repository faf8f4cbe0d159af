//! Readers whose connections break again and again: on every entrance that can be resumed they piece together
//! exactly what a reader received that was never cut. `SEED=… cargo test --test crash line` repeats a run.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::value::RawValue;
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
/// And so many more after each line by which nothing came.
const BYTES_MORE: usize = 500;
const KILLS: usize = 4;

/// The means by which a reader names its position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum ResumeBy {
    /// The header of browsers' `EventSource`.
    LastEventId,
    /// The query parameter `?cursor=`.
    Cursor,
    /// The query parameter `?from=`: the number of events that it has.
    From,
    /// `?starting_after=` of an OpenAI response.
    StartingAfter,
    /// A durable stream's `?offset=`, requested again and again.
    Offset,
    /// The same, answered when there is something.
    LongPoll,
    /// The same as events.
    OffsetSse,
}

const RESUME_WAYS: [ResumeBy; 7] = [
    ResumeBy::LastEventId,
    ResumeBy::Cursor,
    ResumeBy::From,
    ResumeBy::StartingAfter,
    ResumeBy::Offset,
    ResumeBy::LongPoll,
    ResumeBy::OffsetSse,
];

/// A reader of one job with one means of resuming.
struct Reader {
    way: ResumeBy,
    job: String,
    /// Events that it has, as they were sent.
    has: Vec<String>,
    /// Position from which it resumes.
    place: String,
    ended: bool,
    breaks: usize,
}

impl Reader {
    fn new(way: ResumeBy, job: &str) -> Reader {
        Reader { way, job: job.to_owned(), has: Vec::new(), place: "-1".to_owned(), ended: false, breaks: 0 }
    }

    /// Path and headers of what it asks next.
    fn asks(&self) -> (String, String) {
        let Reader { job, place, has, .. } = self;
        let (events, stream) = (format!("/v1/jobs/{job}/events"), format!("/v1/stream/jobs/{job}?offset={place}"));
        let path = match self.way {
            ResumeBy::LastEventId => return (events, format!("last-event-id: {place}\r\n")),
            ResumeBy::Cursor => format!("{events}?cursor={place}"),
            ResumeBy::From => format!("{events}?from={}", has.len()),
            ResumeBy::StartingAfter => match has.len().checked_sub(1) {
                None => format!("/v1/responses/resp_{job}?stream=true"),
                Some(last) => format!("/v1/responses/resp_{job}?stream=true&starting_after={last}"),
            },
            ResumeBy::Offset => stream,
            ResumeBy::LongPoll => stream + "&live=long-poll",
            ResumeBy::OffsetSse => stream + "&live=sse",
        };
        (path, String::new())
    }

    /// Takes what arrived whole.
    fn takes(&mut self, answer: &Answer) {
        let body = String::from_utf8_lossy(&answer.body);
        assert!(answer.status == 200 || answer.status == 204, "{:?} {} {body}", self.way, answer.status);
        match self.way {
            ResumeBy::LastEventId | ResumeBy::Cursor | ResumeBy::From | ResumeBy::StartingAfter => {
                for Sent { id, data, .. } in events(&body) {
                    self.ended = is_last(&data);
                    self.has.push(data);
                    self.place = id;
                }
            }
            // Half an array is none.
            ResumeBy::Offset | ResumeBy::LongPoll if !answer.whole => {}
            ResumeBy::Offset | ResumeBy::LongPoll => {
                self.has.extend(messages(&body));
                self.place = answer.header("stream-next-offset").to_owned();
                self.ended = answer.header("stream-closed") == "true";
            }
            ResumeBy::OffsetSse => {
                let mut received = Vec::new();
                for Sent { event, data, .. } in events(&body) {
                    if event != "control" {
                        received.extend(messages(&data));
                        continue;
                    }
                    // Only what is followed by its place was read.
                    let control: Value = serde_json::from_str(&data).unwrap();
                    self.has.append(&mut received);
                    self.place = control["streamNextOffset"].as_str().unwrap().to_owned();
                    self.ended = control["streamClosed"] == true;
                }
            }
        }
    }

    /// Reads to the job's end, through everything.
    async fn reads(mut self, broker: String, mut random: fastrand::Rng) -> Reader {
        let mut bytes_max = BYTES_MAX;
        while !self.ended {
            let (path, headers) = self.asks();
            let has = self.has.len();
            match line::get(&broker, &path, &headers, Some(Break::draw(&mut random, bytes_max))).await {
                Ok(answer) => {
                    self.breaks += usize::from(answer.as_ref().is_none_or(|answer| !answer.whole));
                    answer.iter().for_each(|answer| self.takes(answer));
                }
                // No server listens while the broker is down.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
            // An event that is too long to arrive whole would be requested without end.
            bytes_max = if self.has.len() > has { BYTES_MAX } else { bytes_max + BYTES_MORE };
        }
        self
    }
}

/// A server-sent event that a reader received.
struct Sent {
    event: String,
    id: String,
    data: String,
}

/// The events of a session that are whole, without the comments between.
fn events(session: &str) -> Vec<Sent> {
    let whole = session.rfind("\n\n").map_or("", |end| &session[..end]);
    let field = |event: &str, name: &str| {
        let lines = event.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
    };
    let sent = |event| Sent { event: field(event, "event:"), id: field(event, "id:"), data: field(event, "data:") };
    whole.split("\n\n").map(sent).filter(|sent| !sent.data.is_empty()).collect()
}

/// The elements of an array, as they were sent.
fn messages(array: &str) -> Vec<String> {
    let array: Vec<Box<RawValue>> = if array.is_empty() { Vec::new() } else { serde_json::from_str(array).unwrap() };
    array.into_iter().map(|message| message.get().to_owned()).collect()
}

/// Whether a record, or an event of a response, is its stream's last.
fn is_last(data: &str) -> bool {
    let value: Value = serde_json::from_str(data).unwrap();
    let name = value["kind"].as_str().or(value["type"].as_str()).unwrap();
    ["completed", "failed", "interrupted", "response.completed", "response.failed"].contains(&name)
}

/// A seed that a failure prints, or that of `$SEED`.
fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    seed
}

/// Starts readers of every job with every means, each with chances of its own. They read in the background.
fn begin(broker: &Broker, jobs: &[String], random: &mut fastrand::Rng) -> Vec<JoinHandle<Reader>> {
    let each = jobs.iter().flat_map(|job| RESUME_WAYS.map(|way| (way, job)));
    let reads = each.map(|(way, job)| Reader::new(way, job).reads(broker.address(), random.fork()));
    reads.map(tokio::spawn).collect()
}

async fn end(reading: Vec<JoinHandle<Reader>>) -> Vec<Reader> {
    let read = soon("readers to come to the end", join_all(reading)).await;
    read.into_iter().map(Result::unwrap).collect()
}

/// Each has what a reader saw whose line did not break; by way, how many broke.
async fn check(broker: &Broker, readers: &[Reader]) -> BTreeMap<ResumeBy, usize> {
    let mut broken = BTreeMap::new();
    for reader in readers {
        let mut uncut = Reader::new(reader.way, &reader.job);
        while !uncut.ended {
            let (path, headers) = uncut.asks();
            let answer = line::get(&broker.address(), &path, &headers, None).await.unwrap().unwrap();
            assert!(answer.whole);
            uncut.takes(&answer);
        }
        assert_eq!(reader.has, uncut.has, "{:?} of {}", reader.way, reader.job);
        *broken.entry(reader.way).or_default() += reader.breaks;
    }
    broken
}

/// The records of a job are dense, and say all that its script says.
async fn check_records(broker: &Broker, job: &str) {
    let uncut = line::get(&broker.address(), &format!("/v1/jobs/{job}/events"), "", None).await.unwrap().unwrap();
    let mut text = String::new();
    for (seq, sent) in events(&String::from_utf8_lossy(&uncut.body)).into_iter().enumerate() {
        let record: Value = serde_json::from_str(&sent.data).unwrap();
        assert_eq!(record["seq"], seq, "{job}");
        text += record["text"].as_str().unwrap_or_default();
    }
    assert_eq!(text, (0..PIECES).map(|n| format!("{n} ")).collect::<String>(), "{job}");
}

async fn submit(broker: &Broker) -> Vec<String> {
    let api = broker.client();
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let options = json!({"on_crash": "continue"});
        jobs.push(api.submit(&long_job(&format!("j{number}"), PIECES, INTERVAL_MS, &options)).await);
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
        assert!(RESUME_WAYS.iter().all(|way| broken[way] >= BREAKS), "{when}: {broken:?}");
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
