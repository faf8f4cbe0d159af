//! A broker with the NATS entrance and a log in memory, and a client beside it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use forebay::broker::Broker;
use forebay::clock::Clock;
use forebay::job::{Record, State};
use forebay::log::{ListQuery, Log, memory::MemoryLog};
use forebay::nats::NatsEntrance;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::harness;
use crate::support::NatsServer;

/// No wait in these tests is longer on any machine; it is a way to fail, not a way to synchronise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Resolves within [`PATIENCE`] or fails the test, saying what it waited for.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Starts a broker without its NATS entrance.
pub(crate) fn services(url: &str, log: Arc<dyn Log>) -> Arc<Broker> {
    harness::broker(&format!("[nats]\nurl = {url:?}")).log(log).start(&Handle::current())
}

/// A broker with its NATS entrance, for one test.
pub(crate) struct TestBroker {
    pub(crate) broker: Arc<Broker>,
    nats: NatsEntrance,
}

impl TestBroker {
    /// Opens the entrance; does not wait for NATS.
    pub(crate) fn open(url: &str, log: Arc<dyn Log>) -> TestBroker {
        let broker = services(url, log);
        let nats = NatsEntrance::start(Arc::clone(&broker), &harness::actors(), Handle::current()).unwrap();
        TestBroker { broker, nats }
    }

    /// Opens the entrance with an empty log and waits until it answers.
    pub(crate) async fn start(server: &NatsServer) -> (TestBroker, Client) {
        let broker = TestBroker::open(&server.url(), MemoryLog::new(Clock::System));
        let client = client(server).await;
        answering(&client).await;
        (broker, client)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.nats.is_connected()
    }

    pub(crate) async fn stop(self) {
        soon("the entrance to close", self.nats.stop()).await;
    }

    /// Returns the number of jobs that the log holds.
    pub(crate) async fn jobs(&self) -> usize {
        self.broker.log.list(ListQuery { limit: 1000, ..ListQuery::default() }).await.unwrap().len()
    }
}

pub(crate) async fn client(server: &NatsServer) -> Client {
    async_nats::connect(server.url()).await.unwrap()
}

/// Waits until the service answers.
pub(crate) async fn answering(client: &Client) {
    let answers = async {
        while client.request("forebay.models", "".into()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the service", answers).await;
}

/// Makes a job that the built-in provider answers with `script`.
pub(crate) fn job(script: &Value) -> Value {
    json!({"model": "scripted/any", "input": {"messages": [], "script": script}})
}

/// Makes a job whose answer is `count` pieces, `interval_ms` apart.
pub(crate) fn long_job(count: u64, interval_ms: u64) -> Value {
    job(&json!([{"repeat": {"text": "{n} ", "count": count, "interval_ms": interval_ms}}]))
}

/// Publishes a request and returns its inbox.
pub(crate) async fn ask(
    client: &Client,
    subject: &str,
    headers: HeaderMap,
    body: impl Into<bytes::Bytes>,
) -> Subscriber {
    let inbox = client.new_inbox();
    let answers = client.subscribe(inbox.clone()).await.unwrap();
    let subject = format!("forebay.{subject}");
    client.publish_with_reply_and_headers(subject, inbox, headers, body.into()).await.unwrap();
    answers
}

/// Returns the next message of an inbox that is not a heartbeat.
pub(crate) async fn next(inbox: &mut Subscriber) -> Message {
    loop {
        let message = soon("a message", inbox.next()).await.expect("the inbox is open");
        if header(&message, "Forebay-Kind") != "heartbeat" {
            return message;
        }
    }
}

/// Returns the value of a header, empty if it is not there.
pub(crate) fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    message.headers.as_ref().and_then(|headers| headers.get(name)).map_or("", |value| value.as_str())
}

pub(crate) fn json_of(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap_or_else(|error| panic!("{error}: {:?}", message.payload))
}

/// Returns the record of a message and checks the headers against it.
pub(crate) fn record_of(message: &Message) -> Record {
    let record: Record = serde_json::from_slice(&message.payload)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&message.payload)));
    assert_eq!(header(message, "Forebay-Seq"), record.seq.to_string());
    assert_eq!(header(message, "Forebay-Kind"), record.event.kind());
    record
}

/// Returns all records of an inbox up to the terminal, dense from `from`.
pub(crate) async fn records(inbox: &mut Subscriber, from: u64) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let record = record_of(&next(inbox).await);
        assert_eq!(record.seq, from + records.len() as u64, "no gap, no double");
        let ended = record.event.terminal().is_some();
        records.push(record);
        if ended {
            return records;
        }
    }
}

/// Returns the text of an answer.
pub(crate) fn text(records: &[Record]) -> String {
    let piece = |record: &Record| match &record.event {
        forebay::job::Event::Delta(delta) => delta.text.clone(),
        _ => String::new(),
    };
    records.iter().map(piece).collect()
}

/// Returns the state that the last record brings.
pub(crate) fn end(records: &[Record]) -> State {
    records.last().and_then(|record| record.event.terminal()).expect("a terminal")
}

/// Waits until `check` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let holds = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, holds).await;
}
