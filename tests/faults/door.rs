//! The doors as clients use them: a job goes in, records come out, each with the cursor after it; and
//! the client that leaves and comes back.

use std::time::Duration;

use forebay::job::{Code, Event, Failure, Record};
use forebay::wire::frame::{ClientMessage, Label, Protocol, ServerMessage};
use forebay::ws::client::{Client, Over};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::broker::{PATIENCE, soon};
use crate::check::story;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    Nats,
    Stream,
    Unary,
    Socket,
}

pub(crate) const DOORS: [Door; 4] = [Door::Nats, Door::Stream, Door::Unary, Door::Socket];

impl Door {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Door::Nats => "nats",
            Door::Stream => "stream",
            Door::Unary => "unary",
            Door::Socket => "socket",
        }
    }
}

/// Where the doors of one broker are.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) ws: String,
    pub(crate) nats: async_nats::Client,
    /// Silence after which a reply inbox is taken for dead: nothing else tells.
    pub(crate) quiet: Duration,
}

/// What a reader asks for.
#[derive(Clone)]
pub(crate) enum Ask {
    Run(Value),
    Resume { id: String, cursor: String },
}

/// Records that came together, and the cursor after them.
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    pub(crate) cursor: String,
}

/// `Err` = refused. The channel closes when the connection does; dropping it closes the connection.
pub(crate) type Reading = mpsc::Receiver<Result<Batch, Failure>>;
type Giving = mpsc::Sender<Result<Batch, Failure>>;

