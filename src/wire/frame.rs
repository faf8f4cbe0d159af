//! WebSocket messages, from clients and to clients.
//!
//! Owns both subprotocols (`forebay.v1.json`, `forebay.v1.msgpack`) and the close codes. Promises
//! that a bad message becomes an `invalid` that names the field, and that an `events` message is
//! written from stored bytes without anything in between. Does not know sockets or subscriptions.

mod close;
mod decode;
mod events;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;

pub use close::Close;
pub use decode::decode;
pub use events::EventsFrame;

use super::record::RecordRef;
use super::submit;
use crate::job::{Failure, JobId, Record, State};

/// Encoding of the messages of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// `forebay.v1.json`: text frames with JSON.
    #[default]
    Json,
    /// `forebay.v1.msgpack`: binary frames with MessagePack.
    Msgpack,
}

impl Protocol {
    /// All protocols, the preferred first.
    pub const ALL: [Protocol; 2] = [Protocol::Json, Protocol::Msgpack];

    /// The name in `Sec-WebSocket-Protocol`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Json => "forebay.v1.json",
            Protocol::Msgpack => "forebay.v1.msgpack",
        }
    }
}

/// A client's own name for a subscription (`sub`) or a request (`ref`); given back as it came.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Label {
    /// A number that the client chose.
    Number(u64),
    /// A text of 1 to 64 bytes.
    Text(#[schemars(length(min = 1, max = 64))] Box<str>),
}

impl From<&str> for Label {
    fn from(text: &str) -> Label {
        Label::Text(text.into())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Number(number) => number.fmt(f),
            Label::Text(text) => text.fmt(f),
        }
    }
}

/// A message that a client sends.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Authenticates the client. Must come first where keys are configured and the handshake had none.
    Hello {
        /// The key that the client presents.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<Box<str>>,
        /// Name of the client program, for the log.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<Box<str>>,
    },
    /// Submits a job for the client.
    Run {
        /// Reference that comes back in the answer.
        #[serde(rename = "ref")]
        reference: Label,
        /// The job, or its id.
        #[schemars(with = "submit::JobRequest")]
        job: Box<RawValue>,
    },
    /// Subscribes to the records of a job.
    Subscribe {
        /// Names the subscription on this socket.
        sub: Label,
        /// The job, or its id.
        id: Box<str>,
        /// After the last record that was processed. Default `-1`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<Box<str>>,
        /// Bytes of `events` messages that may be sent. Default 262144.
        #[serde(skip_serializing_if = "Option::is_none")]
        credit: Option<u64>,
    },
    /// Allows the broker to send more bytes.
    Credit {
        /// Name of the subscription.
        sub: Label,
        /// Bytes that are added to the credit.
        add: u64,
    },
    /// Ends a subscription of this socket.
    Unsubscribe {
        /// Name of the subscription.
        sub: Label,
    },
    /// Cancels a job of the client.
    Cancel {
        /// The job, or its id.
        id: Box<str>,
    },
    /// Asks the broker for a `pong`.
    Ping {
        /// Number that comes back in the `pong`.
        #[schemars(with = "f64")]
        n: Number,
    },
}

/// Tail of one subscribed stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SubTail {
    /// Name of the subscription.
    pub sub: Label,
    /// The cursor after the last durable record.
    pub tail: Box<str>,
}

/// A message that the broker sends.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The first message: the client is in.
    Welcome {
        /// Id of the connection, for logs.
        conn: Box<str>,
        /// Milliseconds between two heartbeats.
        heartbeat_ms: u64,
        /// Bytes of an `events` message, unless a single record is larger.
        frame_bytes_max: u64,
    },
    /// A job is durable.
    Accepted {
        /// Reference of the request.
        #[serde(rename = "ref")]
        reference: Label,
        /// The job, or its id.
        id: JobId,
        /// State of the job.
        state: State,
        /// Whether it existed already.
        reused: bool,
    },
    /// A subscription has begun.
    Subscribed {
        /// Name of the subscription.
        sub: Label,
        /// The job, or its id.
        id: JobId,
        /// State of the job.
        state: State,
        /// The cursor before the first record that is kept.
        earliest: Box<str>,
        /// The cursor after the last durable record.
        tail: Box<str>,
    },
    /// Records, contiguous with those before.
    Events {
        /// Name of the subscription.
        sub: Label,
        /// The cursor after the last of them.
        cursor: Box<str>,
        /// The records themselves, as JSON or MessagePack.
        #[serde(serialize_with = "rendered")]
        items: Vec<Record>,
    },
    /// Everything that was durable has been sent.
    CaughtUp {
        /// Name of the subscription.
        sub: Label,
        /// Cursor after the last record that was sent.
        cursor: Box<str>,
    },
    /// The job ended and everything was sent: the only proof of completion.
    End {
        /// Name of the subscription.
        sub: Label,
        /// Cursor after the terminal record.
        cursor: Box<str>,
        /// Kind of the terminal record.
        state: State,
    },
    /// A sign of life.
    Heartbeat {
        /// Where the streams of the open subscriptions stand.
        tails: Vec<SubTail>,
    },
    /// Something could not be done. The socket stays open.
    Error {
        /// Name of the subscription that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<Label>,
        /// Reference of the request that failed.
        #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Label>,
        /// The failure of the request or the subscription.
        error: Failure,
    },
    /// The broker is going down: come back with the same cursors.
    Goaway {
        /// Milliseconds to wait before that.
        retry_after_ms: u64,
    },
    /// The answer to `ping`.
    Pong {
        /// Number that the `ping` carried.
        #[schemars(with = "f64")]
        n: Number,
    },
}

fn rendered<S: serde::Serializer>(items: &[Record], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(|record| RecordRef::from(record.clone())))
}

/// Appends a message to `out`.
pub fn encode(protocol: Protocol, message: &ServerMessage, out: &mut Vec<u8>) {
    match protocol {
        Protocol::Json => {
            serde_json::to_writer(out, message).expect("a message has string keys, and a Vec takes every byte");
        }
        Protocol::Msgpack => {
            rmp_serde::encode::write_named(out, message).expect("a message is plain data, and a Vec takes every byte");
        }
    }
}

/// Decodes a message of the broker, for our own client and tests; not on any hot path.
///
/// # Errors
/// `internal` when the bytes are not a message.
pub fn decode_server(protocol: Protocol, bytes: &[u8]) -> Result<ServerMessage, Failure> {
    let wrong = |error: &dyn fmt::Display| Failure::internal(format!("not a message of ours: {error}"));
    match protocol {
        Protocol::Json => serde_json::from_slice(bytes).map_err(|error| wrong(&error)),
        Protocol::Msgpack => rmp_serde::from_slice(bytes).map_err(|error| wrong(&error)),
    }
}

/// Encodes a message of a client, for our own client and tests.
#[must_use]
pub fn encode_client(protocol: Protocol, message: &ClientMessage) -> Vec<u8> {
    let value = serde_json::to_value(message).expect("a message has string keys");
    match protocol {
        Protocol::Json => value.to_string().into_bytes(),
        Protocol::Msgpack => rmp_serde::to_vec_named(&value).expect("plain data"),
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
