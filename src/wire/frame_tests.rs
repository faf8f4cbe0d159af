use serde_json::Value;

use super::*;
use crate::job::{Code, Delta, Event, Timestamp};
use crate::wire::{Cursor, record};

fn deltas(count: u64, text: &str) -> Vec<(Vec<u8>, Record)> {
    (0..count)
        .map(|seq| {
            let event = Event::Delta(Delta { text: format!("{text}{seq}"), ..Delta::default() });
            let mut stored = Vec::new();
            record::encode(Timestamp(seq), &event, &mut stored).unwrap();
            (stored, Record { seq, at: Timestamp(seq), event })
        })
        .collect()
}

#[test]
fn every_message_of_a_client_is_read_as_it_was_meant_in_both_protocols() {
    for json in [
        r#"{"type":"hello"}"#,
        r#"{"type":"hello","token":"k","client":"c"}"#,
        r#"{"type":"run","ref":"r","job":{"model":"m","input":"x"}}"#,
        r#"{"type":"run","ref":7,"job":{"model":"m","input":{"a":[1.5,null]}}}"#,
        r#"{"type":"subscribe","sub":"s","id":"j"}"#,
        r#"{"type":"subscribe","sub":1,"id":"j","cursor":"-1","credit":0}"#,
        r#"{"type":"credit","sub":"s","add":1}"#,
        r#"{"type":"unsubscribe","sub":"s"}"#,
        r#"{"type":"cancel","id":"j"}"#,
        r#"{"type":"ping","n":1.5}"#,
    ] {
        let value: Value = serde_json::from_str(json).unwrap();
        let read = decode(Protocol::Json, json.as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), value, "{json}");
        let packed = encode_client(Protocol::Msgpack, &read);
        assert_eq!(serde_json::to_value(decode(Protocol::Msgpack, &packed).unwrap()).unwrap(), value, "{json}");
    }
    let cursor = decode(Protocol::Json, br#"{"type":"subscribe","sub":1,"id":"j","cursor":-1}"#).unwrap();
    assert!(matches!(cursor, ClientMessage::Subscribe { cursor: Some(text), .. } if &*text == "-1"));
}

#[test]
fn a_bad_message_names_its_field() {
    let long = format!(r#"{{"type":"credit","sub":"{}","add":1}}"#, "x".repeat(65));
    let deep = format!(r#"{{"type":"ping","n":{}}}"#, "[".repeat(100_000));
    for (json, param) in [
        ("", None),
        ("{", None),
        ("[]", None),
        ("7", None),
        ("garbage", None),
        (r#"{"type":"ping","n":1} x"#, None),
        ("{}", Some("type")),
        (r#"{"type":"shout"}"#, Some("type")),
        (r#"{"type":7}"#, Some("type")),
        (r#"{"type":"ping"}"#, Some("n")),
        (r#"{"type":"ping","n":"1"}"#, Some("n")),
        (r#"{"type":"ping","n":1,"sub":"s"}"#, Some("sub")),
        (r#"{"type":"ping","n":1,"bogus":1}"#, Some("bogus")),
        (r#"{"type":"run","ref":"r"}"#, Some("job")),
        (r#"{"type":"run","job":{}}"#, Some("ref")),
        (r#"{"type":"subscribe","sub":"s","id":7}"#, Some("id")),
        (r#"{"type":"subscribe","sub":"","id":"x"}"#, Some("sub")),
        (r#"{"type":"subscribe","sub":-1,"id":"x"}"#, Some("sub")),
        (r#"{"type":"subscribe","sub":"s","id":"x","cursor":[]}"#, Some("cursor")),
        (r#"{"type":"subscribe","sub":"s","id":"x","credit":-1}"#, Some("credit")),
        (r#"{"type":"credit","sub":"s","add":1.5}"#, Some("add")),
        (long.as_str(), Some("sub")),
        (deep.as_str(), Some("n")),
    ] {
        let failure = decode(Protocol::Json, json.as_bytes()).expect_err(json);
        assert_eq!((failure.code, failure.param.as_deref()), (Code::Invalid, param), "{json:.80}: {failure}");
    }
    assert!(decode(Protocol::Json, b"{\"type\":\"ping\xff\"}").is_err());
    for bytes in [&b"garbage"[..], &[0x91; 100_000], &[], &[0xc1]] {
        assert!(decode(Protocol::Msgpack, bytes).is_err());
    }
}

#[test]
fn an_events_message_says_what_the_records_say() {
    let records = deltas(5, "ü\"");
    let cursor = Cursor::At { epoch: crate::job::Epoch(1), seq: 5 };
    for protocol in Protocol::ALL {
        let mut out = vec![9, 9];
        let mut frame = EventsFrame::begin(protocol, &Label::from("s\""), &mut out, 64 * 1024);
        for (stored, record) in &records {
            assert!(frame.push(record.seq, stored).unwrap());
        }
        frame.finish(cursor);
        let items: Vec<Record> = records.iter().map(|(_, record)| record.clone()).collect();
        let expected = ServerMessage::Events { sub: "s\"".into(), cursor: cursor.to_string().into(), items };
        assert_eq!(decode_server(protocol, &out[2..]).unwrap(), expected);
    }
}

#[test]
fn a_frame_is_bounded_but_always_takes_one_record() {
    let records = deltas(100, &"x".repeat(1000));
    for (protocol, bytes_max, fits) in [
        (Protocol::Json, 8 * 1024, 6..8),
        (Protocol::Msgpack, 8 * 1024, 6..8),
        (Protocol::Json, 0, 1..2),
        (Protocol::Json, 1, 1..2),
    ] {
        let mut out = Vec::new();
        let mut frame = EventsFrame::begin(protocol, &Label::Number(1), &mut out, bytes_max);
        let taken = records.iter().take_while(|(stored, record)| frame.push(record.seq, stored).unwrap()).count();
        frame.finish(Cursor::Start);
        assert!(fits.contains(&taken), "{taken}");
        assert!(out.len() <= bytes_max.max(2000), "{}", out.len());
        decode_server(protocol, &out).unwrap();
    }
}

#[test]
fn what_the_broker_says_is_read_back_in_both_protocols() {
    let messages = [
        ServerMessage::Welcome { conn: "c".into(), heartbeat_ms: 15_000, frame_bytes_max: 65_536 },
        ServerMessage::Error { sub: Some(Label::Number(1)), reference: None, error: Failure::invalid("id", "no") },
        ServerMessage::End { sub: "s".into(), cursor: "-1".into(), state: State::Completed },
        ServerMessage::Heartbeat { tails: vec![SubTail { sub: "s".into(), tail: "now".into() }] },
        ServerMessage::Goaway { retry_after_ms: 5 },
        ServerMessage::Pong { n: 7.into() },
    ];
    for protocol in Protocol::ALL {
        for message in &messages {
            let mut out = Vec::new();
            encode(protocol, message, &mut out);
            assert_eq!(&decode_server(protocol, &out).unwrap(), message);
        }
    }
}

#[test]
fn the_codes_are_those_of_the_documentation() {
    let codes: Vec<u16> = Close::ALL.iter().map(|close| close.code()).collect();
    let expected = [1000, 1001, 1002, 1007, 1009, 1011, 1012, 1013, 4100, 4101, 4400, 4401, 4403, 4406, 4408, 4429];
    assert_eq!(codes, expected);
    assert!(Close::ALL.iter().all(|close| close.reason().len() <= 123));
    assert!(Close::may_retry(1012) && Close::may_retry(4100) && !Close::may_retry(4401) && !Close::may_retry(1009));
}
