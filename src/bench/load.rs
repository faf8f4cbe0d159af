//! Load: closed loop, open loop, and streams that are held.
//!
//! In an open loop each request is a task of its own that starts when it is due, whatever the others
//! do, so a slow answer delays no other start and no wait is left out of the figures.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::Connection;
use super::machine::now_ns;
use super::token::{Scanner, Transit, histogram};

/// Prompt of every request; about as long as a short question.
const PROMPT: &str = "You are a careful assistant. Explain in plain words, and in not more than a few sentences, why a \
                      log that is written before it is read can be read again by any reader at any time.";
/// Seconds after which a held stream counts as dead.
const SILENT_S: u64 = 60;

/// Bytes of an answer that are kept, to report what was wrong with it.
const SAID_BYTES_MAX: usize = 300;

/// The server that is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// Whether requests use Forebay's own API; otherwise the OpenAI dialect.
    pub(super) is_broker: bool,
}

/// A kind of request that a load repeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestShape {
    pub(super) tokens: u64,
    pub(super) pace_us: u64,
    pub(super) streamed: bool,
}

impl RequestShape {
    /// Returns the whole request as bytes.
    pub(super) fn bytes(self, target: &Target) -> Arc<[u8]> {
        self.request(target, "").into()
    }

    /// Turns the request into one for a background job (`options.background`).
    pub(super) fn background(self, target: &Target) -> Arc<[u8]> {
        self.beside(target, ",\"options\":{\"background\":true}")
    }

    /// Adds `more` to the JSON of the job; it begins with a comma.
    pub(super) fn beside(self, target: &Target, more: &str) -> Arc<[u8]> {
        self.request(target, more).into()
    }

    fn request(self, target: &Target, more: &str) -> Vec<u8> {
        let RequestShape { tokens, pace_us, streamed } = self;
        let messages = format!("[{{\"role\":\"user\",\"content\":\"{PROMPT}\"}}]");
        let model = format!("n{tokens}p{pace_us}");
        let (path, body) = if target.is_broker {
            let body = format!(
                "{{\"model\":\"up/{model}\",\"input\":{{\"messages\":{messages}}},\"stream\":{streamed}{more}}}"
            );
            ("/v1/run", body)
        } else {
            let body = format!("{{\"model\":\"{model}\",\"messages\":{messages},\"stream\":{streamed}}}");
            ("/v1/chat/completions", body)
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head, body].concat().into_bytes()
    }
}

/// Results of a load; its clients share it.
#[derive(Clone)]
pub(super) struct Tally {
    transit: Transit,
    answers: Arc<Mutex<Answers>>,
}

struct Answers {
    /// Nanoseconds from the due time to the first token.
    first_ns: Histogram<u64>,
    /// Nanoseconds from the due time to the end.
    whole_ns: Histogram<u64>,
    done: u64,
    tokens: u64,
    failed: u64,
    /// Reason why the first failure happened.
    why: Option<String>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let (first_ns, whole_ns) = (histogram(), histogram());
        let answers = Answers { first_ns, whole_ns, done: 0, tokens: 0, failed: 0, why: None };
        Tally { transit: Arc::new(Mutex::new(histogram())), answers: Arc::new(Mutex::new(answers)) }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().expect("nothing panics while it holds this lock")
    }

    /// Makes a scanner that measures tokens from `since_ns` on.
    pub(super) fn scanner(&self, since_ns: u64) -> Scanner {
        Scanner::since(since_ns, Arc::clone(&self.transit))
    }

    /// Counts a whole answer that was due at `due_ns`.
    pub(super) fn answered(&self, scanner: &Scanner, due_ns: u64) {
        let mut answers = self.lock();
        let since = |at: u64| at.saturating_sub(due_ns);
        answers.first_ns.saturating_record(scanner.first_at_ns.map_or(0, since));
        answers.whole_ns.saturating_record(since(now_ns()));
        answers.tokens += scanner.tokens;
        answers.done += 1;
    }

    /// Counts an answer that did not come whole.
    pub(super) fn failed(&self, why: &anyhow::Error) {
        let mut answers = self.lock();
        answers.failed += 1;
        answers.why.get_or_insert_with(|| format!("{why:#}"));
    }

    /// Returns itself when every answer came whole: the times of a failed load would flatter.
    ///
    /// # Errors
    /// Reason why the first answer did not come whole.
    pub(super) fn whole(self, target: &Target) -> Result<Tally> {
        {
            let answers = self.lock();
            if answers.failed > 0 || answers.done == 0 {
                let (failed, all) = (answers.failed, answers.failed + answers.done);
                let why = answers.why.as_deref().unwrap_or("nothing came");
                bail!("{}: {failed} of {all} answers failed; the first: {why}", target.name);
            }
        }
        Ok(self)
    }

    /// Returns the number of answers that came whole.
    pub(super) fn done(&self) -> u64 {
        self.lock().done
    }

    /// Returns the number of tokens that came in them.
    pub(super) fn tokens(&self) -> u64 {
        self.lock().tokens
    }

    /// Returns the milliseconds from the due time to the first token.
    pub(super) fn first_ms(&self, quantile: f64) -> f64 {
        ms(&self.lock().first_ns, quantile)
    }

    /// Returns the milliseconds from the due time to the end.
    pub(super) fn whole_ms(&self, quantile: f64) -> f64 {
        ms(&self.lock().whole_ns, quantile)
    }

    /// Returns the milliseconds of a token from the upstream's send to our read.
    pub(super) fn transit_ms(&self, quantile: f64) -> f64 {
        ms(&self.transit.lock().expect("nothing panics while it holds this lock"), quantile)
    }
}

