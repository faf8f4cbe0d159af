//! The NATS service `forebay`: its endpoints, and one bounded task per request.
//!
//! Promises that every request with a reply subject gets an answer, an error with the headers of NATS
//! services included, and that a requester who never reads costs nobody else. NATS submitters are
//! detached: a job runs on, whoever listens.

use std::sync::Arc;
use std::time::Duration;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{self, Request, Service, ServiceExt};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::backoff;
use super::delivery::confirm;
use super::reply::{Counted, Outlet};
use super::request;
use super::request::{Events, One};
use super::serve::{Door, Phase, finish};
use super::{answer, limits};
use crate::job::{Code, Failure};
use crate::log::Status;
use crate::log::{Follower, Stream};
use crate::telemetry;
use crate::wire::subject::{First, Format, SERVICE, header};
use crate::wire::{Cursor, submit};

/// What an endpoint does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    Run,
    RunInGateway,
    Events,
    Status,
    Cancel,
    Costs,
    Models,
}

/// Name, subject below the prefix, and meaning of every endpoint.
const ENDPOINTS: &[(&str, &str, Ask)] = &[
    ("run", "run", Ask::Run),
    ("run-gateway", "run.*", Ask::RunInGateway),
    ("events", "events", Ask::Events),
    ("status", "status", Ask::Status),
    ("cancel", "cancel", Ask::Cancel),
    ("costs", "costs", Ask::Costs),
    ("models", "models", Ask::Models),
];

/// Answers requests until the entrance drains, then lets running replies go on until it closes.
pub(super) async fn run(door: &Arc<Door>, client: &Client) {
    let mut tasks = JoinSet::new();
    let mut tries = 0;
    while door.phase() == Phase::Open {
        match open(door, client).await {
            Ok((service, requests)) => {
                tries = 0;
                tokio::join!(take(door, client, requests, &mut tasks), be_heard(door, client));
                // It only sends to its own tasks, and fails only if they are gone.
                drop(service.stop().await);
            }
            Err(error) => {
                tries += 1;
                tracing::warn!(%error, "the NATS service could not be opened; trying again");
                sleep(backoff(tries)).await;
            }
        }
    }
    let replies = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        () = replies => {}
        () = door.reached(Phase::Closing) => {}
    }
    finish(&mut tasks).await;
}

type Requests = SelectAll<BoxStream<'static, (Ask, Request)>>;

async fn open(door: &Door, client: &Client) -> Result<(Service, Requests), async_nats::Error> {
    let service = client
        .service_builder()
        .description("A durable inference layer for agents")
        .queue_group(SERVICE)
        .start(SERVICE, env!("CARGO_PKG_VERSION"))
        .await?;
    let mut requests = SelectAll::new();
    for (name, subject, ask) in ENDPOINTS {
        let endpoint: Endpoint = service.endpoint_builder().name(*name).add(door.subjects.endpoint(subject)).await?;
        requests.push(endpoint.map(|request| (*ask, request)).boxed());
    }
    Ok((service, requests))
}

/// Says that we listen once the server knows it; until then a request would find nobody.
async fn be_heard(door: &Door, client: &Client) {
    let heard = async {
        while !confirm(client, door, door.link.connected().await.generation).await {}
        door.link.listens();
    };
    tokio::select! {
        () = heard => {}
        () = door.reached(Phase::Draining) => {}
    }
}

async fn take(door: &Arc<Door>, client: &Client, mut requests: Requests, tasks: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            biased;
            () = door.reached(Phase::Draining) => return,
            Some(ended) = tasks.join_next() => report(ended),
            request = requests.next() => {
                let Some((ask, request)) = request else { return };
                let request = Asked { client: client.clone(), request };
                if tasks.len() >= limits::REQUESTS_MAX {
                    let full = Failure::new(Code::Overloaded, "too many NATS requests are under way");
                    request.refuse(&full.with_retry_after_ms(limits::FULL_RETRY_AFTER_MS)).await;
                    continue;
                }
                let door = Arc::clone(door);
                tasks.spawn(async move { handle(&door, ask, request).await });
            }
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a bug broke the answer to a NATS request");
    }
}

async fn handle(door: &Arc<Door>, ask: Ask, request: Asked) {
    let answered = match ask {
        Ask::Run | Ask::RunInGateway => run_job(door, ask, &request).await,
        Ask::Events => events(door, &request).await,
        Ask::Status => status(door, &request).await,
        Ask::Cancel => cancel(door, &request).await,
        Ask::Costs => costs(door, &request).await,
        Ask::Models => models(door, &request).await,
    };
    if let Err(failure) = &answered {
        request.refuse(failure).await;
    }
    request.count(answered.as_ref().err(), door.subjects.endpoint("void")).await;
}

