//! The NATS client of the command line: submit a job, follow it, send a query.
//!
//! Promises each record once and in order, whatever happens to the broker or to NATS in between:
//! when records stop coming it requests `forebay.events` from its cursor, again and again, until the
//! terminal record is there. Does not print.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::job::{Code, Failure, FailureBody, Record, State};
use crate::wire::subject::{HEARTBEAT, Subjects, header};

/// How long opening a connection may take; then the command ends with `cannot connect`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that is silent this long is checked with a status request, which costs the broker one read.
const SILENCE: Duration = Duration::from_secs(5);
/// First and longest wait between two requests to a broker that does not answer.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long a broker may be unreachable before the command gives up; the job can be followed later.
const AWAY_MAX: Duration = Duration::from_secs(300);
/// Messages that may wait while a record is printed.
const SUBSCRIPTION_MESSAGES_MAX: usize = 65_536;

/// A connection to a broker over NATS.
pub struct NatsClient {
    client: Client,
    subjects: Subjects,
}

/// First answer of the broker to a submitted job.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Accepted {
    /// Id of the submitted job.
    pub id: String,
    /// State of the job at that time.
    pub state: State,
    /// Cursor of the first record of the job.
    pub cursor: String,
    /// Whether the job existed already.
    pub reused: bool,
}

/// One step of a run.
#[derive(Clone, PartialEq, Debug)]
pub enum Progress<'a> {
    /// The job is durable.
    Accepted(&'a Accepted),
    /// The next record, each once.
    Record(&'a Record),
    /// The broker does not answer; the run goes on when it is back.
    Unreachable,
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub enum Problem {
    /// NATS or the broker cannot be reached: exit code 3.
    CannotConnect(String),
    /// The broker refused the request.
    Refused(Failure),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        Problem::Refused(failure)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::CannotConnect(why) => write!(f, "cannot connect: {why}"),
            Problem::Refused(failure) => write!(f, "{failure}"),
        }
    }
}

impl std::error::Error for Problem {}

impl NatsClient {
    /// Connects to the NATS server at `url` (user and password may be part of it).
    ///
    /// # Errors
    /// When there is none, or `prefix` is not a subject.
    pub async fn connect(url: &str, prefix: &str, credentials: Option<&str>) -> Result<NatsClient, Problem> {
        let subjects = Subjects::new(prefix)?;
        let options = ConnectOptions::new()
            .name("forebay-cli")
            .connection_timeout(CONNECT_TIMEOUT)
            .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX);
        let options = match credentials {
            Some(text) => options
                .credentials(text)
                .map_err(|_| Failure::invalid("nats.credentials", "is not a credentials file"))?,
            None => options,
        };
        let connected = options.connect(url).await;
        let client = connected.map_err(|error| Problem::CannotConnect(format!("NATS: {error}")))?;
        Ok(NatsClient { client, subjects })
    }

    /// Sends a request and waits for its one answer. `name` is `status`, `cancel`, `costs` or `models`.
    ///
    /// # Errors
    /// The broker's own failure, or that it cannot be reached.
    pub async fn request(&self, name: &str, body: &Value) -> Result<Value, Problem> {
        let answer = self.client.request(self.subjects.endpoint(name), body.to_string().into());
        let answer = timeout(ANSWER_TIMEOUT, answer).await;
        let answer = answer.map_err(|_| Problem::CannotConnect("the broker does not answer".into()))?;
        let message = answer.map_err(|error| Problem::CannotConnect(error.to_string()))?;
        refused(&message).map_or(Ok(()), Err)?;
        serde_json::from_slice(&message.payload)
            .map_err(|error| Failure::internal(format!("the broker's answer: {error}")).into())
    }

    /// Submits a job and follows it to its end, over restarts of the broker. A job without an id gets
    /// one here, so that a repeated submission cannot run it twice.
    ///
    /// # Errors
    /// The broker's refusal, or that it cannot be reached.
    pub async fn run(
        &self,
        mut job: Value,
        on_progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<State, Problem> {
        if let Some(fields) = job.as_object_mut() {
            fields.entry("id").or_insert_with(|| crate::job::StreamId::generate().to_job_id().to_string().into());
        }
        let mut run = Follow { broker: self, next_seq: 0, cursor: "-1".into(), id: String::new() };
        let mut inbox = self.publish("run", &job).await?;
        let first = timeout(ANSWER_TIMEOUT, inbox.next()).await.ok().flatten();
        let first = first.ok_or_else(|| Problem::CannotConnect("the broker does not answer".into()))?;
        refused(&first).map_or(Ok(()), Err)?;
        let accepted: Accepted = serde_json::from_slice(&first.payload)
            .map_err(|error| Failure::internal(format!("the broker's answer: {error}")))?;
        run.id.clone_from(&accepted.id);
        on_progress(Progress::Accepted(&accepted));
        run.read_to_end(inbox, on_progress).await
    }

    /// Follows a job from a cursor to its end, over restarts of the broker.
    ///
    /// # Errors
    /// The broker's refusal, or that it cannot be reached.
    pub async fn follow(
        &self,
        id: &str,
        cursor: &str,
        on_progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<State, Problem> {
        let run = Follow { broker: self, next_seq: 0, cursor: cursor.into(), id: id.into() };
        let inbox = run.request_events().await?;
        run.read_to_end(inbox, on_progress).await
    }

    /// Publishes a request whose answers come to the inbox that is returned.
    async fn publish(&self, name: &str, body: &Value) -> Result<Subscriber, Problem> {
        let lost = |error: &dyn std::fmt::Display| Problem::CannotConnect(format!("NATS: {error}"));
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone()).await.map_err(|error| lost(&error))?;
        let sent = self.client.publish_with_reply(self.subjects.endpoint(name), inbox, body.to_string().into()).await;
        sent.map_err(|error| lost(&error))?;
        Ok(answers)
    }
}

