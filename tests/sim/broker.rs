//! A broker without entrances on one thread, with a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use forebay::broker::Broker;
use forebay::job::{Charge, Cost, Event, Failure, Record, State, Usd};
use forebay::log::memory::MemoryLog;
use forebay::log::{Followed, Follower, ListQuery, Stream};
use forebay::wire::Cursor;
use forebay::wire::record;
use forebay::wire::submit::{Entrance, from_json};
use serde_json::Value;

use crate::harness;

/// Stops the clock: from here on time passes only while every task waits.
pub(crate) fn paused() {
    tokio::time::pause();
}

pub(crate) struct TestBroker {
    pub(crate) broker: Arc<Broker>,
    ledger: Arc<MemoryLog>,
}

impl TestBroker {
    pub(crate) fn start(seed: u64) -> TestBroker {
        let clock = harness::simulated_clock();
        let ledger = MemoryLog::new(clock);
        let builder = harness::broker("nats.enabled = false").log(ledger.clone()).clock(clock).seed(seed);
        let broker = builder.arbiter(actix::Arbiter::current()).start(&tokio::runtime::Handle::current());
        TestBroker { broker, ledger }
    }

    pub(crate) async fn try_submit(&self, job: &Value) -> Result<Arc<Stream>, Failure> {
        let job = self.broker.job(from_json(job.to_string().as_bytes())?, Entrance::default())?;
        self.broker.submit(job).await.map(|submitted| submitted.stream)
    }

    pub(crate) async fn submit(&self, job: &Value) -> Arc<Stream> {
        self.try_submit(job).await.unwrap_or_else(|failure| panic!("{failure}: {job}"))
    }

    pub(crate) async fn run(&self, job: &Value) -> Ended {
        let stream = self.submit(job).await;
        Ended::read(self, &stream).await
    }

    pub(crate) fn cancel_later(&self, stream: &Arc<Stream>, after_ms: u64) {
        let (broker, id) = (Arc::clone(&self.broker), stream.head().id.clone());
        actix::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            broker.cancel(&id, "client").await.expect("a job that exists can be cancelled");
        });
    }

    pub(crate) async fn streams(&self) -> Vec<Arc<Stream>> {
        self.broker.log.list(ListQuery { limit: 1000, ..ListQuery::default() }).await.expect("memory does not fail")
    }

    pub(crate) fn charges(&self) -> Vec<Charge> {
        self.ledger.charges()
    }

    /// Checks that the ledger agrees with the terminals.
    pub(crate) async fn check_books(&self) {
        let mut terminals = Usd::ZERO;
        for stream in self.streams().await {
            terminals += Ended::read(self, &stream).await.cost().usd;
        }
        let ledger: Usd = self.charges().iter().map(|charge| charge.cost.usd).sum();
        assert_eq!(ledger, terminals, "the ledger and the logs disagree");
    }
}

/// A stream that was read to its end.
pub(crate) struct Ended {
    records: Vec<Record>,
}

impl Ended {
    pub(crate) async fn read(broker: &TestBroker, stream: &Arc<Stream>) -> Ended {
        let mut reader =
            Follower::new(broker.broker.log.clone(), Arc::clone(stream), Cursor::Start).expect("-1 is always a cursor");
        let mut records = Vec::new();
        loop {
            match reader.next(1024).await.expect("memory does not fail") {
                Followed::Records(chunk) => records.extend(chunk.iter().map(|(seq, bytes)| {
                    record::decode(seq, bytes).expect("a stored record can be read").into_record()
                })),
                Followed::End(_) => return Ended { records },
            }
        }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.records.iter().map(|record| record.event.clone()).collect()
    }

    fn last(&self) -> &Event {
        &self.records.last().expect("a stream has an accepted record").event
    }

    pub(crate) fn state(&self) -> State {
        self.last().terminal().expect("a stream that was read to its end has a terminal")
    }

    pub(crate) fn error(&self) -> Option<Failure> {
        match self.last() {
            Event::Failed(failed) => Some(failed.error.clone()),
            _ => None,
        }
    }

    pub(crate) fn cost(&self) -> Cost {
        match self.last() {
            Event::Completed(end) => end.cost,
            Event::Failed(end) => end.cost,
            Event::Cancelled(end) => end.cost,
            Event::Interrupted(end) => end.cost,
            other => panic!("{} is no terminal", other.kind()),
        }
    }

    pub(crate) fn attempts(&self) -> u64 {
        self.records.iter().filter(|record| matches!(record.event, Event::Attempt(_))).count() as u64
    }

    /// Returns the answer as a reader has it at the end: a restart discards earlier text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for record in &self.records {
            match &record.event {
                Event::Delta(delta) => text.push_str(&delta.text),
                Event::Restarted(_) => text.clear(),
                _ => {}
            }
        }
        text
    }

    /// Checks the stream: dense from 0, accepted first, one terminal, and that last.
    pub(crate) fn check(&self, what: &str) {
        for (record, seq) in self.records.iter().zip(0..) {
            assert_eq!(record.seq, seq, "{what}: a gap");
            let is_last = record.seq + 1 == self.records.len() as u64;
            assert_eq!(record.event.terminal().is_some(), is_last, "{what}: {} at {seq}", record.event.kind());
            assert_eq!(matches!(record.event, Event::Accepted(_)), seq == 0, "{what}: accepted");
        }
    }
}
