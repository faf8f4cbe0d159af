//! The entrances as clients use them: a job goes in, records come out, each with the cursor after it;
//! and the client that disconnects and comes back.

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
pub(crate) enum Entrance {
    Nats,
    Stream,
    Unary,
    Socket,
}

pub(crate) const ENTRANCES: [Entrance; 4] = [Entrance::Nats, Entrance::Stream, Entrance::Unary, Entrance::Socket];

impl Entrance {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Entrance::Nats => "nats",
            Entrance::Stream => "stream",
            Entrance::Unary => "unary",
            Entrance::Socket => "socket",
        }
    }
}

/// Addresses of the entrances of one broker.
#[derive(Clone)]
pub(crate) struct Entrances {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) ws: String,
    pub(crate) nats: async_nats::Client,
    /// Silence after which a reply inbox is taken for dead: NATS gives no other sign.
    pub(crate) quiet: Duration,
}

/// The request that a reader begins with.
#[derive(Clone)]
pub(crate) enum ReadRequest {
    Run(Value),
    Resume { id: String, cursor: String },
}

/// Records that came together, and the cursor after them.
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    pub(crate) cursor: String,
}

/// Receives batches of records; an `Err` is a refusal. The channel closes when the connection does; dropping it closes the connection.
pub(crate) type Reading = mpsc::Receiver<Result<Batch, Failure>>;
type BatchSender = mpsc::Sender<Result<Batch, Failure>>;