impl Way {
    /// Reads through a door until the terminal, or until the connection is lost.
    pub(crate) fn read(&self, door: Door, ask: Ask) -> Reading {
        let (give, take) = mpsc::channel(1);
        let way = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = give.closed() => {}
                _ = way.carry(door, ask, &give) => {}
            }
        });
        take
    }

    async fn carry(&self, door: Door, ask: Ask, give: &Giving) -> Option<()> {
        match door {
            Door::Nats => self.over_nats(ask, give).await,
            Door::Stream => self.over_stream(ask, give).await,
            Door::Unary => self.over_unary(ask, give).await,
            Door::Socket => self.over_socket(ask, give).await,
        }
    }

    async fn over_nats(&self, ask: Ask, give: &Giving) -> Option<()> {
        let inbox = self.nats.new_inbox();
        let mut answers = self.nats.subscribe(inbox.clone()).await.ok()?;
        let (subject, body) = match ask {
            Ask::Run(job) => ("forebay.run", job),
            Ask::Resume { id, cursor } => ("forebay.events", json!({"id": id, "cursor": cursor})),
        };
        self.nats.publish_with_reply(subject, inbox, body.to_string().into()).await.ok()?;
        loop {
            let message = tokio::time::timeout(self.quiet, answers.next()).await.ok()??;
            let headers = message.headers.unwrap_or_default();
            let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
            if header("Nats-Service-Error").is_some() {
                let said: Value = serde_json::from_slice(&message.payload).unwrap();
                return refuse(give, &said).await;
            }
            if header("Forebay-Kind").is_some() {
                let cursor = header("Forebay-Cursor").unwrap();
                push(give, vec![serde_json::from_slice(&message.payload).unwrap()], cursor).await?;
            } else if message.payload.is_empty() {
                // Nobody listens there.
                return None;
            }
        }
    }

    async fn over_stream(&self, ask: Ask, give: &Giving) -> Option<()> {
        let request = match ask {
            Ask::Run(job) => {
                let request = self.http.post(format!("{}/v1/run", self.base));
                request.header("accept", "text/event-stream").body(job.to_string())
            }
            Ask::Resume { id, cursor } => self.http.get(format!("{}/v1/jobs/{id}/events?cursor={cursor}", self.base)),
        };
        let mut response = request.send().await.ok()?;
        if !response.status().is_success() {
            let said = serde_json::from_slice(&response.bytes().await.ok()?).unwrap();
            return refuse(give, &said).await;
        }
        let mut unread = Vec::new();
        while let Some(bytes) = response.chunk().await.ok()? {
            unread.extend_from_slice(&bytes);
            while let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
                let event = String::from_utf8(unread.drain(..end + 2).collect()).unwrap();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                    push(give, vec![serde_json::from_str(data).unwrap()], id.to_owned()).await?;
                }
            }
        }
        Some(())
    }

    /// The whole answer at once; then its records, with which it must agree.
    async fn over_unary(&self, ask: Ask, give: &Giving) -> Option<()> {
        let Ask::Run(job) = ask else { return self.over_stream(ask, give).await };
        let id = job["id"].as_str().unwrap().to_owned();
        let response = self.http.post(format!("{}/v1/run", self.base)).body(job.to_string()).send().await.ok()?;
        let status = response.status().as_u16();
        let answer: Value = serde_json::from_slice(&response.bytes().await.ok()?).unwrap();
        if answer["state"].is_null() {
            return refuse(give, &answer).await;
        }
        let mut whole = self.read(Door::Stream, Ask::Resume { id, cursor: "-1".into() });
        let mut records = Vec::new();
        while let Some(batch) = whole.recv().await {
            let batch = batch.unwrap();
            records.extend(batch.records.clone());
            if records.last().is_some_and(|record| record.event.terminal().is_some()) {
                agree(status, &answer, &records);
            }
            give.send(Ok(batch)).await.ok()?;
        }
        Some(())
    }

    async fn over_socket(&self, ask: Ask, give: &Giving) -> Option<()> {
        let mut client = Client::connect(&self.ws, None, Protocol::Json).await.ok()?;
        let (id, cursor) = match ask {
            Ask::Run(job) => {
                let id = job["id"].as_str().unwrap().to_owned();
                let job = serde_json::value::to_raw_value(&job).unwrap();
                client.say(&ClientMessage::Run { reference: Label::Number(1), job }).await.ok()?;
                loop {
                    match client.next().await.ok()? {
                        ServerMessage::Accepted { .. } => break (id, "-1".to_owned()),
                        ServerMessage::Error { error, .. } => return refused(give, error).await,
                        _ => {}
                    }
                }
            }
            Ask::Resume { id, cursor } => (id, cursor),
        };
        let sub = Label::Number(1);
        let (id, cursor) = (id.into(), Some(cursor.into()));
        client.say(&ClientMessage::Subscribe { sub: sub.clone(), id, cursor, credit: None }).await.ok()?;
        loop {
            match client.next_sized().await {
                Ok((ServerMessage::Events { cursor, items, .. }, bytes)) => {
                    push(give, items, cursor.into()).await?;
                    client.say(&ClientMessage::Credit { sub: sub.clone(), add: bytes }).await.ok()?;
                }
                Ok((ServerMessage::End { .. }, _)) => return Some(()),
                Ok((ServerMessage::Error { error, .. }, _)) | Err(Over::Refused(error)) => {
                    return refused(give, error).await;
                }
                Ok(_) => {}
                Err(Over::Lost(_)) => return None,
            }
        }
    }

    /// Cancels a job through a door; returns when the broker has answered.
    pub(crate) async fn cancel(&self, door: Door, id: &str) {
        match door {
            Door::Nats => {
                let body = json!({"id": id}).to_string();
                soon("the terminal", self.nats.request("forebay.cancel", body.into())).await.unwrap();
            }
            Door::Stream | Door::Unary => {
                let url = format!("{}/v1/jobs/{id}/cancel", self.base);
                assert_eq!(self.http.post(url).send().await.unwrap().status().as_u16(), 200);
            }
            Door::Socket => {
                let mut client = Client::connect(&self.ws, None, Protocol::Json).await.unwrap();
                client.say(&ClientMessage::Cancel { id: id.into() }).await.unwrap();
                // An answer to what was asked later says that the socket has read this.
                client.say(&ClientMessage::Ping { n: 1.into() }).await.unwrap();
                while !matches!(client.next().await.unwrap(), ServerMessage::Pong { .. }) {}
            }
        }
    }

    /// The JSON of a successful answer.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

async fn push(give: &Giving, records: Vec<Record>, cursor: String) -> Option<()> {
    let ended = records.last().is_some_and(|record| record.event.terminal().is_some());
    give.send(Ok(Batch { records, cursor })).await.ok()?;
    (!ended).then_some(())
}

async fn refuse(give: &Giving, said: &Value) -> Option<()> {
    refused(give, serde_json::from_value(said["error"].clone()).unwrap()).await
}

async fn refused(give: &Giving, failure: Failure) -> Option<()> {
    give.send(Err(failure)).await.ok()
}

