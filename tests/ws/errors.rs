//! Every error and every close code.

use forebay::wire::frame::{Close, Protocol, ServerMessage};
use forebay::ws::SocketOutcome;
use serde_json::{Value, json};

use crate::support::{Raw, TestBroker};

/// SHA-256 of `alpha`, `beta` and `gamma`.
const KEYS: &str = r#"
[[keys]]
name = "both"
sha256 = "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
[[keys]]
name = "reader"
sha256 = "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"
scopes = ["read"]
[[keys]]
name = "nothing"
sha256 = "be9d587defa1f0c09ef49eb17e206983a5f8f8289e4281860bd0ee5a19592c67"
scopes = []
"#;

#[tokio::test]
async fn a_subscribe_that_cannot_be_done_says_why_and_the_socket_stays_open() {
    let broker = TestBroker::start(&format!("[server]\n{KEYS}")).await;
    broker.finished("j", 3, "x").await;
    broker.open_in("theirs", "other").await;
    let mut raw = Raw::connect(&broker, "/v1/ws", Protocol::Json, "Authorization: Bearer alpha\r\n").await;
    assert!(matches!(raw.message().await, ServerMessage::Welcome { .. }));
    raw.subscribe("held", "j", "now", 0).await;
    raw.subscribe("open", "j", "-1", 0).await;
    let ServerMessage::Subscribed { tail, .. } = raw.message().await else { panic!() };
    for _ in 0..3 {
        raw.message().await;
    }
    let (epoch, _) = tail.split_once('_').unwrap();
    let (long, ahead) = ("1".repeat(10_000), format!("{epoch}_0000000999"));
    let overflow = format!("{epoch}_18446744073709551616");
    for (sub, id, cursor, code) in [
        ("s", "j", "", "bad_cursor"),
        ("s", "j", "-2", "bad_cursor"),
        ("s", "j", "nonsense", "bad_cursor"),
        ("s", "j", long.as_str(), "bad_cursor"),
        ("s", "j", overflow.as_str(), "bad_cursor"),
        ("s", "j", ahead.as_str(), "cursor_ahead"),
        ("s", "j", "0badcafe_0", "epoch_mismatch"),
        ("s", "unknown", "-1", "not_found"),
        ("s", "not an id", "-1", "not_found"),
        ("s", "theirs", "-1", "not_found"),
        ("s", "theirs", ahead.as_str(), "not_found"),
        ("open", "j", "-1", "duplicate_sub"),
    ] {
        raw.subscribe(sub, id, cursor, 1000).await;
        let ServerMessage::Error { sub: Some(named), error, .. } = raw.message().await else { panic!("{cursor:.40}") };
        assert_eq!((named, error.code.as_str()), (sub.into(), code), "{id} {cursor:.40}");
    }
    for (job, param) in [
        (json!({"model": "m"}), Some("input")),
        (json!({"model": "m", "input": "x", "bogus": 1}), Some("bogus")),
        (json!(7), None),
    ] {
        raw.say(json!({"type": "run", "ref": 7, "job": job})).await;
        let ServerMessage::Error { reference: Some(_), error, .. } = raw.message().await else { panic!("{job}") };
        assert_eq!((error.code.as_str(), error.param.as_deref()), ("invalid", param), "{job}");
    }
    raw.say(json!({"type": "run", "ref": 7, "job": {"model": "m", "input": "x", "gateway": "other"}})).await;
    assert!(matches!(raw.message().await, ServerMessage::Error { error, .. } if error.code.as_str() == "forbidden"));
    for id in ["unknown", "theirs"] {
        raw.say(json!({"type": "cancel", "id": id})).await;
        assert!(
            matches!(raw.message().await, ServerMessage::Error { error, .. } if error.code.as_str() == "not_found")
        );
    }
    raw.say(json!({"type": "ping", "n": 5})).await;
    assert_eq!(raw.message().await, ServerMessage::Pong { n: 5.into() });
}

