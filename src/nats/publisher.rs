//! Publishes records and answers as NATS messages.
//!
//! One loop reads the log and publishes; it holds one batch of records, and waits when the client's
//! queue is full. Promises order. An inbox may miss messages when the connection is lost: the requester
//! sees the gap in `Forebay-Seq`, or silence, and requests `forebay.events` from its cursor.

use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{Client, HeaderMap, Subject};
use serde::Serialize;

use crate::job::caps::FRAME_BYTES_MAX;
use crate::job::{Code, Failure, JobId, State};
use crate::log::{Chunk, Followed, Follower, IdleTimer, Stream};
use crate::telemetry;
use crate::wire::subject::{Beat, Format, HEARTBEAT, MSGPACK, Refusal, header};
use crate::wire::{Cursor, record};

/// Publishes messages to one subject in one format.
#[derive(Clone)]
pub(super) struct Publisher {
    /// Connection that the messages go through.
    pub(super) client: Client,
    /// Inbox or subject that the messages go to.
    pub(super) subject: Subject,
    /// Format of the payloads.
    pub(super) format: Format,
    /// Job that every message names, where many jobs may share the subject.
    pub(super) job: Option<JobId>,
}

impl Publisher {
    /// Publishes all records that `follower` still has to read, live ones included, and ends with
    /// the terminal. After each `longest_silence` without one comes a heartbeat.
    ///
    /// # Errors
    /// When the log cannot be read or the connection is closed for good.
    pub(super) async fn follow(&self, mut follower: Follower, longest_silence: Duration) -> Result<State, Failure> {
        let mut idle = IdleTimer::new(longest_silence);
        loop {
            let followed = tokio::select! {
                biased;
                followed = follower.next(FRAME_BYTES_MAX) => Some(followed?),
                () = idle.elapsed() => None,
            };
            match followed {
                Some(Followed::Records(chunk)) => self.chunk(follower.stream(), &chunk).await?,
                Some(Followed::End(state)) => return Ok(state),
                None => self.heartbeat(follower.cursor()).await?,
            }
            idle.restart();
        }
    }

    /// Publishes a heartbeat with the cursor of the next record.
    async fn heartbeat(&self, cursor: Cursor) -> Result<(), Failure> {
        let mut headers = self.headers();
        headers.insert(header::KIND, HEARTBEAT);
        headers.insert(header::CURSOR, cursor.to_string());
        let payload = self.format.message(&Beat { kind: HEARTBEAT });
        let sent = self.client.publish_with_headers(self.subject.clone(), headers, payload.into()).await;
        sent.map_err(|error| connection_closed(&error))
    }

    /// Publishes the records of `chunk`.
    ///
    /// # Errors
    /// When the log is damaged or the connection is closed for good.
    pub(super) async fn chunk(&self, stream: &Stream, chunk: &Chunk) -> Result<(), Failure> {
        for (seq, stored) in chunk.iter() {
            self.record(stream, seq, stored).await?;
        }
        Ok(())
    }

    async fn record(&self, stream: &Stream, seq: u64, stored: &[u8]) -> Result<(), Failure> {
        let record = record::decode(seq, stored)?;
        let mut headers = self.headers();
        headers.insert(header::SEQ, seq.to_string());
        headers.insert(header::KIND, record.kind());
        headers.insert(header::CURSOR, stream.cursor(seq + 1).to_string());
        if let Some(job) = &self.job {
            // Where the subject is bound to a JetStream stream, this drops doubles by itself.
            headers.insert(header::MSG_ID, format!("{job}-{}", stream.cursor(seq)));
        }
        let payload = self.format.record(&record);
        let (subject, size) = (self.subject.clone(), payload.len());
        match self.client.publish_with_headers(subject, headers, payload.into()).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                // A gap must not be silent: in the record's place comes what happened to it.
                let message = format!("record {seq} has {size} bytes, more than this NATS server's max_payload");
                let mut headers = HeaderMap::new();
                headers.insert(header::SEQ, seq.to_string());
                headers.insert(header::KIND, record.kind());
                self.refuse(headers, &Failure::new(Code::TooLarge, message)).await
            }
            Err(error) => Err(connection_closed(&error)),
        }
    }

    /// Publishes a message that is not a record.
    ///
    /// # Errors
    /// `too_large` where the server does not take it; `overloaded` when the connection is closed
    /// for good.
    pub(super) async fn message<T: Serialize>(&self, message: &T) -> Result<(), Failure> {
        let payload = self.format.message(message);
        let sent = self.client.publish_with_headers(self.subject.clone(), self.headers(), payload.into()).await;
        sent.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => {
                Failure::new(Code::TooLarge, "the answer is larger than this NATS server's max_payload")
            }
            _ => connection_closed(&error),
        })
    }

    /// Publishes a failure as an error message.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub(super) async fn refuse(&self, mut headers: HeaderMap, failure: &Failure) -> Result<(), Failure> {
        telemetry::error(failure);
        for (name, values) in self.headers().iter() {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
        headers.insert(header::SERVICE_ERROR, failure.code.as_str());
        headers.insert(header::SERVICE_ERROR_CODE, failure.http_status().to_string());
        let payload = self.format.message(&Refusal { error: failure });
        let sent = self.client.publish_with_headers(self.subject.clone(), headers, payload.into()).await;
        sent.map_err(|error| connection_closed(&error))
    }

    /// Returns the headers that every message has.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.format == Format::Msgpack {
            headers.insert(header::CONTENT_TYPE, MSGPACK);
        }
        if let Some(job) = &self.job {
            headers.insert(header::JOB_ID, job.as_str());
        }
        headers
    }
}

fn connection_closed(error: &async_nats::PublishError) -> Failure {
    Failure::new(Code::Overloaded, format!("NATS: {error}"))
}

/// Counts one NATS reader in the metrics for as long as it lives.
pub(super) struct ReaderGauge(());

impl ReaderGauge {
    /// Adds one reader to the gauge.
    pub(super) fn add() -> ReaderGauge {
        telemetry::readers("nats", 1.0);
        ReaderGauge(())
    }
}

impl Drop for ReaderGauge {
    fn drop(&mut self) {
        telemetry::readers("nats", -1.0);
    }
}