/// The collected answer says what the records say.
fn agree(status: u16, answer: &Value, records: &[Record]) {
    let last = &records.last().unwrap().event;
    assert_eq!(answer["state"], last.terminal().unwrap().as_str(), "{answer}");
    let text = text(records);
    assert_eq!(answer["result"]["text"].as_str().unwrap_or_default(), text, "{answer}");
    match last {
        Event::Completed(_) => assert_eq!(status, 200, "{answer}"),
        Event::Failed(failed) => assert_eq!(status, failed.error.http_status(), "{answer}"),
        _ => assert!(status >= 400, "{answer}"),
    }
}

/// The answer as a reader has it: a restart discards.
pub(crate) fn text(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records {
        match &record.event {
            Event::Delta(delta) if delta.part == forebay::job::Part::Text => text.push_str(&delta.text),
            Event::Restarted(_) => text.clear(),
            _ => {}
        }
    }
    text
}

/// How a client behaves.
pub(crate) struct Manners {
    /// The door that it comes in by.
    pub(crate) door: Door,
    /// It leaves at moments of this chance and comes back by another door.
    pub(crate) leaves: Option<fastrand::Rng>,
    /// It expects to lose its connection.
    pub(crate) expects_loss: bool,
}

/// Times that a client leaves one job: enough to hit every part of a stream over a table of rows.
const LEAVES_MAX: usize = 6;

/// Brings a job to its end and returns the union of what was read: dense, nothing twice.
pub(crate) async fn follow(way: &Way, job: &Value, mut manners: Manners) -> Vec<Record> {
    let mut reader = Reader { records: Vec::new(), cursor: None, door: manners.door };
    let reading = async {
        for visit in 0.. {
            let leaving = manners.leaves.as_mut().filter(|_| visit < LEAVES_MAX);
            let (batches, within) = leaving.map_or((usize::MAX, PATIENCE), |random| {
                (random.usize(..12), Duration::from_millis(random.u64(..600)))
            });
            match reader.visit(way, job, (batches, within)).await {
                Visit::Ended => return,
                Visit::Left => {}
                Visit::Lost => assert!(manners.expects_loss, "{}: lost at {:?}", job["id"], reader.door),
            }
            if let Some(random) = &mut manners.leaves {
                reader.door = DOORS[random.usize(..DOORS.len())];
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, reading).await.is_ok();
    assert!(ended, "{} at {:?} does not end:\n{}", job["id"], reader.door, story(&reader.records));
    reader.records
}

struct Reader {
    records: Vec<Record>,
    cursor: Option<String>,
    door: Door,
}

/// How a visit was over.
enum Visit {
    Ended,
    Left,
    Lost,
}

impl Reader {
    /// Reads so many batches or so long, or until the end.
    async fn visit(&mut self, way: &Way, job: &Value, (batches, within): (usize, Duration)) -> Visit {
        let id = job["id"].as_str().unwrap();
        let ask = match &self.cursor {
            None => Ask::Run(job.clone()),
            Some(cursor) => Ask::Resume { id: id.to_owned(), cursor: cursor.clone() },
        };
        let mut reading = way.read(self.door, ask);
        let leave_at = tokio::time::Instant::now() + within;
        for _ in 0..batches {
            let Ok(came) = tokio::time::timeout_at(leave_at, reading.recv()).await else { return Visit::Left };
            let batch = match came {
                Some(Ok(batch)) => batch,
                Some(Err(failure)) if failure.code == Code::Overloaded => return Visit::Lost,
                Some(Err(failure)) => panic!("{id} at {:?}: {failure}", self.door),
                None => return Visit::Lost,
            };
            for record in batch.records {
                let due = self.records.len() as u64;
                if self.door == Door::Nats && record.seq > due {
                    // NATS itself was away and does not keep what it cannot deliver.
                    return Visit::Lost;
                }
                assert_eq!(record.seq, due, "{id} at {:?}: no gap, no double", self.door);
                self.records.push(record);
            }
            self.cursor = Some(batch.cursor);
            if self.records.last().is_some_and(|record| record.event.terminal().is_some()) {
                assert!(reading.recv().await.is_none(), "{id} at {:?}: something after the terminal", self.door);
                return Visit::Ended;
            }
        }
        Visit::Left
    }
}