async fn run_job(door: &Arc<Door>, ask: Ask, request: &Asked) -> Result<(), Failure> {
    let body_bytes_max = door.svc.snapshot.load().config.server.body_bytes_max;
    let body = request.body();
    if body.len() > body_bytes_max {
        return Err(Failure::new(Code::TooLarge, format!("the job has {} bytes, over {body_bytes_max}", body.len())));
    }
    let said = match Format::of(request.header(header::CONTENT_TYPE)) {
        Format::Json => submit::from_json(body)?,
        Format::Msgpack => submit::from_msgpack(body)?,
    };
    let gateway = match ask {
        Ask::RunInGateway => Some(door.subjects.gateway_of(&request.request.message.subject)?),
        _ => None,
    };
    let key = Some(request.header(header::MSG_ID)).filter(|key| !key.is_empty());
    let known = submit::Door { gateway, idempotency_key: key.map(str::to_owned), task: None };
    let submitted = door.svc.submit(door.svc.job(said, known)?).await?;
    let stream = submitted.stream;
    let first = First {
        id: &stream.head().id,
        state: stream.tail().state,
        cursor: stream.cursor(0).to_string(),
        reused: submitted.reused,
    };
    request.answer(&first).await?;
    if request.header(header::REPLY).eq_ignore_ascii_case("accepted") {
        return Ok(());
    }
    follow(door, request, stream, Cursor::Start).await
}

async fn events(door: &Arc<Door>, request: &Asked) -> Result<(), Failure> {
    let asked: Events = request::read(request.body())?;
    let cursor = asked.cursor()?;
    if cursor != Cursor::Start {
        telemetry::resumed("nats");
    }
    let stream = door.svc.stream(&asked.id).await?;
    follow(door, request, stream, cursor).await
}

/// Publishes the stream's records to the requester, if it named an inbox.
async fn follow(door: &Arc<Door>, request: &Asked, stream: Arc<Stream>, cursor: Cursor) -> Result<(), Failure> {
    let Some(outlet) = request.outlet() else { return Ok(()) };
    let _counted = Counted::reader();
    let follower = Follower::new(door.svc.log.clone(), stream, cursor)?;
    telemetry::replayed(follower.stream().tail().durable - follower.next_seq());
    let longest_silence = Duration::from_millis(door.svc.snapshot.load().config.server.heartbeat_ms.max(1));
    outlet.follow(follower, longest_silence).await.map(|_| ())
}

async fn status(door: &Arc<Door>, request: &Asked) -> Result<(), Failure> {
    let One { id } = request::read(request.body())?;
    let stream = door.svc.stream(&id).await?;
    request.answer(&Status::of(&stream)).await
}

/// Answers with the job's terminal record.
async fn cancel(door: &Arc<Door>, request: &Asked) -> Result<(), Failure> {
    let One { id } = request::read(request.body())?;
    let stream = door.svc.cancel(&id, "client").await?;
    let last = stream.cursor(stream.tail().durable.saturating_sub(1));
    follow(door, request, stream, last).await
}

async fn costs(door: &Arc<Door>, request: &Asked) -> Result<(), Failure> {
    let rows = answer::costs(&door.svc, request.body()).await?;
    request.answer(&rows).await
}

async fn models(door: &Arc<Door>, request: &Asked) -> Result<(), Failure> {
    // Some room for headers, and for text that msgpack does not shorten.
    let bytes_max = request.client.max_payload() / 8 * 7;
    request.answer(&answer::models(&door.svc.snapshot.load(), request.body(), bytes_max)?).await
}

/// One request and the ways to answer it.
struct Asked {
    client: Client,
    request: Request,
}

impl Asked {
    fn body(&self) -> &[u8] {
        &self.request.message.payload
    }

    /// A header's text; empty where there is none.
    fn header(&self, name: &str) -> &str {
        let headers = self.request.message.headers.as_ref();
        headers.and_then(|headers| headers.get(name)).map_or("", |value| value.as_str())
    }

    /// The answer's format: the one asked for, else the request's.
    fn format(&self) -> Format {
        match self.header(header::ACCEPT) {
            "" => Format::of(self.header(header::CONTENT_TYPE)),
            accept => Format::of(accept),
        }
    }

    /// The inbox, if the requester named one.
    fn outlet(&self) -> Option<Outlet> {
        let subject = self.request.message.reply.clone()?;
        Some(Outlet { client: self.client.clone(), subject, format: self.format(), job: None })
    }

    /// Sends one message. Whether it arrives, nobody can know.
    async fn answer<T: Serialize>(&self, message: &T) -> Result<(), Failure> {
        match self.outlet() {
            Some(outlet) => outlet.message(message).await,
            None => Ok(()),
        }
    }

    /// Sends an error, with the headers and the payload of section 9.
    async fn refuse(&self, failure: &Failure) {
        if failure.code == Code::Internal {
            tracing::error!(%failure, subject = %self.request.message.subject, "a NATS request failed");
        }
        let Some(outlet) = self.outlet() else { return };
        if let Err(error) = outlet.refuse(HeaderMap::new(), failure).await {
            tracing::debug!(%error, "an error could not be sent");
        }
    }

    /// Counts the request in the service's statistics. The client counts only what is sent through
    /// its own answers, and its own errors have no payload: it is told the outcome, to nobody.
    async fn count(mut self, failure: Option<&Failure>, void: String) {
        let outcome = match failure {
            None => Ok(Bytes::new()),
            Some(failure) => {
                Err(service::error::Error { status: failure.to_string(), code: failure.http_status().into() })
            }
        };
        self.request.message.reply = Some(void.into());
        if let Err(error) = self.request.respond(outcome).await {
            tracing::debug!(%error, "a request could not be counted");
        }
    }
}
