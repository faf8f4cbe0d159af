//! The HTTP entrance over real sockets: bad requests, their answers, and the effects of a client that
//! leaves, stalls or resumes finds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "http/access.rs"]
mod access;
#[path = "http/bad.rs"]
mod bad;
#[path = "http/broker.rs"]
mod broker;
#[path = "http/catalog.rs"]
mod catalog;
#[path = "http/chat.rs"]
mod chat;
#[path = "http/client.rs"]
mod client;
#[path = "http/cloudflare.rs"]
mod cloudflare;
#[path = "http/cors.rs"]
mod cors;
#[path = "http/files.rs"]
mod files;
#[path = "http/health.rs"]
mod health;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/jobs.rs"]
mod jobs;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/messages.rs"]
mod messages;
#[path = "http/once.rs"]
mod once;
#[path = "http/openai.rs"]
mod openai;
#[path = "http/outputs.rs"]
mod outputs;
#[path = "http/responses.rs"]
mod responses;
#[path = "http/route.rs"]
mod route;
#[path = "http/silence.rs"]
mod silence;
#[path = "http/stream.rs"]
mod stream;
#[path = "http/tls.rs"]
mod tls;
#[path = "http/webhook.rs"]
mod webhook;

use std::time::Duration;

use broker::{TestBroker, completed, text};
use client::{Client, request};
use forebay::job::State;
use sha2::{Digest, Sha256};

const JOB: &str = r#"{"model":"echo","input":"Hello big world"}"#;

fn key(name: &str, secret: &str, rest: &str) -> String {
    let sha256: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[keys]]\nname = {name:?}\nsha256 = {sha256:?}\n{rest}\n")
}

/// The events of a session: their `id` and `data`, and only those that are whole.
fn events(session: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(session);
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    let events = whole.split("\n\n").filter(|event| event.contains("data: "));
    events.map(|event| (field(event, "id: "), field(event, "data: "))).collect()
}