/// A reader that follows one job.
struct Follow<'a> {
    broker: &'a NatsClient,
    /// Sequence number of the next record; all records before it were read.
    next_seq: u64,
    cursor: String,
    id: String,
}

/// How the reader goes on after one message.
enum Step {
    More,
    Ended(State),
    /// A record is missing, or the broker did not answer: check its status and resume.
    Resume,
}

/// How far this reader is behind the broker's log.
enum Lag {
    /// The reader has every record.
    UpToDate,
    /// The broker has records that the reader has not.
    Behind,
    /// The broker does not answer.
    Unreachable,
}

impl Follow<'_> {
    async fn read_to_end(
        mut self,
        mut inbox: Subscriber,
        on_progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<State, Problem> {
        let (mut wait, mut away_since) = (BACKOFF.0, None);
        loop {
            let step = match timeout(SILENCE, inbox.next()).await {
                Ok(Some(message)) => self.on_message(&message, on_progress)?,
                Ok(None) => return Err(Problem::CannotConnect("the connection to NATS is closed".into())),
                Err(_) => Step::Resume,
            };
            match step {
                Step::More => (wait, away_since) = (BACKOFF.0, None),
                Step::Ended(state) => return Ok(state),
                Step::Resume => match self.lag().await? {
                    // Silence, and nothing missed: the job is slow.
                    Lag::UpToDate => (wait, away_since) = (BACKOFF.0, None),
                    Lag::Behind => {
                        (wait, away_since) = (BACKOFF.0, None);
                        inbox = self.request_events().await?;
                    }
                    Lag::Unreachable => {
                        if away_since.is_none() {
                            on_progress(Progress::Unreachable);
                        }
                        let since = *away_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > AWAY_MAX {
                            return Err(Problem::CannotConnect(format!(
                                "the broker stays unreachable; job {}",
                                self.id
                            )));
                        }
                        sleep(wait).await;
                        wait = (wait * 2).min(BACKOFF.1);
                    }
                },
            }
        }
    }

    async fn request_events(&self) -> Result<Subscriber, Problem> {
        self.broker.publish("events", &json!({"id": self.id, "cursor": self.cursor})).await
    }

    /// Compares the broker's tail with this reader's cursor. A follower that was lost in a crash of the
    /// broker is noticed here too: the tail moves on without the reader.
    async fn lag(&self) -> Result<Lag, Problem> {
        let body = json!({"id": self.id});
        let status = match timeout(SILENCE, self.broker.request("status", &body)).await {
            Ok(Ok(status)) => status,
            Ok(Err(Problem::CannotConnect(_))) | Err(_) => return Ok(Lag::Unreachable),
            Ok(Err(Problem::Refused(failure))) if failure.retryable => return Ok(Lag::Unreachable),
            Ok(Err(problem)) => return Err(problem),
        };
        Ok(if status["cursor"] == self.cursor.as_str() { Lag::UpToDate } else { Lag::Behind })
    }

    fn on_message(
        &mut self,
        message: &Message,
        on_progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Step, Problem> {
        if message.status.is_some() {
            return Ok(Step::Resume);
        }
        match refused(message) {
            // The broker is stopping or full: the reader resumes later.
            Some(Problem::Refused(failure)) if failure.code == Code::Overloaded => return Ok(Step::Resume),
            Some(problem) => return Err(problem),
            None => {}
        }
        let cursor = header_of(message.headers.as_ref(), header::CURSOR);
        if header_of(message.headers.as_ref(), header::KIND) == Some(HEARTBEAT) {
            let is_behind = self.next_seq > 0 && cursor.is_some_and(|cursor| cursor != self.cursor);
            return Ok(if is_behind { Step::Resume } else { Step::More });
        }
        let record: Record = serde_json::from_slice(&message.payload)
            .map_err(|error| Failure::internal(format!("the broker's record: {error}")))?;
        if self.cursor != "-1" && self.next_seq == 0 {
            // The first after a cursor that the caller gave.
            self.next_seq = record.seq;
        }
        if record.seq < self.next_seq {
            return Ok(Step::More);
        }
        if record.seq > self.next_seq {
            return Ok(Step::Resume);
        }
        self.next_seq += 1;
        if let Some(cursor) = cursor {
            self.cursor = cursor.to_owned();
        }
        on_progress(Progress::Record(&record));
        Ok(record.event.terminal().map_or(Step::More, Step::Ended))
    }
}

fn header_of<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers.and_then(|headers| headers.get(name)).map(|value| value.as_str())
}

/// Returns the problem that a message reports, if it is not an answer.
fn refused(message: &Message) -> Option<Problem> {
    #[derive(Deserialize)]
    struct Refusal {
        error: FailureBody,
    }
    if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
        return Some(Problem::CannotConnect("no broker listens on this NATS".into()));
    }
    let code = header_of(message.headers.as_ref(), header::SERVICE_ERROR)?;
    let failure = match serde_json::from_slice::<Refusal>(&message.payload) {
        Ok(refusal) => {
            let FailureBody { code, message, param, retry_after_ms, .. } = refusal.error;
            let mut failure = Failure::new(code, message);
            (failure.param, failure.retry_after_ms) = (param, retry_after_ms);
            failure
        }
        Err(_) => Failure::internal(format!("the broker refused: {code}")),
    };
    Some(Problem::Refused(failure))
}