#[tokio::test]
async fn a_key_that_may_only_read_may_not_run() {
    let broker = TestBroker::start(&format!("[server]\n{KEYS}")).await;
    broker.finished("j", 1, "x").await;
    let mut raw = Raw::connect(&broker, "/v1/ws", Protocol::Json, "").await;
    raw.say(json!({"type": "hello", "token": "beta", "client": "test"})).await;
    assert!(matches!(raw.message().await, ServerMessage::Welcome { .. }));
    raw.say(json!({"type": "run", "ref": "r", "job": {"model": "m", "input": "x"}})).await;
    assert!(matches!(raw.message().await, ServerMessage::Error { error, .. } if error.code.as_str() == "forbidden"));
    raw.say(json!({"type": "cancel", "id": "j"})).await;
    assert!(matches!(raw.message().await, ServerMessage::Error { error, .. } if error.code.as_str() == "forbidden"));
    raw.subscribe("s", "j", "-1", 1000).await;
    assert!(matches!(raw.message().await, ServerMessage::Subscribed { .. }));
}

enum Bad {
    Frame(u8, Vec<u8>),
    Bytes(Vec<u8>),
}

fn text(text: &str) -> Bad {
    Bad::Frame(0x81, text.as_bytes().to_vec())
}

#[tokio::test]
async fn each_way_to_break_the_conversation_has_its_code() {
    let broker = TestBroker::start("[server]\nbody_bytes_max = 1000").await;
    let deep = format!(r#"{{"type":"ping","n":{}}}"#, "[".repeat(10_000));
    let unmasked = vec![0x81, 2, b'{', b'}'];
    for (what, bad, code) in [
        ("garbage", text("garbage"), 4400),
        ("an empty message", text(""), 4400),
        ("an unknown type", text(r#"{"type":"shout"}"#), 4400),
        ("an unknown field", text(r#"{"type":"ping","n":1,"x":1}"#), 4400),
        ("a missing field", text(r#"{"type":"subscribe","sub":"s"}"#), 4400),
        ("a wrong type", text(r#"{"type":"credit","sub":"s","add":"1"}"#), 4400),
        ("deep nesting", text(&deep), 4400),
        ("a deep job", text(&format!(r#"{{"type":"run","ref":1,"job":{}}}"#, "[".repeat(60_000))), 4400),
        ("binary where text was agreed", Bad::Frame(0x82, b"{}".to_vec()), 4406),
        ("invalid UTF-8", Bad::Frame(0x81, b"{\"type\":\"\xff\"}".to_vec()), 1007),
        ("too large", Bad::Frame(0x81, vec![b' '; 70_000]), 1009),
        ("announced as too large", Bad::Bytes(vec![0x81, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), 1009),
        ("unmasked", Bad::Bytes(unmasked), 1002),
        ("reserved bits", Bad::Frame(0xf1, b"{}".to_vec()), 1002),
        ("an unknown opcode", Bad::Frame(0x83, b"{}".to_vec()), 1002),
        ("a continuation of nothing", Bad::Frame(0x80, b"{}".to_vec()), 1002),
        ("a fragmented ping", Bad::Frame(0x09, b"".to_vec()), 1002),
        ("a ping of 126 bytes", Bad::Frame(0x89, vec![0; 126]), 1002),
    ] {
        let mut raw = Raw::plain(&broker).await;
        match bad {
            Bad::Frame(first, payload) => raw.frame(first, &payload).await,
            Bad::Bytes(bytes) => {
                use tokio::io::AsyncWriteExt;
                raw.socket.write_all(&bytes).await.unwrap();
            }
        }
        assert_eq!(raw.close_code().await, Some(code), "{what}");
    }
    let mut raw = Raw::connect(&broker, "/v1/ws", Protocol::Msgpack, "").await;
    raw.frame(0x81, b"{}").await;
    assert_eq!(raw.close_code().await, Some(4406));
    let mut raw = Raw::connect(&broker, "/v1/ws", Protocol::Msgpack, "").await;
    raw.frame(0x82, b"garbage").await;
    assert_eq!(raw.close_code().await, Some(4400));
}

#[tokio::test]
async fn a_bad_message_is_explained_before_the_close() {
    let broker = TestBroker::start("").await;
    let mut raw = Raw::plain(&broker).await;
    raw.frame(0x81, br#"{"type":"subscribe","sub":"s","id":"j","bogus":1}"#).await;
    let ServerMessage::Error { error, .. } = raw.message().await else { panic!() };
    assert_eq!(error.param.as_deref(), Some("bogus"));
    assert_eq!(raw.close_code().await, Some(4400));
    assert_eq!(broker.endings(1).await[0].close, Some(Close::BadMessage));
}

#[tokio::test]
async fn a_fragmented_message_with_a_ping_inside_is_a_message() {
    let broker = TestBroker::start("").await;
    let mut raw = Raw::plain(&broker).await;
    raw.frame(0x01, br#"{"type":"#).await;
    raw.frame(0x00, br#""ping","#).await;
    raw.frame(0x8a, b"").await;
    raw.frame(0x80, br#""n":3}"#).await;
    assert_eq!(raw.message().await, ServerMessage::Pong { n: 3.into() });
    raw.frame(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(raw.close_code().await, Some(1000), "a close is answered");
    assert_eq!(broker.endings(1).await, [SocketOutcome { close: None, held_bytes_max: 0 }]);
}

#[tokio::test]
async fn those_who_may_not_come_in_are_told_by_code() {
    let broker = TestBroker::start(&format!("[server]\nhello_ms = 60\n{KEYS}")).await;
    let messages: [(Value, u16); 4] = [
        (json!({"type": "hello", "token": "wrong"}), 4401),
        (json!({"type": "hello"}), 4401),
        (json!({"type": "ping", "n": 1}), 4401),
        (json!({"type": "subscribe", "sub": "s", "id": "j"}), 4401),
    ];
    for (message, code) in messages {
        let mut raw = Raw::connect(&broker, "/v1/ws", Protocol::Json, "").await;
        raw.say(message.clone()).await;
        assert_eq!(raw.close_code().await, Some(code), "{message}");
    }
    let mut powerless = Raw::connect(&broker, "/v1/ws", Protocol::Json, "").await;
    powerless.say(json!({"type": "hello", "token": "gamma"})).await;
    assert_eq!(powerless.close_code().await, Some(4403));
    let mut silent = Raw::connect(&broker, "/v1/ws", Protocol::Json, "").await;
    assert_eq!(silent.close_code().await, Some(4408));
    let mut renewed = Raw::connect(&broker, "/v1/ws", Protocol::Json, "Authorization: Bearer alpha\r\n").await;
    assert!(matches!(renewed.message().await, ServerMessage::Welcome { .. }));
    renewed.say(json!({"type": "hello", "token": "wrong"})).await;
    assert_eq!(renewed.close_code().await, Some(4401));
}

#[tokio::test]
async fn too_much_of_everything_is_abuse() {
    let broker = TestBroker::start("").await;
    broker.open("j").await;
    let mut greedy = Raw::plain(&broker).await;
    for n in 0..=256 {
        greedy.subscribe(&n.to_string(), "j", "now", 0).await;
    }
    assert_eq!(greedy.close_code().await, Some(4429));
    let mut flood = Raw::plain(&broker).await;
    for _ in 0..40 {
        let mut pongs = Vec::new();
        for _ in 0..1000 {
            pongs.extend_from_slice(&[0x8a, 0x80, 0, 0, 0, 0]);
        }
        use tokio::io::AsyncWriteExt;
        if flood.socket.write_all(&pongs).await.is_err() {
            break;
        }
    }
    assert_eq!(flood.close_code().await, Some(4429));
}