#[test]
fn a_job_is_answered_collected_streamed_or_at_once() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let collected = client.post("/v1/run", JOB);
    assert_eq!(collected.status, 200, "{}", collected.text());
    let answer = collected.json();
    assert_eq!(answer["state"], "completed");
    assert_eq!(answer["result"]["text"].as_str().map(str::trim), Some("Hello big world"));
    assert_eq!(answer["attempts"], 1);
    assert_eq!(collected.header("forebay-job-id"), answer["id"]);
    assert_eq!(collected.header("forebay-cache"), "miss");
    assert_eq!(collected.header("forebay-provider"), "scripted");
    assert_eq!(collected.header("forebay-model"), "echo");
    assert_eq!(collected.header("forebay-attempts"), "1");
    assert!(collected.header("forebay-overhead-us").parse::<u64>().is_ok());
    assert!(!collected.header("x-request-id").is_empty());

    let as_input = client.post("/v1/run/echo", r#"{"prompt":"Hello big world"}"#);
    assert_eq!(as_input.json()["result"], answer["result"]);

    for (headers, body) in [
        (&[("accept", "text/html, text/event-stream;q=0.9")][..], JOB.to_owned()),
        (&[], JOB.replace('{', r#"{"stream":true,"#)),
    ] {
        let streamed = client.ask("POST", "/v1/run", headers, body.as_bytes());
        assert_eq!(streamed.header("content-type"), "text/event-stream");
        assert!(streamed.whole);
        let events = events(&streamed.body);
        let kinds: Vec<String> = events
            .iter()
            .map(|(_, data)| serde_json::from_str::<serde_json::Value>(data).unwrap()["kind"].to_string())
            .collect();
        assert_eq!(kinds.first().map(String::as_str), Some("\"accepted\""));
        assert_eq!(kinds.last().map(String::as_str), Some("\"completed\""));
    }

    let body = JOB.replace('}', r#","id":"bg","options":{"background":true}}"#);
    let at_once = client.post("/v1/run", &body);
    assert_eq!((at_once.status, at_once.json()["id"].as_str()), (202, Some("bg")));
    assert_eq!(at_once.header("location"), "/v1/jobs/bg");
    let joined = client.post("/v1/run", &body);
    assert_eq!((joined.status, joined.header("forebay-cache")), (202, "join"));
    assert_eq!(client.post("/v1/run", &body.replace("big", "small")).error().1, "conflict");
}

#[test]
fn headers_say_what_the_body_leaves_out() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let headers = [
        ("forebay-metadata", r#"{"teamId":"AI"}"#),
        ("forebay-options", r#"{"background":true}"#),
        ("cf-aig-max-attempts", "2"),
        ("idempotency-key", "turn-1"),
        ("x-request-id", "mine"),
        ("forebay-gateway", "team"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let first = client.ask("POST", "/v1/run/echo", &headers, br#""Hi""#);
    assert_eq!((first.status, first.header("x-request-id")), (202, "mine"), "{}", first.text());
    assert_eq!((&first.json()["gateway"], &first.json()["metadata"]["teamId"]), (&"team".into(), &"AI".into()));
    let second = client.ask("POST", "/v1/run/echo", &headers, br#""Hi""#);
    assert_eq!((second.header("forebay-cache"), &second.json()["id"]), ("join", &first.json()["id"]));
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&format!("/g/team/v1/jobs/{id}")).status, 200);
    assert_eq!(client.get(&format!("/g/other/v1/jobs/{id}")).error().1, "not_found");
}

#[test]
fn a_reader_resumes_in_every_way_at_every_record() {
    let broker = TestBroker::start("");
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    for piece in ["a", "b\r\n\nc", "\u{0}🦀"] {
        broker.append(writer.stream(), vec![text(piece)]);
    }
    broker.append(writer.stream(), vec![completed()]);
    let mut client = Client::connect(broker.addr);
    let whole = events(&client.get("/v1/jobs/j/events").body);
    assert_eq!(whole.len(), 5);
    for read in 0..=whole.len() {
        let from = client.get(&format!("/v1/jobs/j/events?from={read}"));
        assert_eq!(events(&from.body), whole[read..], "from={read}");
        let Some((cursor, _)) = read.checked_sub(1).map(|last| &whole[last]) else { continue };
        let by_query = client.get(&format!("/v1/jobs/j/events?cursor={cursor}"));
        let headers = [("last-event-id", cursor.as_str())];
        let by_header = client.ask("GET", "/v1/jobs/j/events?cursor=-1", &headers, b"");
        assert_eq!(events(&by_query.body), whole[read..], "cursor after {read}");
        assert_eq!(events(&by_header.body), whole[read..], "Last-Event-ID after {read}");
    }
    assert!(events(&client.get("/v1/jobs/j/events?cursor=now").body).is_empty(), "the end is the end");
    let head = client.ask("HEAD", "/v1/jobs/j/events", &[], b"");
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn a_session_cut_at_any_byte_is_made_whole_by_the_last_event_id() {
    let broker = TestBroker::start("");
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    for piece in ["one", "two\n\n", "ü🦀"] {
        broker.append(writer.stream(), vec![text(piece)]);
    }
    broker.append(writer.stream(), vec![completed()]);
    let mut client = Client::connect(broker.addr);
    let session = client.get("/v1/jobs/j/events").body;
    let whole = events(&session);
    let mut resumed = std::collections::HashMap::new();
    for cut in 0..=session.len() {
        let mut seen = events(&session[..cut]);
        let last = seen.last().map_or("-1", |(id, _)| id.as_str()).to_owned();
        let rest = resumed.entry(last.clone()).or_insert_with(|| {
            let headers = [("last-event-id", last.as_str())];
            events(&client.ask("GET", "/v1/jobs/j/events", &headers, b"").body)
        });
        seen.extend(rest.iter().cloned());
        assert_eq!(seen, whole, "cut at byte {cut}");
    }
}

#[test]
fn a_live_reader_gets_each_record_as_it_becomes_durable_and_comments_meanwhile() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 20");
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    let mut client = Client::connect(broker.addr);
    client.send(request("GET", "/v1/jobs/j/events", &[], b""));
    assert_eq!(client.head().unwrap().0, 200);
    assert_eq!(events(&client.chunks(1).0).len(), 1);
    assert_eq!(client.chunks(1).0, b":\n\n", "a sign of life");
    for piece in ["a", "b", "c"] {
        broker.append(writer.stream(), vec![text(piece)]);
        let event = loop {
            let (frame, _) = client.chunks(1);
            if frame != b":\n\n" {
                break events(&frame);
            }
        };
        assert!(event[0].1.contains(&format!("\"text\":\"{piece}\"")), "{event:?}");
    }
    drop(client);
    broker.append(writer.stream(), vec![completed()]);
    assert_eq!(broker.stream("j").tail().state, State::Completed, "a reader who leaves cancels nothing");
}

#[test]
fn a_submitter_who_leaves_cancels_only_a_job_that_wants_that() {
    let broker = TestBroker::start("");
    for (id, accept, on_disconnect, ends) in [
        ("collected", "application/json", "cancel", true),
        ("streamed", "text/event-stream", "cancel", true),
        ("detached", "text/event-stream", "detach", false),
    ] {
        let body = format!(
            r#"{{"model":"echo","id":"{id}","input":{{"messages":[],"script":[{{"text":"a"}},"stall"]}},
               "options":{{"on_disconnect":"{on_disconnect}"}}}}"#
        );
        let mut client = Client::connect(broker.addr);
        client.send(request("POST", "/v1/run", &[("accept", accept)], body.as_bytes()));
        let stream = loop {
            match broker.wait(broker.broker.stream(&id.parse().unwrap())) {
                Ok(stream) => break stream,
                Err(_) => std::thread::yield_now(),
            }
        };
        let mut tail = stream.watch();
        broker.wait(async { tail.wait_for(|tail| tail.state == State::Streaming).await.map(|_| ()) }).unwrap();
        drop(client);
        if ends {
            let ended = broker.wait(async {
                let end = tail.wait_for(|tail| tail.state.is_terminal());
                tokio::time::timeout(Duration::from_secs(10), end).await.map(|tail| tail.unwrap().state)
            });
            assert_eq!(ended.ok(), Some(State::Cancelled), "{id}");
        } else {
            let cancelled = Client::connect(broker.addr).post(&format!("/v1/jobs/{id}/cancel"), "");
            assert_eq!(cancelled.json()["state"], "cancelled");
            let by = Client::connect(broker.addr).get(&format!("/v1/jobs/{id}/events")).text();
            assert!(by.contains(r#""by":"client""#), "it ran until the client cancelled it: {by}");
        }
    }
}

#[test]
fn a_submitter_who_leaves_while_its_job_is_taken_in_has_left_all_the_same() {
    let broker = TestBroker::start("");
    for number in 0..40 {
        let body = format!(
            r#"{{"model":"echo","id":"j{number}","input":{{"messages":[],"script":["stall"]}},
               "options":{{"on_disconnect":"cancel"}}}}"#
        );
        let mut client = Client::connect(broker.addr);
        client.send(request("POST", "/v1/run", &[], body.as_bytes()));
        let id = format!("j{number}").parse().unwrap();
        let stream = loop {
            match broker.wait(broker.broker.stream(&id)) {
                Ok(stream) => break stream,
                Err(_) => std::thread::yield_now(),
            }
        };
        drop(client);
        let mut tail = stream.watch();
        let ended = broker.wait(async {
            let end = tail.wait_for(|tail| tail.state.is_terminal());
            tokio::time::timeout(Duration::from_secs(10), end).await.map(|tail| tail.unwrap().state)
        });
        assert_eq!(ended.ok(), Some(State::Cancelled), "j{number}");
    }
}

#[test]
fn a_failed_job_answers_with_its_own_error() {
    let broker = TestBroker::start("");
    let body = r#"{"model":"echo","input":{"messages":[],"script":[{"status":{"status":429,"retry_after_ms":1500}}]},
        "options":{"retry":{"max_attempts":1}}}"#;
    let answer = Client::connect(broker.addr).post("/v1/run", body);
    assert_eq!(answer.error().1, "provider_rate_limited", "{}", answer.text());
    assert_eq!((answer.status, &answer.json()["state"]), (429, &"failed".into()));
    assert_eq!(answer.header("forebay-attempts"), "1");
}

#[test]
fn keys_open_their_scopes_and_gateways_and_nothing_else() {
    let keys = key("agents", "alpha", "")
        + &key("reader", "beta", "scopes = [\"read\"]\ngateways = [\"team\"]")
        + &key("runner", "gamma", "scopes = [\"run\"]")
        + &key("boss", "delta", "scopes = [\"admin\"]");
    let broker = TestBroker::start(&keys);
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    broker.append(writer.stream(), vec![completed()]);
    let mut client = Client::connect(broker.addr);
    for (key, method, path, status, code) in [
        ("", "GET", "/v1/jobs/j", 401, "unauthenticated"),
        ("", "POST", "/v1/run", 401, "unauthenticated"),
        ("", "GET", "/metrics", 401, "unauthenticated"),
        ("", "GET", "/v1/models", 401, "unauthenticated"),
        ("wrong", "GET", "/v1/jobs", 401, "unauthenticated"),
        ("alpha", "GET", "/v1/jobs/j", 200, ""),
        ("alpha", "GET", "/v1/jobs/j/events", 200, ""),
        ("alpha", "GET", "/metrics", 200, ""),
        ("alpha", "POST", "/v1/run", 200, ""),
        ("alpha", "POST", "/g/team/v1/run", 403, "forbidden"),
        ("alpha", "GET", "/g/team/v1/jobs", 403, "forbidden"),
        ("alpha", "GET", "/g/team/v1/costs", 403, "forbidden"),
        ("alpha", "POST", "/v1/costs/rebuild", 403, "forbidden"),
        ("delta", "POST", "/v1/costs/rebuild", 200, ""),
        ("beta", "GET", "/v1/jobs/j", 404, "not_found"),
        ("beta", "GET", "/v1/jobs/nobody", 404, "not_found"),
        ("beta", "GET", "/v1/jobs/j/events", 404, "not_found"),
        ("beta", "POST", "/v1/jobs/j/cancel", 403, "forbidden"),
        ("beta", "DELETE", "/v1/jobs/j", 403, "forbidden"),
        ("beta", "POST", "/v1/run", 403, "forbidden"),
        ("beta", "GET", "/v1/jobs", 200, ""),
        ("gamma", "GET", "/v1/jobs/j", 403, "forbidden"),
        ("gamma", "GET", "/metrics", 403, "forbidden"),
        ("gamma", "POST", "/v1/run", 200, ""),
        ("", "GET", "/healthz", 200, ""),
        ("", "GET", "/readyz", 200, ""),
        ("", "GET", "/", 200, ""),
    ] {
        let bearer = format!("bearer {key}");
        for (name, value) in [("authorization", bearer.as_str()), ("x-api-key", key), ("api-key", key)] {
            let headers = if key.is_empty() { vec![] } else { vec![(name, value)] };
            let body = if path.ends_with("/run") { JOB.as_bytes() } else { b"" };
            let response = client.ask(method, path, &headers, body);
            assert_eq!(response.status, status, "{name} {key} {method} {path}: {}", response.text());
            if !code.is_empty() {
                assert_eq!(response.error().1, code);
                assert!(!response.text().contains("wrong"), "a key is not repeated");
            }
        }
    }
    let unseen = [
        client.ask("GET", "/v1/jobs/j", &[("api-key", "beta")], b""),
        client.ask("GET", "/v1/jobs/no", &[("api-key", "beta")], b""),
    ];
    assert_eq!(unseen[0].body, unseen[1].body, "another gateway's job looks like none");
    assert_eq!(client.ask("GET", "/v1/jobs", &[("api-key", "beta")], b"").json()["jobs"], serde_json::json!([]));
}
