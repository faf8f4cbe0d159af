//! The NATS service `forebay`: its endpoints, and one bounded task per request.
//!
//! Promises that every request with a reply subject gets an answer (an error has the headers of NATS
//! services), and that a requester who never reads does not slow down the others. NATS submitters are
//! detached: a job runs on when its submitter leaves.

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
use super::lifecycle::{Phase, Shared, finish};
use super::publisher::{Publisher, ReaderGauge};
use super::request_body;
use super::request_body::{EventsRequest, JobIdRequest};
use super::{limits, queries};
use crate::job::{Code, Failure};
use crate::log::Status;
use crate::log::{Follower, Stream};
use crate::telemetry;
use crate::wire::subject::{First, Format, SERVICE, header};
use crate::wire::{Cursor, submit};

/// The operation that an endpoint carries out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Run,
    RunInGateway,
    EventsRequest,
    Status,
    Cancel,
    Costs,
    Models,
}

/// Name, subject below the prefix, and operation of every endpoint.
const ENDPOINTS: &[(&str, &str, Operation)] = &[
    ("run", "run", Operation::Run),
    ("run-gateway", "run.*", Operation::RunInGateway),
    ("events", "events", Operation::EventsRequest),
    ("status", "status", Operation::Status),
    ("cancel", "cancel", Operation::Cancel),
    ("costs", "costs", Operation::Costs),
    ("models", "models", Operation::Models),
];

