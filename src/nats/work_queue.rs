//! The JetStream work queue: jobs that wait while Forebay is away.
//!
//! Owns the stream `FOREBAY_JOBS` and the durable consumer that all brokers share. Promises: a message
//! is acknowledged only when its job is durable in the log; handed out twice it still runs once,
//! since `Nats-Msg-Id`, the body's own names, or else the message's place in the stream are its
//! idempotency key; poison is terminated, said, and told to the job's own subject. The stream is
//! made if it is missing; one that an operator made (with replicas, say) is used as it is.

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
use super::limits;
use super::reply::Outlet;
use super::serve::{Door, Phase, finish};
use crate::job::{Code, Failure, Job, JobId};
use crate::wire::subject::{Format, JOBS_STREAM, MSGPACK, SERVICE, header, is_subject};
use crate::wire::submit;

/// Takes jobs from the queue until the entrance drains.
pub(super) async fn run(door: &Arc<Door>, client: &Client) {
    let (mut tasks, mut tries, mut said) = (JoinSet::new(), 0, None);
    loop {
        let generation = tokio::select! {
            state = door.link.connected() => state.generation,
            () = door.reached(Phase::Draining) => break,
        };
        let ended = tokio::select! {
            ended = session(door, client, generation, &mut tasks) => ended,
            () = door.reached(Phase::Draining) => break,
        };
        match ended {
            // The connection was made anew: look again whether stream and consumer are there.
            Ok(()) => (tries, said) = (0, None),
            Err(error) => {
                tries += 1;
                if said.as_ref() != Some(&error) {
                    tracing::warn!(%error, "no jobs from JetStream; the other doors are open, and we go on trying");
                    said = Some(error);
                }
                tokio::select! {
                    () = sleep(backoff(tries)) => {}
                    () = door.reached(Phase::Draining) => break,
                }
            }
        }
    }
    finish(&mut tasks).await;
}

/// Sets the queue up and takes messages until the connection is lost or JetStream fails.
async fn session(door: &Arc<Door>, client: &Client, generation: u64, tasks: &mut JoinSet<()>) -> Result<(), String> {
    let (consumer, epoch) = open(door, client).await?;
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
            () = door.link.lost(generation) => return Ok(()),
            Some(_) = tasks.join_next() => {}
            message = messages.next(), if tasks.len() < limits::QUEUE_WORK_MAX => {
                let Some(message) = message else { return Err("the consumer ended".into()) };
                let message = message.map_err(|error| error.to_string())?;
                let (door, client) = (Arc::clone(door), client.clone());
                tasks.spawn(async move { work(&door, &client, &message, epoch).await });
            }
        }
    }
}

/// Finds or makes the stream and the consumer; and when the stream was made, in seconds: message
/// numbers begin anew in a stream made anew.
async fn open(door: &Door, client: &Client) -> Result<(PullConsumer, i64), String> {
    let jetstream = jetstream::new(client.clone());
    let subject = door.subjects.all_jobs();
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

/// Takes one message in and tells JetStream what became of it.
async fn work(door: &Arc<Door>, client: &Client, message: &Message, epoch: i64) {
    let (sequence, delivered) = match message.info() {
        Ok(info) => (info.stream_sequence, info.delivered),
        Err(error) => {
            tracing::error!(%error, "a message that JetStream did not send");
            return;
        }
    };
    let taken = match job_of(door, message, format!("js-{epoch}-{sequence}")) {
        Ok(job) => door.svc.submit(job).await.map(drop),
        Err(failure) => Err(failure),
    };
    let verdict = match &taken {
        Ok(()) => Verdict::Ack,
        Err(failure) => verdict(failure, delivered),
    };
    let ack = match (verdict, &taken) {
        (Verdict::Nak(delay), Err(failure)) => {
            tracing::warn!(sequence, delivered, code = failure.code.as_str(), "a job goes back to the queue");
            AckKind::Nak(Some(delay))
        }
        (Verdict::Term, Err(failure)) => {
            // The message may quote what was sent; the log names the field only.
            let (code, param) = (failure.code.as_str(), failure.param.as_deref());
            tracing::error!(subject = %message.subject, sequence, code, param, "a job that cannot be taken is dropped");
            tell(client, message, failure).await;
            AckKind::Term
        }
        (Verdict::Ack | Verdict::Nak(_) | Verdict::Term, _) => AckKind::Ack,
    };
    // Lost with the connection, it is handed out again and joins its job.
    if let Err(error) = message.ack_with(ack).await {
        tracing::debug!(%error, sequence, "an acknowledgement could not be sent");
    }
}

/// The job of a message. Its idempotency key is what the publisher said, else `place`.
fn job_of(door: &Door, message: &Message, place: String) -> Result<Job, Failure> {
    let body_bytes_max = door.svc.snapshot.load().config.server.body_bytes_max;
    if message.payload.len() > body_bytes_max {
        return Err(Failure::new(Code::TooLarge, format!("the job is over {body_bytes_max} bytes")));
    }
    let header = |name| header_of(message.headers.as_ref(), name);
    let said = match Format::of(header(header::CONTENT_TYPE)) {
        Format::Json => submit::from_json(&message.payload)?,
        Format::Msgpack => submit::from_msgpack(&message.payload)?,
    };
    let named = said.id.is_some() || said.idempotency_key.is_some();
    let key = match header(header::MSG_ID) {
        "" if named => None,
        "" => Some(place),
        key => Some(key.to_owned()),
    };
    let known =
        submit::Door { gateway: Some(door.subjects.gateway_of(&message.subject)?), idempotency_key: key, task: None };
    door.svc.job(said, known)
}

fn header_of<'a>(headers: Option<&'a HeaderMap>, name: &str) -> &'a str {
    headers.and_then(|headers| headers.get(name)).map_or("", |value| value.as_str())
}

/// Publishes the error where the job's records would have gone, if that much of it can be read.
async fn tell(client: &Client, message: &Message, failure: &Failure) {
    let Some((subject, job)) = deliver_of(message) else { return };
    let outlet = Outlet { client: client.clone(), subject: subject.into(), format: Format::Json, job };
    if let Err(error) = outlet.refuse(HeaderMap::new(), failure).await {
        tracing::debug!(%error, "an error could not be told");
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
