//! Records as bytes: stored (MessagePack), and rendered for readers (JSON or MessagePack).
//!
//! A stored record is one tag byte and MessagePack. `d` is a plain text delta as an array (most
//! records are one, and an array is a third of the map); `e` is any event with field names, so that
//! fields can be added. `seq` is not stored: it is the record's place. **Persisted: change by adding
//! tags, never by changing what one means.**

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::job::caps::RECORD_BYTES_MAX;
use crate::job::{
    Accepted, AttemptStarted, Cancelled, Code, Completed, Delta, Event, Failed, Failure, Interrupted, Lost, Output,
    Part, Progress, Queued, Record, Restarted, Timestamp, ToolCall,
};

const TAG_DELTA: u8 = b'd';
const TAG_EVENT: u8 = b'e';

/// Appends the stored form of one event to `out`.
///
/// # Errors
/// `too_large` when the record would not fit a tick; `out` is as before then.
pub fn encode(at: Timestamp, event: &Event, out: &mut Vec<u8>) -> Result<(), Failure> {
    let start = out.len();
    let written = match event {
        Event::Delta(Delta { part, index, text, extra: None }) => {
            out.push(TAG_DELTA);
            rmp_serde::encode::write(out, &(at, *part as u8, index, text))
        }
        _ => {
            out.push(TAG_EVENT);
            rmp_serde::encode::write_named(out, &(at, event))
        }
    };
    let size = out.len() - start;
    if written.is_err() || size > RECORD_BYTES_MAX {
        out.truncate(start);
        let message = format!("a {} record of {size} bytes is over {RECORD_BYTES_MAX}", event.kind());
        return Err(Failure::new(Code::TooLarge, message));
    }
    Ok(())
}

/// A stored record, decoded as far as rendering needs: a delta's text is borrowed.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordRef<'a> {
    /// Place of the record in its stream.
    pub seq: u64,
    /// Time at which the record was appended.
    pub at: Timestamp,
    /// Content of the record.
    pub body: BodyRef<'a>,
}

/// Content of a [`RecordRef`].
#[derive(Clone, PartialEq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one rendering; a box would cost an allocation"
)]
pub enum BodyRef<'a> {
    /// A text delta without extras.
    Delta {
        /// Kind of text that the piece belongs to.
        part: Part,
        /// Number of the answer that the piece belongs to.
        index: u32,
        /// The piece of text itself.
        text: Cow<'a, str>,
    },
    /// Any other event, with everything owned.
    Event(Event),
}

/// Decodes one stored record.
///
/// # Errors
/// `internal` when the bytes are not a record: the log is damaged.
pub fn decode(seq: u64, bytes: &[u8]) -> Result<RecordRef<'_>, Failure> {
    let damaged = || Failure::internal(format!("record {seq} is damaged"));
    match bytes.split_first() {
        Some((&TAG_DELTA, rest)) => {
            let (at, part, index, text): (Timestamp, u8, u32, &str) =
                rmp_serde::from_slice(rest).map_err(|_| damaged())?;
            let part = part_of(part).ok_or_else(damaged)?;
            Ok(RecordRef { seq, at, body: BodyRef::Delta { part, index, text: Cow::Borrowed(text) } })
        }
        Some((&TAG_EVENT, rest)) => {
            let (at, event) = rmp_serde::from_slice(rest).map_err(|_| damaged())?;
            Ok(RecordRef { seq, at, body: BodyRef::Event(event) })
        }
        _ => Err(damaged()),
    }
}

fn part_of(code: u8) -> Option<Part> {
    [Part::Text, Part::Reasoning, Part::Refusal, Part::AudioTranscript].into_iter().find(|part| *part as u8 == code)
}

