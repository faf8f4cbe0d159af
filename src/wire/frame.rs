//! WebSocket messages: what clients say and what they are told.
//!
//! Owns both subprotocols (`forebay.v1.json`, `forebay.v1.msgpack`) and the close codes. Promises
//! that a bad message becomes an `invalid` that names the field, and that an `events` message is
//! written from stored bytes without anything in between. Does not know sockets or subscriptions.

mod close;
mod events;
mod said;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;

pub use close::Close;
pub use events::EventsFrame;
pub use said::decode;

use super::record::RecordRef;
use super::submit;
use crate::job::{Failure, JobId, Record, State};

/// Which bytes a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// `forebay.v1.json`: text frames.
    #[default]
    Json,
    /// `forebay.v1.msgpack`: binary frames.
    Msgpack,
}

impl Protocol {
    /// All of them, the preferred first.
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
    /// A number.
    Number(u64),
    /// 1 to 64 bytes.
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

/// What a client says.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Who it is. Needed first where keys are configured and the request had none.
    Hello {
        /// The key.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<Box<str>>,
        /// The program, for our logs.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<Box<str>>,
    },
    /// Submits a job.
    Run {
        /// Comes back in the answer.
        #[serde(rename = "ref")]
        reference: Label,
        /// The job.
        #[schemars(with = "submit::Said")]
        job: Box<RawValue>,
    },
    /// Follows a job.
    Subscribe {
        /// Names the subscription on this socket.
        sub: Label,
        /// The job.
        id: Box<str>,
        /// After the last record that was processed. Default `-1`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<Box<str>>,
        /// Bytes of `events` messages that may be sent. Default 262144.
        #[serde(skip_serializing_if = "Option::is_none")]
        credit: Option<u64>,
    },
    /// Allows more.
    Credit {
        /// The subscription.
        sub: Label,
        /// Bytes.
        add: u64,
    },
    /// Ends a subscription.
    Unsubscribe {
        /// The subscription.
        sub: Label,
    },
    /// Cancels a job.
    Cancel {
        /// The job.
        id: Box<str>,
    },
    /// Asks for a `pong`.
    Ping {
        /// Comes back.
        #[schemars(with = "f64")]
        n: Number,
    },
}

/// Where one stream stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SubTail {
    /// The subscription.
    pub sub: Label,
    /// The cursor after the last durable record.
    pub tail: Box<str>,
}

/// What a client is told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The first message: the client is in.
    Welcome {
        /// The connection, for logs.
        conn: Box<str>,
        /// Milliseconds between two heartbeats.
        heartbeat_ms: u64,
        /// Bytes of an `events` message, unless a single record is larger.
        frame_bytes_max: u64,
    },
    /// A job is durable.
    Accepted {
        /// The request.
        #[serde(rename = "ref")]
        reference: Label,
        /// The job.
        id: JobId,
        /// Where it stands.
        state: State,
        /// Whether it existed already.
        reused: bool,
    },
    /// A subscription begins.
    Subscribed {
        /// The subscription.
        sub: Label,
        /// The job.
        id: JobId,
        /// Where it stands.
        state: State,
        /// The cursor before the first record that is kept.
        earliest: Box<str>,
        /// The cursor after the last durable record.
        tail: Box<str>,
    },
    /// Records, contiguous with those before.
    Events {
        /// The subscription.
        sub: Label,
        /// The cursor after the last of them.
        cursor: Box<str>,
        /// The records.
        #[serde(serialize_with = "rendered")]
        items: Vec<Record>,
    },
    /// Everything that was durable has been sent.
    CaughtUp {
        /// The subscription.
        sub: Label,
        /// Where.
        cursor: Box<str>,
    },
    /// The job ended and everything was sent: the only proof of completion.
    End {
        /// The subscription.
        sub: Label,
        /// After the terminal.
        cursor: Box<str>,
        /// The terminal's kind.
        state: State,
    },
    /// A sign of life.
    Heartbeat {
        /// Where the streams of the open subscriptions stand.
        tails: Vec<SubTail>,
    },
    /// Something could not be done. The socket stays open.
    Error {
        /// The subscription concerned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sub: Option<Label>,
        /// The request concerned.
        #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Label>,
        /// What went wrong.
        error: Failure,
    },
    /// The broker is going down: come back with the same cursors.
    Goaway {
        /// Milliseconds to wait before that.
        retry_after_ms: u64,
    },
    /// The answer to `ping`.
    Pong {
        /// What the `ping` said.
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

/// What a client reads: for our own client and tests; not on any hot path.
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

/// What a client sends: for our own client and tests.
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