/// Answers requests until the entrance drains, then lets open replies go on until it closes.
pub(super) async fn run(shared: &Arc<Shared>, client: &Client) {
    let mut tasks = JoinSet::new();
    let mut tries = 0;
    while shared.phase() == Phase::Open {
        match open(shared, client).await {
            Ok((service, requests)) => {
                tries = 0;
                tokio::join!(take(shared, client, requests, &mut tasks), confirm_subscriptions(shared, client));
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
        () = shared.reached(Phase::Closing) => {}
    }
    finish(&mut tasks).await;
}

type Requests = SelectAll<BoxStream<'static, (Operation, Request)>>;

async fn open(shared: &Shared, client: &Client) -> Result<(Service, Requests), async_nats::Error> {
    let service = client
        .service_builder()
        .description("A durable inference layer for agents")
        .queue_group(SERVICE)
        .start(SERVICE, env!("CARGO_PKG_VERSION"))
        .await?;
    let mut requests = SelectAll::new();
    for (name, subject, operation) in ENDPOINTS {
        let endpoint: Endpoint = service.endpoint_builder().name(*name).add(shared.subjects.endpoint(subject)).await?;
        requests.push(endpoint.map(|request| (*operation, request)).boxed());
    }
    Ok((service, requests))
}

/// Marks the link as listening once the server knows our subscriptions; until then a request would
/// get no responder.
async fn confirm_subscriptions(shared: &Shared, client: &Client) {
    let confirmed = async {
        while !confirm(client, shared, shared.link.connected().await.generation).await {}
        shared.link.listens();
    };
    tokio::select! {
    () = confirmed => {}
            () = shared.reached(Phase::Draining) => {}
        }
}

async fn take(shared: &Arc<Shared>, client: &Client, mut requests: Requests, tasks: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            biased;
            () = shared.reached(Phase::Draining) => return,
            Some(ended) = tasks.join_next() => log_panic(ended),
            request = requests.next() => {
                let Some((operation, request)) = request else { return };
                let request = ServiceRequest { client: client.clone(), request };
                if tasks.len() >= limits::REQUESTS_MAX {
                    let full = Failure::new(Code::Overloaded, "too many NATS requests are under way");
                    request.refuse(&full.with_retry_after_ms(limits::FULL_RETRY_AFTER_MS)).await;
                    continue;
                }
                let shared = Arc::clone(shared);
                tasks.spawn(async move { handle(&shared, operation, request).await });
            }
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a bug broke the answer to a NATS request");
    }
}

async fn handle(shared: &Arc<Shared>, operation: Operation, request: ServiceRequest) {
    let answered = match operation {
        Operation::Run | Operation::RunInGateway => run_job(shared, operation, &request).await,
        Operation::EventsRequest => events(shared, &request).await,
        Operation::Status => status(shared, &request).await,
        Operation::Cancel => cancel(shared, &request).await,
        Operation::Costs => costs(shared, &request).await,
        Operation::Models => models(shared, &request).await,
    };
    if let Err(failure) = &answered {
        request.refuse(failure).await;
    }
    request.count(answered.as_ref().err(), shared.subjects.endpoint("void")).await;
}

async fn run_job(shared: &Arc<Shared>, operation: Operation, request: &ServiceRequest) -> Result<(), Failure> {
    let body_bytes_max = shared.broker.snapshot.load().config.server.body_bytes_max;
    let body = request.body();
    if body.len() > body_bytes_max {
        return Err(Failure::new(Code::TooLarge, format!("the job has {} bytes, over {body_bytes_max}", body.len())));
    }
    let request_body = match Format::of(request.header(header::CONTENT_TYPE)) {
        Format::Json => submit::from_json(body)?,
        Format::Msgpack => submit::from_msgpack(body)?,
    };
    let gateway = match operation {
        Operation::RunInGateway => Some(shared.subjects.gateway_of(&request.request.message.subject)?),
        _ => None,
    };
    let key = Some(request.header(header::MSG_ID)).filter(|key| !key.is_empty());
    let known = submit::Entrance { gateway, idempotency_key: key.map(str::to_owned), task: None };
    let submitted = shared.broker.submit(shared.broker.job(request_body, known)?).await?;
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
    follow(shared, request, stream, Cursor::Start).await
}

async fn events(shared: &Arc<Shared>, request: &ServiceRequest) -> Result<(), Failure> {
    let events: EventsRequest = request_body::parse_object(request.body())?;
    let cursor = events.cursor()?;
    if cursor != Cursor::Start {
        telemetry::resumed("nats");
    }
    let stream = shared.broker.stream(&events.id).await?;
    follow(shared, request, stream, cursor).await
}

/// Publishes the stream's records to the requester, if it named an inbox.
async fn follow(
    shared: &Arc<Shared>,
    request: &ServiceRequest,
    stream: Arc<Stream>,
    cursor: Cursor,
) -> Result<(), Failure> {
    let Some(publisher) = request.publisher() else { return Ok(()) };
    let _reader = ReaderGauge::add();
    let follower = Follower::new(shared.broker.log.clone(), stream, cursor)?;
    telemetry::replayed(follower.stream().tail().durable - follower.next_seq());
    let longest_silence = Duration::from_millis(shared.broker.snapshot.load().config.server.heartbeat_ms.max(1));
    publisher.follow(follower, longest_silence).await.map(|_| ())
}

async fn status(shared: &Arc<Shared>, request: &ServiceRequest) -> Result<(), Failure> {
    let JobIdRequest { id } = request_body::parse_object(request.body())?;
    let stream = shared.broker.stream(&id).await?;
    request.answer(&Status::of(&stream)).await
}

/// Answers with the job's terminal record.
async fn cancel(shared: &Arc<Shared>, request: &ServiceRequest) -> Result<(), Failure> {
    let JobIdRequest { id } = request_body::parse_object(request.body())?;
    let stream = shared.broker.cancel(&id, "client").await?;
    let last = stream.cursor(stream.tail().durable.saturating_sub(1));
    follow(shared, request, stream, last).await
}

async fn costs(shared: &Arc<Shared>, request: &ServiceRequest) -> Result<(), Failure> {
    let rows = queries::costs(&shared.broker, request.body()).await?;
    request.answer(&rows).await
}

async fn models(shared: &Arc<Shared>, request: &ServiceRequest) -> Result<(), Failure> {
    // The rest is for headers, and for text that msgpack does not shorten.
    let bytes_max = request.client.max_payload() / 8 * 7;
    request.answer(&queries::models(&shared.broker.snapshot.load(), request.body(), bytes_max)?).await
}

/// One request with the means to answer it.
struct ServiceRequest {
    client: Client,
    request: Request,
}

impl ServiceRequest {
    fn body(&self) -> &[u8] {
        &self.request.message.payload
    }

    /// Returns the text of a header; empty where there is none.
    fn header(&self, name: &str) -> &str {
        let headers = self.request.message.headers.as_ref();
        headers.and_then(|headers| headers.get(name)).map_or("", |value| value.as_str())
    }

    /// Returns the format of the answer: the one that the request accepts, else the request's own.
    fn format(&self) -> Format {
        match self.header(header::ACCEPT) {
            "" => Format::of(self.header(header::CONTENT_TYPE)),
            accept => Format::of(accept),
        }
    }

    /// Returns a publisher to the requester's inbox, if the request names one.
    fn publisher(&self) -> Option<Publisher> {
        let subject = self.request.message.reply.clone()?;
        Some(Publisher { client: self.client.clone(), subject, format: self.format(), job: None })
    }

    /// Sends one message as the answer; NATS does not report whether it arrives.
    async fn answer<T: Serialize>(&self, message: &T) -> Result<(), Failure> {
        match self.publisher() {
            Some(publisher) => publisher.message(message).await,
            None => Ok(()),
        }
    }

    /// Answers with an error: the headers of NATS services, and the failure as payload.
    async fn refuse(&self, failure: &Failure) {
        if failure.code == Code::Internal {
            tracing::error!(%failure, subject = %self.request.message.subject, "a NATS request failed");
        }
        let Some(publisher) = self.publisher() else { return };
        if let Err(error) = publisher.refuse(HeaderMap::new(), failure).await {
            tracing::debug!(%error, "an error could not be sent");
        }
    }

    /// Counts the request in the service's statistics. The client library counts only answers that it
    /// sends itself, and its own errors have no payload: so it sends one to a subject without subscribers.
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
