//! What goes over NATS beside records: subjects, headers, and the first message of an answer.
//!
//! Owns the names that NATS clients are written against. Does not know a connection.

use std::fmt;

use serde::Serialize;

use super::record::RecordRef;
use crate::job::{Failure, Gateway, JobId, State};

/// The JetStream stream that holds published jobs.
pub const JOBS_STREAM: &str = "FOREBAY_JOBS";

/// The NATS service's name and the queue group that all brokers share.
pub const SERVICE: &str = "forebay";

/// The headers of NATS messages.
pub mod header {
    /// A record's place in its stream: what a receiver drops doubles by.
    pub const SEQ: &str = "Forebay-Seq";
    /// A record's kind; [`super::HEARTBEAT`] where the message is not a record.
    pub const KIND: &str = "Forebay-Kind";
    /// The cursor after a record, or of the record to come: what `forebay.events` goes on from.
    pub const CURSOR: &str = "Forebay-Cursor";
    /// The job a record belongs to; on `options.deliver.subject`, which many jobs may share.
    pub const JOB_ID: &str = "Forebay-Job-Id";
    /// `accepted`: the requester wants the first message only.
    pub const REPLY: &str = "Forebay-Reply";
    /// The caller's own name for the message, which is an idempotency key.
    pub const MSG_ID: &str = "Nats-Msg-Id";
    /// Media type of the payload: `application/msgpack`, or JSON.
    pub const CONTENT_TYPE: &str = "Content-Type";
    /// Format that the answer must have; without it, the format of the request.
    pub const ACCEPT: &str = "Accept";
    /// An error's code: the payload is not a record.
    pub const SERVICE_ERROR: &str = "Nats-Service-Error";
    /// An error's HTTP status.
    pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
}

/// The media type of MessagePack.
pub const MSGPACK: &str = "application/msgpack";

/// Format in which messages are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Messages are JSON text.
    #[default]
    Json,
    /// MessagePack with field names.
    Msgpack,
}

impl Format {
    /// The format that a media type names; anything but MessagePack is JSON.
    #[must_use]
    pub fn of(media_type: &str) -> Format {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(MSGPACK) { Format::Msgpack } else { Format::Json }
    }

    /// The record as bytes.
    #[must_use]
    pub fn record(self, record: &RecordRef<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        match self {
            Format::Json => record.write_json(&mut out),
            Format::Msgpack => record.write_msgpack(&mut out),
        }
        out
    }

    /// Any plain message as bytes.
    #[must_use]
    pub fn message<T: Serialize>(self, message: &T) -> Vec<u8> {
        match self {
            Format::Json => serde_json::to_vec(message).expect("messages have string keys"),
            Format::Msgpack => rmp_serde::to_vec_named(message).expect("messages are plain data"),
        }
    }
}

/// The first message of an answer: the job is durable.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct First<'a> {
    /// Id of the job.
    pub id: &'a JobId,
    /// State of the job.
    pub state: State,
    /// Where the records that follow begin.
    pub cursor: String,
    /// Whether the job existed already.
    pub reused: bool,
}

/// Kind of a message that only reports that nothing has happened.
pub const HEARTBEAT: &str = "heartbeat";

/// The message of that kind. It goes to inboxes only: what consumes a subject of its own, a JetStream
/// stream for example, counts messages.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Beat {
    /// [`HEARTBEAT`], where a record has its kind.
    pub kind: &'static str,
}

/// An error as NATS and HTTP carry it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Refusal<'a> {
    /// The failure that the message reports.
    pub error: &'a Failure,
}

/// The subjects of one broker.
#[derive(Clone, Debug)]
pub struct Subjects {
    prefix: Box<str>,
}

impl Subjects {
    /// Makes the subjects below `prefix`.
    ///
    /// # Errors
    /// `invalid`, naming `nats.prefix`, unless it is dot-separated tokens without wildcards.
    pub fn new(prefix: &str) -> Result<Subjects, Failure> {
        if !is_subject(prefix) {
            return Err(Failure::invalid("nats.prefix", "must be a NATS subject without wildcards"));
        }
        Ok(Subjects { prefix: prefix.into() })
    }

    /// A service endpoint: `forebay.<name>`.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Where jobs for a gateway are published: `forebay.jobs.<gateway>`.
    #[must_use]
    pub fn jobs(&self, gateway: &Gateway) -> String {
        format!("{}.jobs.{gateway}", self.prefix)
    }

    /// Subjects that the JetStream stream stores.
    #[must_use]
    pub fn all_jobs(&self) -> String {
        format!("{}.jobs.*", self.prefix)
    }

    /// The gateway that the last token of `subject` names.
    ///
    /// # Errors
    /// `invalid` when that is not a gateway's name.
    pub fn gateway_of(&self, subject: &str) -> Result<Gateway, Failure> {
        subject.rsplit('.').next().unwrap_or_default().parse()
    }
}

impl fmt::Display for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

/// Whether `text` is a subject one can publish to: tokens without blanks or wildcards.
#[must_use]
pub fn is_subject(text: &str) -> bool {
    let token =
        |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>');
    !text.is_empty() && text.len() <= 255 && text.split('.').all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_without_wildcards_can_be_published_to() {
        let long = "a".repeat(256);
        for (text, good) in [
            ("a", true),
            ("agents.replies.42", true),
            ("_INBOX.a-b", true),
            ("", false),
            (".a", false),
            ("a..b", false),
            ("a.", false),
            ("a.*", false),
            ("a.>", false),
            ("a b", false),
            ("a\r\nPUB x", false),
            ("ä", false),
            (long.as_str(), false),
        ] {
            assert_eq!(is_subject(text), good, "{text:.40}");
        }
    }

    #[test]
    fn the_last_token_names_the_gateway() {
        let subjects = Subjects::new("acme.forebay").unwrap();
        let gateway = subjects.gateway_of("acme.forebay.jobs.team-a").unwrap();
        assert_eq!(subjects.jobs(&gateway), "acme.forebay.jobs.team-a");
        assert_eq!(subjects.gateway_of("acme.forebay.jobs.no!").map_err(|f| f.code), Err(crate::job::Code::Invalid));
        assert!(Subjects::new("a.*").is_err());
    }

    #[test]
    fn only_msgpack_is_msgpack() {
        for (media_type, format) in [
            ("application/msgpack", Format::Msgpack),
            ("Application/MsgPack; v=1", Format::Msgpack),
            ("application/json", Format::Json),
            ("", Format::Json),
        ] {
            assert_eq!(Format::of(media_type), format, "{media_type}");
        }
    }
}
