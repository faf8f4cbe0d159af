//! Reads the messages of WebSocket clients.
//!
//! Every message is read by one flat struct: one pass, a job that stays as it was written, and an
//! error that names the field.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::{ClientMessage, Label, Protocol};
use crate::job::caps::{ID_BYTES_MAX, JSON_DEPTH_MAX};
use crate::job::strict::{self, ReadError};
use crate::job::{Code, Failure};

/// Reads a client's message.
///
/// # Errors
/// `invalid`, naming the field: close with 4400.
pub fn decode(protocol: Protocol, bytes: &[u8]) -> Result<ClientMessage, Failure> {
    match protocol {
        Protocol::Json => {
            let reader = serde_json::Deserializer::from_slice(bytes);
            let message: RawMessage<Box<RawValue>> = strict::json(reader).map_err(|error| named(&error))?;
            message.into_message()
        }
        Protocol::Msgpack => {
            let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
            reader.set_max_depth(JSON_DEPTH_MAX);
            let mut message: RawMessage<Value> = strict::read(&mut reader).map_err(|error| named(&error))?;
            let job = message.job.take().map(|job| RawValue::from_string(job.to_string())).transpose();
            let job = job.map_err(|error| Failure::invalid("job", error))?;
            message.with_job(job).into_message()
        }
    }
}

/// Every field of every message: one pass over the bytes, and a job stays as it was written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMessage<J> {
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

impl<J> RawMessage<J> {
    fn with_job<K>(self, job: Option<K>) -> RawMessage<K> {
        let RawMessage { kind, token, client, reference, sub, id, cursor, credit, add, n, .. } = self;
        RawMessage { kind, token, client, reference, job, sub, id, cursor, credit, add, n }
    }
}

impl RawMessage<Box<RawValue>> {
    fn into_message(mut self) -> Result<ClientMessage, Failure> {
        let message = match &*self.kind {
            "hello" => ClientMessage::Hello { token: self.token.take(), client: self.client.take() },
            "run" => ClientMessage::Run {
                reference: label("ref", self.reference.take())?,
                job: required("job", self.job.take())?,
            },
            "subscribe" => ClientMessage::Subscribe {
                sub: label("sub", self.sub.take())?,
                id: required("id", self.id.take())?,
                cursor: self.cursor.take(),
                credit: self.credit.take(),
            },
            "credit" => {
                ClientMessage::Credit { sub: label("sub", self.sub.take())?, add: required("add", self.add.take())? }
            }
            "unsubscribe" => ClientMessage::Unsubscribe { sub: label("sub", self.sub.take())? },
            "cancel" => ClientMessage::Cancel { id: required("id", self.id.take())? },
            "ping" => ClientMessage::Ping { n: required("n", self.n.take())? },
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
        fields.into_iter().find(|(_, message)| *message).map(|(field, _)| field)
    }
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::invalid(field, "is missing"))
}

fn label(field: &str, value: Option<Label>) -> Result<Label, Failure> {
    match required(field, value)? {
        Label::Text(text) if text.is_empty() || text.len() > ID_BYTES_MAX => {
            Err(Failure::invalid(field, format!("must be a number or 1 to {ID_BYTES_MAX} bytes")))
        }
        label => Ok(label),
    }
}

fn named<E: fmt::Display>(error: &ReadError<E>) -> Failure {
    let (path, message) = (error.path(), error.to_string());
    // serde names an unknown or missing field in its message only.
    match (path.as_str(), strict::quoted(&message)) {
        _ if error.is_trailing() => Failure::new(Code::Invalid, format!("after the message: {message}")),
        (".", Some(field)) if message.starts_with("missing field") => Failure::invalid(field, "is missing"),
        ("." | "?", _) => Failure::new(Code::Invalid, format!("not a message: {message}")),
        (path, _) => Failure::invalid(path, message),
    }
}
