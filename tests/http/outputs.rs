//! An output on its own: whole, in ranges, and its head.

use bytes::Bytes;
use forebay::job::{Blob, Event, Output, OutputBody};
use forebay::log::Outputs;

use crate::broker::{TestBroker, completed};
use crate::client::{Client, Response};

fn content(len: usize) -> Bytes {
    (0..len).map(|at| (at / 251 + at % 251) as u8).collect::<Vec<u8>>().into()
}

/// A broker with a job whose output 0 is a file, 1 is in its record, and 2 is JSON.
fn broker(file: &Bytes) -> (TestBroker, String) {
    let broker = TestBroker::start("");
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    let stored = broker.wait(broker.log.put_output_bytes(writer.stream(), file.clone())).unwrap();
    let output = |index: u32, sha256: Option<Box<str>>, body| {
        Event::Output(Output { index, mime: "video/mp4".into(), sha256, body })
    };
    let url = OutputBody::Url("/v1/jobs/j/outputs/0".into());
    let events = vec![
        output(0, Some(stored.sha256.clone().into()), url),
        output(1, None, OutputBody::Data(Blob(content(100)))),
        output(2, None, OutputBody::Value(serde_json::json!({"a": [1, 2]}))),
        completed(),
    ];
    broker.append(writer.stream(), events);
    (broker, stored.sha256)
}

#[test]
fn an_output_is_whole_or_the_range_that_was_wanted() {
    let file = content(1_000_000);
    let (broker, sha256) = broker(&file);
    let mut client = Client::connect(broker.addr);
    let etag = format!("\"{sha256}\"");
    let mut ask = |path: &str, headers: &[(&str, &str)]| client.ask("GET", path, headers, b"");
    let path = "/v1/jobs/j/outputs/0";
    let check = |response: &Response, status: u16, bytes: &[u8], place: &str| {
        assert_eq!(response.status, status, "{}", response.header("content-range"));
        assert!(response.whole && response.body == bytes, "{} bytes", response.body.len());
        assert_eq!(response.header("content-length"), bytes.len().to_string());
        assert_eq!(response.header("content-range"), place);
        assert_eq!(response.header("accept-ranges"), "bytes");
    };
    let whole = ask(path, &[]);
    check(&whole, 200, &file, "");
    assert_eq!(whole.header("content-type"), "video/mp4");
    assert_eq!(whole.header("etag"), etag);
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    check(&ask(path, &[("range", "bytes=0-99")]), 206, &file[..100], "bytes 0-99/1000000");
    let middle = ask(path, &[("range", "bytes=262100-600000")]);
    check(&middle, 206, &file[262_100..=600_000], "bytes 262100-600000/1000000");
    check(&ask(path, &[("range", "bytes=-5")]), 206, &file[999_995..], "bytes 999995-999999/1000000");
    check(&ask(path, &[("range", "bytes=999990-")]), 206, &file[999_990..], "bytes 999990-999999/1000000");
    check(&ask(path, &[("range", "bytes=0-1,5-6")]), 200, &file, "");
    check(&ask(path, &[("range", "bytes=0-99"), ("if-range", &etag)]), 206, &file[..100], "bytes 0-99/1000000");
    check(&ask(path, &[("range", "bytes=0-99"), ("if-range", "\"another\"")]), 200, &file, "");
    let beyond = ask(path, &[("range", "bytes=1000000-")]);
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), "bytes */1000000");
    assert_eq!(beyond.error().2, "range");
    // What stands in a record is served the same way.
    check(&ask("/v1/jobs/j/outputs/1", &[("range", "bytes=10-19")]), 206, &content(100)[10..20], "bytes 10-19/100");
    check(&ask("/v1/jobs/j/outputs/1", &[]), 200, &content(100), "");
    let json = ask("/v1/jobs/j/outputs/2", &[]);
    check(&json, 200, br#"{"a":[1,2]}"#, "");
    assert_eq!(json.header("content-type"), "application/json");
}

#[test]
fn the_head_of_an_output_tells_its_length_and_sends_nothing() {
    let file = content(1_000_000);
    let (broker, _) = broker(&file);
    let mut client = Client::connect(broker.addr);
    for headers in [&[][..], &[("range", "bytes=0-9")]] {
        let head = client.ask("HEAD", "/v1/jobs/j/outputs/0", headers, b"");
        assert_eq!((head.status, head.header("content-length")), (200, "1000000"));
        assert_eq!(head.header("accept-ranges"), "bytes");
    }
    // The connection goes on: nothing was sent after the head.
    assert_eq!(client.get("/v1/jobs/j/outputs/1").body, content(100));
}
