//! The JetStream work queue: jobs that wait while Forebay is away.
//!
//! Owns the stream `FOREBAY_JOBS` and the durable consumer that all brokers share. Promises: a message
//! is acknowledged only when its job is durable in the log; a message that is delivered twice runs once,
//! since `Nats-Msg-Id`, the body's own names, or else the message's position in the stream are its
//! idempotency key; a message that can never succeed is terminated, logged, and reported to the job's
//! own subject. The stream is made if it is missing; one that an operator made (with replicas, say)
//! is used as it is.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ack::{Verdict, verdict};
use super::connection::backoff;
use super::lifecycle::{Phase, Shared, finish};
use super::limits;
use super::publisher::Publisher;
use crate::job::{Code, Failure, Job, JobId};
use crate::wire::subject::{Format, JOBS_STREAM, MSGPACK, SERVICE, header, is_subject};
use crate::wire::submit;

/// Takes jobs from the queue until the entrance drains.
pub(super) async fn run(shared: &Arc<Shared>, client: &Client) {
    let (mut tasks, mut tries, mut last_error) = (JoinSet::new(), 0, None);
    loop {
        let generation = tokio::select! {
            state = shared.link.connected() => state.generation,
            () = shared.reached(Phase::Draining) => break,
        };
        let ended = tokio::select! {
            ended = consume(shared, client, generation, &mut tasks) => ended,
            () = shared.reached(Phase::Draining) => break,
        };
        match ended {
            // The connection was made anew: look again whether stream and consumer are there.
            Ok(()) => (tries, last_error) = (0, None),
            Err(error) => {
                tries += 1;
                if last_error.as_ref() != Some(&error) {
                    tracing::warn!(%error, "no jobs from JetStream; the other entrances are open and the broker keeps trying");
                    last_error = Some(error);
                }
                tokio::select! {
                    () = sleep(backoff(tries)) => {}
                    () = shared.reached(Phase::Draining) => break,
                }
            }
        }
    }
    finish(&mut tasks).await;
}

/// Sets the queue up and takes messages until the connection is lost or JetStream fails.
async fn consume(
    shared: &Arc<Shared>,
    client: &Client,
    generation: u64,
    tasks: &mut JoinSet<()>,
) -> Result<(), String> {
    let (consumer, epoch) = open(shared, client).await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(limits::QUEUE_BATCH)
        .expires(Duration::from_secs(30))
        .heartbeat(Duration::from_secs(5))
        .messages()
        .await;
    let mut messages = messages.map_err(|error| error.to_string())?;
    loop {
        tokio::select! {
            () = shared.link.lost(generation) => return Ok(()),
            Some(_) = tasks.join_next() => {}
            message = messages.next(), if tasks.len() < limits::QUEUE_WORK_MAX => {
                let Some(message) = message else { return Err("the consumer ended".into()) };
                let message = message.map_err(|error| error.to_string())?;
                let (shared, client) = (Arc::clone(shared), client.clone());
                tasks.spawn(async move { process_message(&shared, &client, &message, epoch).await });
            }
        }
    }
}

