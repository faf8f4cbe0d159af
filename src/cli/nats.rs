//! The NATS side of the command line: submit, follow, ask.
//!
//! Promises each record once and in order, whatever happens to the broker or to NATS in between:
//! when records stop coming it asks `forebay.events` from its cursor, again and again, until the
//! terminal is there. Does not print.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::job::{Code, Failure, FailureBody, Record, State};
use crate::wire::subject::{HEARTBEAT, Subjects, header};

/// To open a connection; then `cannot connect` is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that is silent this long is asked for again. Asking costs the broker one read.
const SILENCE: Duration = Duration::from_secs(5);
/// The first and longest wait between two questions to a broker that is not there.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long a broker may be away before the caller is told to resume by hand.
const AWAY_MAX: Duration = Duration::from_secs(300);
/// Messages that wait between two prints.
const SUBSCRIPTION_MESSAGES_MAX: usize = 65_536;

/// A connection to a broker.
pub struct Broker {
    client: Client,
    subjects: Subjects,
}

/// What the broker said when it took a job.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Taken {
    /// The job.
    pub id: String,
    /// Where it stood.
    pub state: State,
    /// Where its records begin.
    pub cursor: String,
    /// Whether it existed already.
    pub reused: bool,
}

/// One step of a run.
#[derive(Clone, PartialEq, Debug)]
pub enum Seen<'a> {
    /// The job is durable.
    Taken(&'a Taken),
    /// The next record, each once.
    Record(&'a Record),
    /// The broker is away; the run goes on when it is back.
    Away,
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub enum Problem {
    /// NATS or the broker cannot be reached: exit code 3.
    CannotConnect(String),
    /// The broker refused.
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

impl Broker {
    /// Connects to the NATS server at `url` (user and password may be part of it).
    ///
    /// # Errors
    /// When there is none, or `prefix` is not a subject.
    pub async fn connect(url: &str, prefix: &str, credentials: Option<&str>) -> Result<Broker, Problem> {
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
        Ok(Broker { client, subjects })
    }

    /// Asks and waits for the one answer. `name` is `status`, `cancel`, `costs` or `models`.
    ///
    /// # Errors
    /// The broker's own, or that it is not there.
    pub async fn ask(&self, name: &str, body: &Value) -> Result<Value, Problem> {
        let asked = self.client.request(self.subjects.endpoint(name), body.to_string().into());
        let answer = timeout(ANSWER_TIMEOUT, asked).await;
        let answer = answer.map_err(|_| Problem::CannotConnect("the broker does not answer".into()))?;
        let message = answer.map_err(|error| Problem::CannotConnect(error.to_string()))?;
        refused(&message).map_or(Ok(()), Err)?;
        serde_json::from_slice(&message.payload)
            .map_err(|error| Failure::internal(format!("the broker's answer: {error}")).into())
    }

    /// Submits a job and follows it to its end, over restarts of the broker. A job without an id gets
    /// one here, so that asking twice cannot run it twice.
    ///
    /// # Errors
    /// The broker's refusal, or that it cannot be reached.
    pub async fn run(&self, mut job: Value, seen: &mut (dyn FnMut(Seen<'_>) + Send)) -> Result<State, Problem> {
        if let Some(fields) = job.as_object_mut() {
            fields.entry("id").or_insert_with(|| crate::job::StreamId::generate().to_job_id().to_string().into());
        }
        let mut run = Follow { broker: self, next_seq: 0, cursor: "-1".into(), id: String::new() };
        let mut inbox = self.publish("run", &job).await?;
        let first = timeout(ANSWER_TIMEOUT, inbox.next()).await.ok().flatten();
        let first = first.ok_or_else(|| Problem::CannotConnect("the broker does not answer".into()))?;
        refused(&first).map_or(Ok(()), Err)?;
        let taken: Taken = serde_json::from_slice(&first.payload)
            .map_err(|error| Failure::internal(format!("the broker's answer: {error}")))?;
        run.id.clone_from(&taken.id);
        seen(Seen::Taken(&taken));
        run.read_out(inbox, seen).await
    }

    /// Follows a job from a cursor to its end, over restarts of the broker.
    ///
    /// # Errors
    /// The broker's refusal, or that it cannot be reached.
    pub async fn follow(
        &self,
        id: &str,
        cursor: &str,
        seen: &mut (dyn FnMut(Seen<'_>) + Send),
    ) -> Result<State, Problem> {
        let run = Follow { broker: self, next_seq: 0, cursor: cursor.into(), id: id.into() };
        let inbox = run.ask_again().await?;
        run.read_out(inbox, seen).await
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

/// One reading of one job.
struct Follow<'a> {
    broker: &'a Broker,
    /// Records before it were seen.
    next_seq: u64,
    cursor: String,
    id: String,
}

/// What one message meant.
enum Step {
    More,
    Ended(State),
    /// A record is missing, or there is nobody: ask again.
    Again,
}

/// How far we are, as the broker sees it.
enum Look {
    /// It has nothing that we have not.
    UpToDate,
    /// It has.
    Behind,
    /// It does not answer.
    Away,
}

impl Follow<'_> {
    async fn read_out(
        mut self,
        mut inbox: Subscriber,
        seen: &mut (dyn FnMut(Seen<'_>) + Send),
    ) -> Result<State, Problem> {
        let (mut wait, mut away_since) = (BACKOFF.0, None);
        loop {
            let step = match timeout(SILENCE, inbox.next()).await {
                Ok(Some(message)) => self.take(&message, seen)?,
                Ok(None) => return Err(Problem::CannotConnect("the connection to NATS is closed".into())),
                Err(_) => Step::Again,
            };
            match step {
                Step::More => (wait, away_since) = (BACKOFF.0, None),
                Step::Ended(state) => return Ok(state),
                Step::Again => match self.look().await? {
                    // Silence, and nothing missed: the job is slow.
                    Look::UpToDate => (wait, away_since) = (BACKOFF.0, None),
                    Look::Behind => {
                        (wait, away_since) = (BACKOFF.0, None);
                        inbox = self.ask_again().await?;
                    }
                    Look::Away => {
                        if away_since.is_none() {
                            seen(Seen::Away);
                        }
                        let since = *away_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > AWAY_MAX {
                            return Err(Problem::CannotConnect(format!("the broker stays away; job {}", self.id)));
                        }
                        sleep(wait).await;
                        wait = (wait * 2).min(BACKOFF.1);
                    }
                },
            }
        }
    }

    async fn ask_again(&self) -> Result<Subscriber, Problem> {
        self.broker.publish("events", &json!({"id": self.id, "cursor": self.cursor})).await
    }

    /// Whether there are records that did not come. A follower that the broker lost with its own life
    /// is noticed here too: the tail moves on without us.
    async fn look(&self) -> Result<Look, Problem> {
        let body = json!({"id": self.id});
        let status = match timeout(SILENCE, self.broker.ask("status", &body)).await {
            Ok(Ok(status)) => status,
            Ok(Err(Problem::CannotConnect(_))) | Err(_) => return Ok(Look::Away),
            Ok(Err(Problem::Refused(failure))) if failure.retryable => return Ok(Look::Away),
            Ok(Err(problem)) => return Err(problem),
        };
        Ok(if status["cursor"] == self.cursor.as_str() { Look::UpToDate } else { Look::Behind })
    }

    fn take(&mut self, message: &Message, seen: &mut (dyn FnMut(Seen<'_>) + Send)) -> Result<Step, Problem> {
        if message.status.is_some() {
            return Ok(Step::Again);
        }
        match refused(message) {
            // The broker is going down or full: it is asked again.
            Some(Problem::Refused(failure)) if failure.code == Code::Overloaded => return Ok(Step::Again),
            Some(problem) => return Err(problem),
            None => {}
        }
        let cursor = header_of(message.headers.as_ref(), header::CURSOR);
        if header_of(message.headers.as_ref(), header::KIND) == Some(HEARTBEAT) {
            let is_behind = self.next_seq > 0 && cursor.is_some_and(|cursor| cursor != self.cursor);
            return Ok(if is_behind { Step::Again } else { Step::More });
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
            return Ok(Step::Again);
        }
        self.next_seq += 1;
        if let Some(cursor) = cursor {
            self.cursor = cursor.to_owned();
        }
        seen(Seen::Record(&record));
        Ok(record.event.terminal().map_or(Step::More, Step::Ended))
    }
}

fn header_of<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers.and_then(|headers| headers.get(name)).map(|value| value.as_str())
}

/// The problem that a message tells of, if it is not an answer.
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