impl RecordRef<'_> {
    /// Name of the record's kind, as readers see it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.body {
            BodyRef::Delta { .. } => "delta",
            BodyRef::Event(event) => event.kind(),
        }
    }

    /// The record with everything owned.
    #[must_use]
    pub fn into_record(self) -> Record {
        let event = match self.body {
            BodyRef::Delta { part, index, text } => {
                Event::Delta(Delta { part, index, text: text.into_owned(), extra: None })
            }
            BodyRef::Event(event) => event,
        };
        Record { seq: self.seq, at: self.at, event }
    }

    /// Appends the record as one JSON object to `out`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, self).expect("a record has string keys, and a Vec takes every byte");
    }

    /// Appends the record as one MessagePack map to `out`.
    pub fn write_msgpack(&self, out: &mut Vec<u8>) {
        rmp_serde::encode::write_named(out, self).expect("a record is plain data, and a Vec takes every byte");
    }
}

impl From<Record> for RecordRef<'static> {
    fn from(record: Record) -> RecordRef<'static> {
        RecordRef { seq: record.seq, at: record.at, body: BodyRef::Event(record.event) }
    }
}

impl Serialize for RecordRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.at.to_ascii();
        let at = std::str::from_utf8(&at).expect("to_ascii writes ASCII");
        match &self.body {
            BodyRef::Delta { part, index, text } => {
                let mut map = serializer.serialize_map(Some(6))?;
                map.serialize_entry("seq", &self.seq)?;
                map.serialize_entry("at", at)?;
                map.serialize_entry("kind", "delta")?;
                map.serialize_entry("part", part.as_str())?;
                map.serialize_entry("index", index)?;
                map.serialize_entry("text", text)?;
                map.end()
            }
            BodyRef::Event(event) => Tagged { seq: self.seq, at, event: event.into() }.serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct Tagged<'a> {
    seq: u64,
    at: &'a str,
    #[serde(flatten)]
    event: TaggedEvent<'a>,
}