/// Finds or makes the stream and the consumer, and returns with the consumer the second in which the
/// stream was made: message numbers begin anew in a stream that is made anew.
async fn open(shared: &Shared, client: &Client) -> Result<(PullConsumer, i64), String> {
    let jetstream = jetstream::new(client.clone());
    let subject = shared.subjects.all_jobs();
    let config = Config {
        name: JOBS_STREAM.into(),
        description: Some("Jobs that wait for Forebay".into()),
        subjects: vec![subject.clone()],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        // A full queue refuses new jobs; it never forgets old ones.
        discard: DiscardPolicy::New,
        max_messages: limits::QUEUE_MESSAGES_MAX,
        max_bytes: limits::QUEUE_BYTES_MAX,
        duplicate_window: limits::QUEUE_DUPLICATE_WINDOW,
        ..Config::default()
    };
    let stream = jetstream.get_or_create_stream(config).await.map_err(|error| error.to_string())?;
    let info = stream.cached_info();
    if !info.config.subjects.contains(&subject) {
        return Err(format!("the stream {JOBS_STREAM} exists and does not listen to {subject}"));
    }
    let epoch = info.created.unix_timestamp();
    let config = pull::Config {
        durable_name: Some(SERVICE.into()),
        description: Some("All Forebay brokers share it".into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: limits::QUEUE_ACK_WAIT,
        max_ack_pending: limits::QUEUE_ACK_PENDING_MAX,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer(SERVICE, config).await.map_err(|error| error.to_string())?;
    Ok((consumer, epoch))
}

/// Submits the job of one message and acknowledges the message accordingly.
async fn process_message(shared: &Arc<Shared>, client: &Client, message: &Message, epoch: i64) {
    let (sequence, delivered) = match message.info() {
        Ok(info) => (info.stream_sequence, info.delivered),
        Err(error) => {
            tracing::error!(%error, "a message that JetStream did not send");
            return;
        }
    };
    let submitted = match job_of(shared, message, format!("js-{epoch}-{sequence}")) {
        Ok(job) => shared.broker.submit(job).await.map(drop),
        Err(failure) => Err(failure),
    };
    let verdict = match &submitted {
        Ok(()) => Verdict::Ack,
        Err(failure) => verdict(failure, delivered),
    };
    let ack = match (verdict, &submitted) {
        (Verdict::Nak(delay), Err(failure)) => {
            tracing::warn!(sequence, delivered, code = failure.code.as_str(), "a job goes back to the queue");
            AckKind::Nak(Some(delay))
        }
        (Verdict::Term, Err(failure)) => {
            // The message may quote what was sent; the log names the field only.
            let (code, param) = (failure.code.as_str(), failure.param.as_deref());
            tracing::error!(subject = %message.subject, sequence, code, param, "a job that cannot be taken is dropped");
            report_to_subject(client, message, failure).await;
            AckKind::Term
        }
        (Verdict::Ack | Verdict::Nak(_) | Verdict::Term, _) => AckKind::Ack,
    };
    // Lost with the connection, it is handed out again and joins its job.
    if let Err(error) = message.ack_with(ack).await {
        tracing::debug!(%error, sequence, "an acknowledgement could not be sent");
    }
}

/// Reads the job of a message. Its idempotency key is the publisher's, else `fallback_key`.
fn job_of(shared: &Shared, message: &Message, fallback_key: String) -> Result<Job, Failure> {
    let body_bytes_max = shared.broker.snapshot.load().config.server.body_bytes_max;
    if message.payload.len() > body_bytes_max {
        return Err(Failure::new(Code::TooLarge, format!("the job is over {body_bytes_max} bytes")));
    }
    let header = |name| header_of(message.headers.as_ref(), name);
    let request = match Format::of(header(header::CONTENT_TYPE)) {
        Format::Json => submit::from_json(&message.payload)?,
        Format::Msgpack => submit::from_msgpack(&message.payload)?,
    };
    let named = request.id.is_some() || request.idempotency_key.is_some();
    let key = match header(header::MSG_ID) {
        "" if named => None,
        "" => Some(fallback_key),
        key => Some(key.to_owned()),
    };
    let known = submit::Entrance {
        gateway: Some(shared.subjects.gateway_of(&message.subject)?),
        idempotency_key: key,
        task: None,
    };
    shared.broker.job(request, known)
}

fn header_of<'a>(headers: Option<&'a HeaderMap>, name: &str) -> &'a str {
    headers.and_then(|headers| headers.get(name)).map_or("", |value| value.as_str())
}

/// Publishes the error to the subject of the job's records, if that much of the job can be read.
async fn report_to_subject(client: &Client, message: &Message, failure: &Failure) {
    let Some((subject, job)) = deliver_of(message) else { return };
    let publisher = Publisher { client: client.clone(), subject: subject.into(), format: Format::Json, job };
    if let Err(error) = publisher.refuse(HeaderMap::new(), failure).await {
        tracing::debug!(%error, "an error could not be published");
    }
}

fn deliver_of(message: &Message) -> Option<(String, Option<JobId>)> {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(default)]
        id: Option<String>,
        options: PeekOptions,
    }
    #[derive(Deserialize)]
    struct PeekOptions {
        deliver: PeekDeliver,
    }
    #[derive(Deserialize)]
    struct PeekDeliver {
        subject: String,
    }
    if header_of(message.headers.as_ref(), header::CONTENT_TYPE).contains(MSGPACK) {
        return None;
    }
    let peek: Peek = serde_json::from_slice(&message.payload).ok()?;
    let subject = peek.options.deliver.subject;
    is_subject(&subject).then(|| (subject, peek.id.and_then(|id| id.parse().ok())))
}
