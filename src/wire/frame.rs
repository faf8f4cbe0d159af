//! WebSocket messages: what clients say and what they are told.
//!
//! Owns both subprotocols (`forebay.v1.json`, `forebay.v1.msgpack`) and the close codes. Promises
//! that a bad message becomes an `invalid` that names the field, and that an `events` message is
//! written from stored bytes without anything in between. Does not know sockets or subscriptions.

mod events;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

pub use events::EventsFrame;

use super::record::RecordRef;
use super::submit;
use crate::job::caps::{ID_BYTES_MAX, JSON_DEPTH_MAX};
use crate::job::{Code, Failure, JobId, Record, State};

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

macro_rules! closes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $reason:literal;)*) => {
        /// Why a socket is closed.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Close {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Close {
            /// All of them.
            pub const ALL: &'static [Close] = &[$(Close::$variant,)*];

            /// The reason that goes with the code: at most 123 bytes.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(Close::$variant => $reason,)* }
            }
        }
    };
}

closes! {
    /// Done.
    Normal = 1000, "done";
    /// The broker is gone for good.
    GoingAway = 1001, "going away; resume with the same cursors";
    /// Not WebSocket.
    Protocol = 1002, "not the WebSocket protocol";
    /// A text message that is not UTF-8.
    NotUtf8 = 1007, "a text message must be UTF-8";
    /// A message over the limit.
    TooLarge = 1009, "the message is too large";
    /// A bug of ours.
    Internal = 1011, "internal error";
    /// The broker restarts.
    Restart = 1012, "restarting; resume with the same cursors";
    /// The broker is full.
    Overloaded = 1013, "overloaded; come back later";
    /// The client did not read.
    Stalled = 4100, "the socket took no data for too long; resume with the same cursors";
    /// The client is not there.
    NoPong = 4101, "no pong; resume with the same cursors";
    /// Not a message.
    BadMessage = 4400, "bad message";
    /// No key, or none we know.
    Unauthenticated = 4401, "unauthenticated";
    /// The key may do nothing here.
    Forbidden = 4403, "forbidden";
    /// Text where MessagePack was agreed, or the other way round.
    Subprotocol = 4406, "not the agreed subprotocol";
    /// No `hello` in time.
    HelloTimeout = 4408, "no hello in time";
    /// Too much of everything.
    Abuse = 4429, "too many messages or subscriptions";
}

impl Close {
    /// The code.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }

    /// Whether a client should come back unchanged.
    #[must_use]
    pub fn may_retry(code: u16) -> bool {
        !matches!(code, 1002 | 1007 | 1009 | 4400..=4499)
    }
}

/// Reads a client's message.
///
/// # Errors
/// `invalid`, naming the field: close with 4400.
pub fn decode(protocol: Protocol, bytes: &[u8]) -> Result<ClientMessage, Failure> {
    match protocol {
        Protocol::Json => {
            let mut reader = serde_json::Deserializer::from_slice(bytes);
            let said: Said<Box<RawValue>> = serde_path_to_error::deserialize(&mut reader).map_err(|e| named(&e))?;
            reader.end().map_err(|error| Failure::new(Code::Invalid, format!("after the message: {error}")))?;
            said.meant()
        }
        Protocol::Msgpack => {
            let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
            reader.set_max_depth(JSON_DEPTH_MAX);
            let mut said: Said<Value> = serde_path_to_error::deserialize(&mut reader).map_err(|e| named(&e))?;
            let job = said.job.take().map(|job| RawValue::from_string(job.to_string())).transpose();
            let job = job.map_err(|error| Failure::invalid("job", error))?;
            said.with_job(job).meant()
        }
    }
}

/// Every field of every message: one pass over the bytes, and a job stays as it was written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said<J> {
    #[serde(rename = "type")]
    kind: Box<str>,
    token: Option<Box<str>>,
    client: Option<Box<str>>,
    #[serde(rename = "ref")]
    reference: Option<Label>,
    job: Option<J>,
    sub: Option<Label>,
    id: Option<Box<str>>,
    #[serde(default, deserialize_with = "text_or_number")]
    cursor: Option<Box<str>>,
    credit: Option<u64>,
    add: Option<u64>,
    n: Option<Number>,
}

/// `-1` is so easily written as a number that it is taken as one.
fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(Box<str>),
        Number(Number),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| match either {
        Either::Text(text) => text,
        Either::Number(number) => number.to_string().into(),
    }))
}

impl<J> Said<J> {
    fn with_job<K>(self, job: Option<K>) -> Said<K> {
        let Said { kind, token, client, reference, sub, id, cursor, credit, add, n, .. } = self;
        Said { kind, token, client, reference, job, sub, id, cursor, credit, add, n }
    }
}

impl Said<Box<RawValue>> {
    fn meant(mut self) -> Result<ClientMessage, Failure> {
        let message = match &*self.kind {
            "hello" => ClientMessage::Hello { token: self.token.take(), client: self.client.take() },
            "run" => ClientMessage::Run {
                reference: label("ref", self.reference.take())?,
                job: need("job", self.job.take())?,
            },
            "subscribe" => ClientMessage::Subscribe {
                sub: label("sub", self.sub.take())?,
                id: need("id", self.id.take())?,
                cursor: self.cursor.take(),
                credit: self.credit.take(),
            },
            "credit" => {
                ClientMessage::Credit { sub: label("sub", self.sub.take())?, add: need("add", self.add.take())? }
            }
            "unsubscribe" => ClientMessage::Unsubscribe { sub: label("sub", self.sub.take())? },
            "cancel" => ClientMessage::Cancel { id: need("id", self.id.take())? },
            "ping" => ClientMessage::Ping { n: need("n", self.n.take())? },
            other => return Err(Failure::invalid("type", format!("`{other:.32}` is not a message"))),
        };
        match self.leftover() {
            Some(field) => Err(Failure::invalid(field, format!("`{}` has no such field", self.kind))),
            None => Ok(message),
        }
    }

    fn leftover(&self) -> Option<&'static str> {
        let fields = [
            ("token", self.token.is_some()),
            ("client", self.client.is_some()),
            ("ref", self.reference.is_some()),
            ("job", self.job.is_some()),
            ("sub", self.sub.is_some()),
            ("id", self.id.is_some()),
            ("cursor", self.cursor.is_some()),
            ("credit", self.credit.is_some()),
            ("add", self.add.is_some()),
            ("n", self.n.is_some()),
        ];
        fields.into_iter().find(|(_, said)| *said).map(|(field, _)| field)
    }
}

fn need<T>(field: &str, value: Option<T>) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::invalid(field, "is missing"))
}

fn label(field: &str, value: Option<Label>) -> Result<Label, Failure> {
    match need(field, value)? {
        Label::Text(text) if text.is_empty() || text.len() > ID_BYTES_MAX => {
            Err(Failure::invalid(field, format!("must be a number or 1 to {ID_BYTES_MAX} bytes")))
        }
        label => Ok(label),
    }
}

fn named<E: fmt::Display>(error: &serde_path_to_error::Error<E>) -> Failure {
    let (path, message) = (error.path().to_string(), error.inner().to_string());
    // serde names an unknown or missing field in its message only.
    let quoted = message.split('`').nth(1);
    match (path.as_str(), quoted) {
        (".", Some(field)) if message.starts_with("missing field") => Failure::invalid(field, "is missing"),
        (".", _) => Failure::new(Code::Invalid, format!("not a message: {message}")),
        (path, _) => Failure::invalid(path, message),
    }
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