/// Returns a quantile in milliseconds.
pub(super) fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e6
}

/// Makes one exchange on a connection that may be reused.
async fn exchange(connection: &mut Connection, request: &[u8], tokens: u64, mut scanner: Scanner) -> Result<Scanner> {
    let mut head = Vec::new();
    let exchange = connection.exchange(request, |bytes| {
        if head.len() < SAID_BYTES_MAX {
            head.extend_from_slice(&bytes[..bytes.len().min(SAID_BYTES_MAX)]);
        }
        scanner.feed(bytes);
    });
    let status = tokio::time::timeout(Duration::from_secs(SILENT_S), exchange).await.context("no end came")??;
    if status != 200 || scanner.tokens != tokens {
        let body = String::from_utf8_lossy(&head).into_owned();
        bail!("status {status}, {} of {tokens} tokens: {body}", scanner.tokens);
    }
    Ok(scanner)
}

/// Runs `connections` clients that send the next request as soon as they are answered.
pub(super) async fn closed(target: &Target, what: RequestShape, connections: usize, lasts: Duration) -> Tally {
    let request = what.bytes(target);
    let until = Instant::now() + lasts;
    let tally = Tally::new();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (address, request, tally) = (target.address, Arc::clone(&request), tally.clone());
        clients.spawn(async move {
            let exchange = async {
                let mut connection = Connection::open(address).await?;
                while Instant::now() < until {
                    let due = now_ns();
                    let scanner = exchange(&mut connection, &request, what.tokens, tally.scanner(0)).await?;
                    tally.answered(&scanner, due);
                }
                Ok(())
            };
            exchange.await.unwrap_or_else(|why| tally.failed(&why));
        });
    }
    clients.join_all().await;
    tally
}

/// Starts requests at a steady rate, on idle connections or new ones.
pub(super) async fn open(target: &Target, what: RequestShape, per_second: u32, lasts: Duration) -> Tally {
    let request = what.bytes(target);
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let mut timer = tokio::time::interval(Duration::from_secs(1) / per_second);
    let tally = Tally::new();
    let mut requests = JoinSet::new();
    for _ in 0..(lasts.as_secs_f64() * f64::from(per_second)) as u64 {
        timer.tick().await;
        let due = now_ns();
        let (address, request, idle, tally) = (target.address, Arc::clone(&request), Arc::clone(&idle), tally.clone());
        requests.spawn(async move {
            let kept = idle.lock().expect("nothing panics while it holds this lock").pop();
            let exchange = async {
                let mut connection = match kept {
                    Some(connection) => connection,
                    None => Connection::open(address).await?,
                };
                let scanner = exchange(&mut connection, &request, what.tokens, tally.scanner(0)).await?;
                tally.answered(&scanner, due);
                idle.lock().expect("nothing panics while it holds this lock").push(connection);
                Ok(())
            };
            exchange.await.unwrap_or_else(|why| tally.failed(&why));
        });
    }
    requests.join_all().await;
    tally
}

/// Holds many streams at once, each opened at its time within `ramp`. Transit is measured after the ramp.
pub(super) async fn held(target: &Target, what: RequestShape, streams: u32, ramp: Duration) -> Tally {
    let request = what.bytes(target);
    let start = Instant::now();
    let since_ns = now_ns() + u64::try_from(ramp.as_nanos()).unwrap_or(0);
    let tally = Tally::new();
    let mut readers = JoinSet::new();
    for index in 0..streams {
        let (address, request, tally) = (target.address, Arc::clone(&request), tally.clone());
        readers.spawn(async move {
            tokio::time::sleep_until(start + ramp * index / streams).await;
            let due = now_ns();
            let read = async {
                let mut connection = Connection::open(address).await?;
                exchange(&mut connection, &request, what.tokens, tally.scanner(since_ns)).await
            };
            match read.await {
                Ok(scanner) => tally.answered(&scanner, due),
                Err(why) => tally.failed(&why),
            }
        });
    }
    readers.join_all().await;
    tally
}