impl Entrances {
    /// Reads through an entrance until the terminal, or until the connection is lost.
    pub(crate) fn read(&self, entrance: Entrance, request: ReadRequest) -> Reading {
        let (sender, receiver) = mpsc::channel(1);
        let entrances = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                _ = entrances.read_into(entrance, request, &sender) => {}
            }
        });
        receiver
    }

    async fn read_into(&self, entrance: Entrance, request: ReadRequest, sender: &BatchSender) -> Option<()> {
        match entrance {
            Entrance::Nats => self.over_nats(request, sender).await,
            Entrance::Stream => self.over_stream(request, sender).await,
            Entrance::Unary => self.over_unary(request, sender).await,
            Entrance::Socket => self.over_socket(request, sender).await,
        }
    }

    async fn over_nats(&self, request: ReadRequest, sender: &BatchSender) -> Option<()> {
        let inbox = self.nats.new_inbox();
        let mut answers = self.nats.subscribe(inbox.clone()).await.ok()?;
        let (subject, body) = match request {
            ReadRequest::Run(job) => ("forebay.run", job),
            ReadRequest::Resume { id, cursor } => ("forebay.events", json!({"id": id, "cursor": cursor})),
        };
        self.nats.publish_with_reply(subject, inbox, body.to_string().into()).await.ok()?;
        loop {
            let message = tokio::time::timeout(self.quiet, answers.next()).await.ok()??;
            let headers = message.headers.unwrap_or_default();
            let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
            if header("Nats-Service-Error").is_some() {
                let body: Value = serde_json::from_slice(&message.payload).unwrap();
                return refuse(sender, &body).await;
            }
            if header("Forebay-Kind").is_some() {
                let cursor = header("Forebay-Cursor").unwrap();
                push(sender, vec![serde_json::from_slice(&message.payload).unwrap()], cursor).await?;
            } else if message.payload.is_empty() {
                // No broker listens on the subject.
                return None;
            }
        }
    }

    async fn over_stream(&self, request: ReadRequest, sender: &BatchSender) -> Option<()> {
        let request = match request {
            ReadRequest::Run(job) => {
                let request = self.http.post(format!("{}/v1/run", self.base));
                request.header("accept", "text/event-stream").body(job.to_string())
            }
            ReadRequest::Resume { id, cursor } => {
                self.http.get(format!("{}/v1/jobs/{id}/events?cursor={cursor}", self.base))
            }
        };
        let mut response = request.send().await.ok()?;
        if !response.status().is_success() {
            let body = serde_json::from_slice(&response.bytes().await.ok()?).unwrap();
            return refuse(sender, &body).await;
        }
        let mut unread = Vec::new();
        while let Some(bytes) = response.chunk().await.ok()? {
            unread.extend_from_slice(&bytes);
            while let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
                let event = String::from_utf8(unread.drain(..end + 2).collect()).unwrap();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                    push(sender, vec![serde_json::from_str(data).unwrap()], id.to_owned()).await?;
                }
            }
        }
        Some(())
    }

    /// Gets the whole answer at once; then its records, with which it must agree.
    async fn over_unary(&self, request: ReadRequest, sender: &BatchSender) -> Option<()> {
        let ReadRequest::Run(job) = request else { return self.over_stream(request, sender).await };
        let id = job["id"].as_str().unwrap().to_owned();
        let response = self.http.post(format!("{}/v1/run", self.base)).body(job.to_string()).send().await.ok()?;
        let status = response.status().as_u16();
        let answer: Value = serde_json::from_slice(&response.bytes().await.ok()?).unwrap();
        if answer["state"].is_null() {
            return refuse(sender, &answer).await;
        }
        let mut whole = self.read(Entrance::Stream, ReadRequest::Resume { id, cursor: "-1".into() });
        let mut records = Vec::new();
        while let Some(batch) = whole.recv().await {
            let batch = batch.unwrap();
            records.extend(batch.records.clone());
            if records.last().is_some_and(|record| record.event.terminal().is_some()) {
                agree(status, &answer, &records);
            }
            sender.send(Ok(batch)).await.ok()?;
        }
        Some(())
    }

    async fn over_socket(&self, request: ReadRequest, sender: &BatchSender) -> Option<()> {
        let mut client = Client::connect(&self.ws, None, Protocol::Json).await.ok()?;
        let (id, cursor) = match request {
            ReadRequest::Run(job) => {
                let id = job["id"].as_str().unwrap().to_owned();
                let job = serde_json::value::to_raw_value(&job).unwrap();
                client.say(&ClientMessage::Run { reference: Label::Number(1), job }).await.ok()?;
                loop {
                    match client.next().await.ok()? {
                        ServerMessage::Accepted { .. } => break (id, "-1".to_owned()),
                        ServerMessage::Error { error, .. } => return refused(sender, error).await,
                        _ => {}
                    }
                }
            }
            ReadRequest::Resume { id, cursor } => (id, cursor),
        };
        let sub = Label::Number(1);
        let (id, cursor) = (id.into(), Some(cursor.into()));
        client.say(&ClientMessage::Subscribe { sub: sub.clone(), id, cursor, credit: None }).await.ok()?;
        loop {
            match client.next_sized().await {
                Ok((ServerMessage::Events { cursor, items, .. }, bytes)) => {
                    push(sender, items, cursor.into()).await?;
                    client.say(&ClientMessage::Credit { sub: sub.clone(), add: bytes }).await.ok()?;
                }
                Ok((ServerMessage::End { .. }, _)) => return Some(()),
                Ok((ServerMessage::Error { error, .. }, _)) | Err(Over::Refused(error)) => {
                    return refused(sender, error).await;
                }
                Ok(_) => {}
                Err(Over::Lost(_)) => return None,
            }
        }
    }

    /// Cancels a job through an entrance; returns when the broker has answered.
    pub(crate) async fn cancel(&self, entrance: Entrance, id: &str) {
        match entrance {
            Entrance::Nats => {
                let body = json!({"id": id}).to_string();
                soon("the terminal", self.nats.request("forebay.cancel", body.into())).await.unwrap();
            }
            Entrance::Stream | Entrance::Unary => {
                let url = format!("{}/v1/jobs/{id}/cancel", self.base);
                assert_eq!(self.http.post(url).send().await.unwrap().status().as_u16(), 200);
            }
            Entrance::Socket => {
                let mut client = Client::connect(&self.ws, None, Protocol::Json).await.unwrap();
                client.say(&ClientMessage::Cancel { id: id.into() }).await.unwrap();
                // The answer to a later request proves that the socket has read this one.
                client.say(&ClientMessage::Ping { n: 1.into() }).await.unwrap();
                while !matches!(client.next().await.unwrap(), ServerMessage::Pong { .. }) {}
            }
        }
    }

    /// Returns the JSON of a successful answer.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