/// [`Event`] with its tag beside its fields, as the wire has it.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum TaggedEvent<'a> {
    Accepted(&'a Accepted),
    Queued(&'a Queued),
    Attempt(&'a AttemptStarted),
    Delta(&'a Delta),
    ToolCall(&'a ToolCall),
    Output(&'a Output),
    Progress(&'a Progress),
    Lost(&'a Lost),
    Restarted(&'a Restarted),
    Completed(&'a Completed),
    Failed(&'a Failed),
    Cancelled(&'a Cancelled),
    Interrupted(&'a Interrupted),
}

impl<'a> From<&'a Event> for TaggedEvent<'a> {
    fn from(event: &'a Event) -> TaggedEvent<'a> {
        match event {
            Event::Accepted(inner) => TaggedEvent::Accepted(inner),
            Event::Queued(inner) => TaggedEvent::Queued(inner),
            Event::Attempt(inner) => TaggedEvent::Attempt(inner),
            Event::Delta(inner) => TaggedEvent::Delta(inner),
            Event::ToolCall(inner) => TaggedEvent::ToolCall(inner),
            Event::Output(inner) => TaggedEvent::Output(inner),
            Event::Progress(inner) => TaggedEvent::Progress(inner),
            Event::Lost(inner) => TaggedEvent::Lost(inner),
            Event::Restarted(inner) => TaggedEvent::Restarted(inner),
            Event::Completed(inner) => TaggedEvent::Completed(inner),
            Event::Failed(inner) => TaggedEvent::Failed(inner),
            Event::Cancelled(inner) => TaggedEvent::Cancelled(inner),
            Event::Interrupted(inner) => TaggedEvent::Interrupted(inner),
        }
    }
}

/// Reads a record as a client receives it. For our own clients and tests; not on any hot path.
impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Record, D::Error> {
        use serde::de::Error;
        let mut fields = serde_json::Map::deserialize(deserializer)?;
        let mut take = |name: &str| fields.remove(name).ok_or_else(|| D::Error::custom(format!("no `{name}`")));
        let seq = take("seq")?.as_u64().ok_or_else(|| D::Error::custom("`seq` is not a number"))?;
        let at =
            take("at")?.as_str().and_then(Timestamp::parse).ok_or_else(|| D::Error::custom("`at` is not a time"))?;
        let Value::String(kind) = take("kind")? else { return Err(D::Error::custom("`kind` is not a string")) };
        let tagged = Value::Object([(kind, Value::Object(fields))].into_iter().collect());
        let event = serde_json::from_value(tagged).map_err(D::Error::custom)?;
        Ok(Record { seq, at, event })
    }
}

impl schemars::JsonSchema for Record {
    fn schema_name() -> Cow<'static, str> {
        "Record".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Event::json_schema(generator);
        let object = schema.ensure_object();
        object.insert("title".into(), "Record".into());
        object.insert("required".into(), serde_json::json!(["seq", "at", "kind"]));
        let common = serde_json::json!({
            "seq": {"type": "integer", "minimum": 0, "description": "Dense from 0."},
            "at": {"type": "string", "format": "date-time", "description": "When it was appended."}
        });
        object.insert("properties".into(), common);
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Blob, OutputBody, State};

    fn examples() -> Vec<Event> {
        let output = |body| Event::Output(Output { index: 1, mime: "image/png".into(), sha256: None, body });
        vec![
            Event::Delta(Delta { part: Part::Reasoning, index: 2, text: "\u{0}\r\n\"ü🦀".into(), extra: None }),
            Event::Delta(Delta {
                text: "x".into(),
                extra: Some(Box::new(serde_json::json!({"a": [1, null]}))),
                ..Delta::default()
            }),
            Event::ToolCall(ToolCall { index: 0, call_id: Some("c".into()), name: None, arguments: "{\"".into() }),
            output(OutputBody::Value(serde_json::json!({"k": "v"}))),
            output(OutputBody::Data(Blob(vec![0, 255, 7].into()))),
            output(OutputBody::Url("/v1/x".into())),
            Event::Lost(Lost { attempt: 1, error: Failure::invalid("input", "no"), emitted: true }),
            Event::Cancelled(Cancelled { by: "client".into(), usage: Default::default(), cost: Default::default() }),
        ]
    }

    #[test]
    fn what_is_stored_is_what_is_read() {
        for event in examples() {
            let mut bytes = vec![9];
            encode(Timestamp(77), &event, &mut bytes).unwrap();
            let record = decode(3, &bytes[1..]).unwrap().into_record();
            assert_eq!(record, Record { seq: 3, at: Timestamp(77), event });
        }
    }

    #[test]
    fn json_and_msgpack_of_a_record_say_the_same() {
        for event in examples() {
            let record = Record { seq: 3, at: Timestamp(1_795_255_200_123), event };
            let (mut json, mut msgpack) = (Vec::new(), Vec::new());
            RecordRef::from(record.clone()).write_json(&mut json);
            RecordRef::from(record.clone()).write_msgpack(&mut msgpack);
            assert_eq!(serde_json::from_slice::<Record>(&json).unwrap(), record);
            if !matches!(&record.event, Event::Output(Output { body: OutputBody::Data(_), .. })) {
                let same: Value = rmp_serde::from_slice(&msgpack).unwrap();
                assert_eq!(same, serde_json::from_slice::<Value>(&json).unwrap());
            }
        }
    }

    #[test]
    fn a_plain_delta_renders_as_any_other_delta() {
        let delta = Delta { part: Part::Text, index: 0, text: "hi".into(), extra: None };
        let mut stored = Vec::new();
        encode(Timestamp(5), &Event::Delta(delta.clone()), &mut stored).unwrap();
        let (mut short, mut long) = (Vec::new(), Vec::new());
        decode(0, &stored).unwrap().write_json(&mut short);
        RecordRef::from(Record { seq: 0, at: Timestamp(5), event: Event::Delta(delta) }).write_json(&mut long);
        assert_eq!(String::from_utf8(short).unwrap(), String::from_utf8(long).unwrap());
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let mut stored = Vec::new();
        encode(Timestamp(5), &examples()[6], &mut stored).unwrap();
        for cut in 0..stored.len() {
            assert!(decode(0, &stored[..cut]).is_err(), "{cut}");
        }
        assert!(decode(0, b"z").is_err());
        assert_eq!(
            Event::Failed(Failed {
                error: Failure::internal("x"),
                usage: Default::default(),
                cost: Default::default(),
                attempts: 0
            })
            .terminal(),
            Some(State::Failed)
        );
    }
}
