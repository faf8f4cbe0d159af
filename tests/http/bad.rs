//! Bad input of every kind: the error names what is wrong, and the connection goes on.

use crate::JOB;
use crate::broker::{TestBroker, completed, text};
use crate::client::{Client, request};

/// What it is, the request, and the status, code and param of the answer.
type Case = (&'static str, Vec<u8>, u16, &'static str, &'static str);

fn submissions() -> Vec<Case> {
    let deep = format!(r#"{{"model":"echo","input":{{"messages":{}}}}}"#, "[".repeat(500) + &"]".repeat(500));
    let post = |body: &str| request("POST", "/v1/run", &[], body.as_bytes());
    let posted = |headers: &[(&str, &str)]| request("POST", "/v1/run", headers, JOB.as_bytes());
    vec![
        ("no json", post("{"), 400, "invalid", ""),
        ("empty", post(""), 400, "invalid", ""),
        ("not utf-8", request("POST", "/v1/run", &[], b"\xff\xfe"), 400, "invalid", ""),
        ("wrong type", post(r#"{"model":7,"input":"x"}"#), 400, "invalid", "model"),
        ("unknown field", post(r#"{"model":"echo","input":"x","nope":1}"#), 400, "invalid", "nope"),
        ("deep", post(&deep), 400, "invalid", "input"),
        ("bad id", post(r#"{"model":"echo","input":"x","id":"a b"}"#), 400, "invalid", "id"),
        ("unknown model", post(r#"{"model":"nobody/x","input":"x"}"#), 404, "unknown_model", "model"),
        ("content type", posted(&[("content-type", "text/plain")]), 400, "invalid", "content-type"),
        ("msgpack garbage", posted(&[("content-type", "application/msgpack")]), 400, "invalid", ""),
        ("bad metadata", posted(&[("forebay-metadata", "[]")]), 400, "invalid", "forebay-metadata"),
        ("bad options", posted(&[("forebay-options", r#"{"nope":1}"#)]), 400, "invalid", "forebay-options"),
        ("twice", posted(&[("forebay-options", "{}"), ("forebay-options", "{}")]), 400, "invalid", "forebay-options"),
        ("cache", posted(&[("cf-aig-cache-ttl", "soon")]), 400, "invalid", "cf-aig-cache-ttl"),
        ("zdr", posted(&[("cf-aig-zdr", "true")]), 400, "unsupported", "cf-aig-zdr"),
        ("bad gateway", posted(&[("forebay-gateway", "a/b")]), 400, "invalid", "gateway"),
        ("two gateways", request("GET", "/g/a/v1/jobs", &[("forebay-gateway", "b")], b""), 400, "invalid", "gateway"),
        ("parameter", request("POST", "/v1/run?x=1", &[], JOB.as_bytes()), 400, "invalid", "x"),
        ("bad model in path", request("POST", "/v1/run/a%20b", &[], b"\"x\""), 400, "invalid", "model"),
    ]
}

fn readings() -> Vec<Case> {
    let long = format!("/v1/jobs/j/events?cursor={}", "1".repeat(10_000));
    let get = |path: &str| request("GET", path, &[], b"");
    vec![
        ("no route", get("/v1/nothing"), 404, "not_found", ""),
        ("a path that does not exist", request("POST", "/v1/chat/nope", &[], b"{}"), 404, "not_found", ""),
        ("no job", get("/v1/jobs/nobody"), 404, "not_found", ""),
        ("no id", get("/v1/jobs/a%2Fb"), 400, "invalid", "id"),
        ("wrong method", get("/v1/run"), 405, "invalid", "method"),
        ("not a handshake", get("/v1/ws"), 426, "invalid", "upgrade"),
        ("no output", get("/v1/jobs/j/outputs/0"), 404, "not_found", ""),
        ("bad output", get("/v1/jobs/j/outputs/x"), 400, "invalid", "index"),
        ("bad state", get("/v1/jobs?state=done"), 400, "invalid", "state"),
        ("bad limit", get("/v1/jobs?limit=0"), 400, "invalid", "limit"),
        ("big limit", get("/v1/jobs?limit=1001"), 400, "invalid", "limit"),
        ("bad after", get("/v1/jobs?after=zz"), 400, "invalid", "after"),
        ("bad filter", get("/v1/jobs?team=a"), 400, "invalid", "team"),
        ("bad costs", get("/v1/costs?bucket=fortnight"), 400, "invalid", "bucket"),
        ("cursor", get("/v1/jobs/j/events?cursor=x"), 409, "bad_cursor", "cursor"),
        ("empty cursor", get("/v1/jobs/j/events?cursor="), 409, "bad_cursor", "cursor"),
        ("two cursors", get("/v1/jobs/j/events?cursor=-1&cursor=-1"), 409, "bad_cursor", "cursor"),
        ("encoded cursor", get("/v1/jobs/j/events?cursor=%ff%00"), 409, "bad_cursor", "cursor"),
        ("long cursor", get(&long), 409, "bad_cursor", "cursor"),
        ("huge cursor", get("/v1/jobs/j/events?cursor=00000001_18446744073709551616"), 409, "bad_cursor", "cursor"),
        ("other life", get("/v1/jobs/j/events?cursor=000000ff_1"), 409, "epoch_mismatch", ""),
        ("ahead", get("/v1/jobs/j/events?from=4"), 409, "cursor_ahead", ""),
        ("bad count", get("/v1/jobs/j/events?from=-1"), 409, "bad_cursor", "from"),
        (
            "bad last id",
            request("GET", "/v1/jobs/j/events", &[("last-event-id", "x")], b""),
            409,
            "bad_cursor",
            "last-event-id",
        ),
    ]
}

#[test]
fn bad_input_is_named_and_leaves_the_connection_usable() {
    let broker = TestBroker::start("");
    let stream = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    broker.append(stream.stream(), vec![text("a"), completed()]);
    let mut client = Client::connect(broker.addr);
    for (what, bytes, status, code, param) in submissions().into_iter().chain(readings()) {
        client.send(bytes);
        let response = client.response(false).unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(response.error(), (status, code.to_owned(), param.to_owned()), "{what}: {}", response.text());
        assert_eq!(response.header("content-type"), "application/json");
        assert!(!response.header("x-request-id").is_empty(), "{what}");
        assert_eq!(client.get("/healthz").status, 200, "{what}: the connection is of no more use");
    }
}