async fn push(sender: &BatchSender, records: Vec<Record>, cursor: String) -> Option<()> {
    let ended = records.last().is_some_and(|record| record.event.terminal().is_some());
    sender.send(Ok(Batch { records, cursor })).await.ok()?;
    (!ended).then_some(())
}

async fn refuse(sender: &BatchSender, body: &Value) -> Option<()> {
    refused(sender, serde_json::from_value(body["error"].clone()).unwrap()).await
}

async fn refused(sender: &BatchSender, failure: Failure) -> Option<()> {
    sender.send(Err(failure)).await.ok()
}

/// Checks that the collected answer agrees with the records.
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

/// Returns the answer as a reader has it: a restart discards earlier text.
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

/// The behavior of a client that follows a job.
pub(crate) struct ClientBehavior {
    /// Entrance through which it submits the job.
    pub(crate) entrance: Entrance,
    /// It leaves at moments of this chance and comes back through another entrance.
    pub(crate) leaves: Option<fastrand::Rng>,
    /// It expects to lose its connection.
    pub(crate) expects_loss: bool,
}

/// Times that a client leaves one job: enough to hit every part of a stream over a table of rows.
const LEAVES_MAX: usize = 6;

/// Brings a job to its end and returns the union of what was read: dense, nothing twice.
pub(crate) async fn follow(entrances: &Entrances, job: &Value, mut behavior: ClientBehavior) -> Vec<Record> {
    let mut reader = Reader { records: Vec::new(), cursor: None, entrance: behavior.entrance };
    let reading = async {
        for visit in 0.. {
            let leaving = behavior.leaves.as_mut().filter(|_| visit < LEAVES_MAX);
            let (batches, within) = leaving.map_or((usize::MAX, PATIENCE), |random| {
                (random.usize(..12), Duration::from_millis(random.u64(..600)))
            });
            match reader.visit(entrances, job, (batches, within)).await {
                VisitEnd::Ended => return,
                VisitEnd::Left => {}
                VisitEnd::Lost => assert!(behavior.expects_loss, "{}: lost at {:?}", job["id"], reader.entrance),
            }
            if let Some(random) = &mut behavior.leaves {
                reader.entrance = ENTRANCES[random.usize(..ENTRANCES.len())];
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, reading).await.is_ok();
    assert!(ended, "{} at {:?} does not end:\n{}", job["id"], reader.entrance, story(&reader.records));
    reader.records
}

struct Reader {
    records: Vec<Record>,
    cursor: Option<String>,
    entrance: Entrance,
}

/// How one connection of a reader ended.
enum VisitEnd {
    Ended,
    Left,
    Lost,
}

impl Reader {
    /// Reads so many batches or so long, or until the end of the job.
    async fn visit(&mut self, entrances: &Entrances, job: &Value, (batches, within): (usize, Duration)) -> VisitEnd {
        let id = job["id"].as_str().unwrap();
        let request = match &self.cursor {
            None => ReadRequest::Run(job.clone()),
            Some(cursor) => ReadRequest::Resume { id: id.to_owned(), cursor: cursor.clone() },
        };
        let mut reading = entrances.read(self.entrance, request);
        let leave_at = tokio::time::Instant::now() + within;
        for _ in 0..batches {
            let Ok(came) = tokio::time::timeout_at(leave_at, reading.recv()).await else { return VisitEnd::Left };
            let batch = match came {
                Some(Ok(batch)) => batch,
                Some(Err(failure)) if failure.code == Code::Overloaded => return VisitEnd::Lost,
                Some(Err(failure)) => panic!("{id} at {:?}: {failure}", self.entrance),
                None => return VisitEnd::Lost,
            };
            for record in batch.records {
                let due = self.records.len() as u64;
                if self.entrance == Entrance::Nats && record.seq > due {
                    // NATS itself was away and does not keep what it cannot deliver.
                    return VisitEnd::Lost;
                }
                assert_eq!(record.seq, due, "{id} at {:?}: no gap, no double", self.entrance);
                self.records.push(record);
            }
            self.cursor = Some(batch.cursor);
            if self.records.last().is_some_and(|record| record.event.terminal().is_some()) {
                assert!(reading.recv().await.is_none(), "{id} at {:?}: something after the terminal", self.entrance);
                return VisitEnd::Ended;
            }
        }
        VisitEnd::Left
    }
}
