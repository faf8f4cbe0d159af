//! Browsers: which pages may read, which may act, and what they are told.

use crate::broker::TestBroker;
use crate::client::{Client, Response};
use crate::{JOB, key};

const PAGE: &str = "https://app.example";
const ELSEWHERE: &str = "https://evil.example";
const NAMED: &str = "[server]\ncors_origins = [\"https://app.example\", \"http://localhost:3000\"]\n";
const OPEN: &str = "[server]\nallow_anonymous = true\n";
const ANY: &str = "[server]\ncors_origins = [\"*\"]\n";

fn cors(response: &Response) -> Vec<(&str, &str)> {
    let about = response.headers.iter().filter(|(name, _)| name.starts_with("access-control-") || *name == "vary");
    about.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn a_preflight_lets_named_pages_send_what_sdks_send() {
    let sdk = "authorization, content-type, idempotency-key, forebay-metadata, last-event-id, x-stainless-lang, \
               anthropic-version, anthropic-dangerous-direct-browser-access";
    for (config, origin, allowed, credentials) in [
        ("", PAGE, "", ""),
        (NAMED, PAGE, PAGE, "true"),
        (NAMED, "http://localhost:3000", "http://localhost:3000", "true"),
        (NAMED, ELSEWHERE, "", ""),
        (NAMED, "null", "", ""),
        (ANY, ELSEWHERE, "*", ""),
    ] {
        // Browsers ask without a key.
        let broker = TestBroker::start(&(config.to_owned() + &key("k", "secret", "")));
        let mut client = Client::connect(broker.addr);
        let headers =
            [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", sdk)];
        let answer = client.ask("OPTIONS", "/g/team/v1/chat/completions", &headers, b"");
        assert_eq!(answer.status, 204);
        let what = format!("{config} {origin}: {:?}", answer.headers);
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{what}");
        assert_eq!(answer.header("access-control-allow-credentials"), credentials, "{what}");
        assert_eq!(answer.header("vary").contains("origin"), !config.is_empty(), "{what}");
        let (methods, headers) = if allowed.is_empty() { ("", "") } else { ("POST, OPTIONS", sdk) };
        assert_eq!(answer.header("access-control-allow-methods"), methods, "{what}");
        assert_eq!(answer.header("access-control-allow-headers"), headers, "{what}");
    }
}

#[test]
fn header_names_that_are_none_are_not_said_back() {
    let broker = TestBroker::start(ANY);
    let mut client = Client::connect(broker.addr);
    for names in ["a b", "x: y", "a,\u{e4}", &"a".repeat(5000)] {
        let headers =
            [("origin", PAGE), ("access-control-request-method", "POST"), ("access-control-request-headers", names)];
        let answer = client.ask("OPTIONS", "/v1/run", &headers, b"");
        assert_eq!((answer.status, answer.header("access-control-allow-headers")), (204, ""), "{names}");
    }
}

#[test]
fn a_page_reads_answers_and_errors_and_our_headers_where_it_may() {
    let broker = TestBroker::start(&(NAMED.to_owned() + &key("k", "secret", "")));
    let mut client = Client::connect(broker.addr);
    for (headers, status) in [(vec![("authorization", "Bearer secret")], 200), (vec![], 401)] {
        let mut headers = headers;
        headers.push(("origin", PAGE));
        let answer = client.ask("POST", "/v1/run", &headers, JOB.as_bytes());
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), PAGE);
        let exposed = answer.header("access-control-expose-headers");
        let ours = ["x-request-id", "forebay-job-id", "forebay-cost-usd", "stream-next-offset", "retry-after"];
        // A page that plays a video reads it in ranges.
        for name in ours.into_iter().chain(["accept-ranges", "content-range", "etag"]) {
            assert!(exposed.split(", ").any(|known| known == name), "{name} in {exposed}");
        }
    }
    let answer = client.ask("GET", "/v1/nothing", &[("origin", PAGE)], b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (404, PAGE));
    let answer = client.get("/healthz");
    assert_eq!(cors(&answer), [("vary", "origin")], "a cache must not give this to a page");
    drop(broker);
    let broker = TestBroker::start("");
    let answer = Client::connect(broker.addr).ask("GET", "/healthz", &[("origin", PAGE)], b"");
    assert_eq!(cors(&answer), []);
}

#[test]
fn a_page_of_another_origin_acts_only_where_it_is_let_in() {
    let handshake = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];
    for (config, origin, lets_in) in [
        ("", PAGE, false),
        ("", "null", false),
        // The owner of the name is not known: an attacker may have pointed it here.
        ("", "http://forebay", false),
        (OPEN, "http://forebay", true),
        (OPEN, "http://FOREBAY", true),
        (OPEN, "http://forebay:8087", false),
        ("", "http://forebay.evil.example", false),
        (NAMED, PAGE, true),
        (NAMED, ELSEWHERE, false),
        (ANY, ELSEWHERE, true),
    ] {
        let broker = TestBroker::start(config);
        // The client says `host: forebay`.
        let from_page = ("origin", origin);
        let mut client = Client::connect(broker.addr);
        for (method, path, body, fine) in [
            ("POST", "/v1/run", JOB, 200),
            ("POST", "/v1/chat/completions", r#"{"model":"echo","messages":[]}"#, 200),
            ("DELETE", "/v1/jobs/nobody", "", 404),
            ("GET", "/v1/jobs", "", 200),
        ] {
            let answer = client.ask(method, path, &[from_page], body.as_bytes());
            let acts = method != "GET";
            let wanted = if acts && !lets_in { 403 } else { fine };
            assert_eq!(answer.status, wanted, "{config} {origin} {method} {path}: {}", answer.text());
        }
        for path in ["/v1/ws", "/v1/jobs/nobody/ws"] {
            let mut client = Client::connect(broker.addr);
            client.send(crate::request("GET", path, &[&handshake[..], &[from_page]].concat(), b""));
            let wanted = if lets_in { 101 } else { 403 };
            assert_eq!(client.head().unwrap().0, wanted, "{config} {origin} {path}");
        }
    }
}
