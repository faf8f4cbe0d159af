//! The entrance for Durable Streams: laws that the protocol's own tests do not check.

use std::collections::HashMap;
use std::sync::Arc;

use forebay::log::{Log, RowRange};
use serde_json::Value;

use crate::broker::{TestBroker, completed, text};
use crate::client::{Client, Response};
use crate::{JOB, events, key};

const TEXT: (&str, &str) = ("content-type", "text/plain");
const JSON: (&str, &str) = ("content-type", "application/json");

fn next(response: &Response) -> String {
    response.header("stream-next-offset").to_owned()
}

/// Everything from `offset`, page by page; asserts that what is closed is said to be.
fn whole(client: &mut Client, path: &str, offset: &str) -> Vec<u8> {
    let (mut all, mut offset) = (Vec::new(), offset.to_owned());
    loop {
        let page = client.get(&format!("{path}?offset={offset}"));
        assert_eq!(page.status, 200, "{page:?}");
        all.extend_from_slice(&page.body);
        offset = next(&page);
        if page.header("stream-up-to-date") == "true" {
            return all;
        }
        assert_eq!(page.header("stream-closed"), "", "only at the end");
    }
}

/// The records of a job's stream from `offset`.
fn records(client: &mut Client, path: &str, offset: &str) -> Vec<Value> {
    let text = String::from_utf8(whole(client, path, offset)).unwrap();
    let pages = serde_json::Deserializer::from_str(&text).into_iter::<Vec<Value>>();
    pages.flat_map(Result::unwrap).collect()
}

/// The kinds and payloads of a session of server-sent events.
fn session(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let event = |event: &str| {
        let kind = event.lines().find_map(|line| line.strip_prefix("event: "))?.to_owned();
        let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
        Some((kind, data.join("\n")))
    };
    text.split("\n\n").filter_map(event).collect()
}

#[test]
fn a_jobs_stream_is_read_with_the_cursors_of_every_other_entrance() {
    let broker = TestBroker::start("");
    let writer = broker.open(&JOB.replace('{', r#"{"id":"j","#));
    for i in 0..40 {
        broker.append(writer.stream(), vec![text(&format!("piece {i}")), text("\r\n\nevent: control")]);
    }
    broker.append(writer.stream(), vec![completed()]);
    let mut client = Client::connect(broker.addr);
    let received = events(&client.get("/v1/jobs/j/events").body);
    let path = "/v1/stream/jobs/j";
    let all: Vec<Value> = received.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(records(&mut client, path, "-1"), all);
    for (at, (cursor, _)) in received.iter().enumerate() {
        assert_eq!(records(&mut client, path, cursor), all[at + 1..], "{cursor}");
        let session = session(&client.get(&format!("{path}?offset={cursor}&live=sse")).body);
        let data = session.iter().filter(|(kind, _)| kind == "data");
        let seen: Vec<Value> = data.flat_map(|(_, data)| serde_json::from_str::<Vec<Value>>(data).unwrap()).collect();
        assert_eq!(seen, all[at + 1..], "{cursor}");
        let (kind, last) = session.last().unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!((kind.as_str(), &last["streamClosed"]), ("control", &Value::Bool(true)));
        let offset = last["streamNextOffset"].as_str().unwrap();
        assert_eq!(Some(offset), received.last().map(|(cursor, _)| cursor.as_str()));
    }
    let end = client.get(&format!("{path}?offset=now&live=long-poll"));
    assert_eq!((end.status, end.header("stream-closed")), (204, "true"));
    let head = client.ask("HEAD", path, &[], b"");
    assert_eq!((head.status, head.header("content-type"), next(&head)), (200, "application/json", next(&end)));
    for method in ["PUT", "POST", "DELETE"] {
        let refused = client.ask(method, path, &[JSON], b"[1]");
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD, OPTIONS"), "{method}");
    }
    for (query, status) in [
        ("offset=00000000_0000000001", 410),
        ("offset=now&live=nope", 400),
        ("offset=", 400),
        ("offset=-1&offset=-1", 400),
        ("live=sse", 400),
    ] {
        let refused = client.get(&format!("{path}?{query}"));
        assert_eq!((refused.status, refused.header("x-content-type-options")), (status, "nosniff"), "{query}");
    }
    let ahead = next(&head).replace("_00000000", "_99999999");
    assert_eq!(client.get(&format!("{path}?offset={ahead}")).error().0, 400);
    assert_eq!(client.get("/v1/stream/jobs/unknown").error().0, 404);
}

#[test]
fn readers_that_come_while_it_is_written_all_read_the_same() {
    let broker = TestBroker::start("[server]\nlong_poll_ms = 200");
    let path = "/v1/stream/storm";
    let mut client = Client::connect(broker.addr);
    assert_eq!(client.ask("PUT", path, &[JSON], b"").status, 201);
    let addr = broker.addr;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut client = Client::connect(addr);
            for i in 0..200 {
                let body = format!("[{}]", (0..=i % 3).map(|j| format!("\"{i}.{j}\"")).collect::<Vec<_>>().join(","));
                assert_eq!(client.ask("POST", path, &[JSON], body.as_bytes()).status, 204);
            }
            let close = ("stream-closed", "true");
            assert_eq!(client.ask("POST", path, &[JSON, close], b"\"end\"").status, 204);
        });
        let readers: Vec<_> = (0..12)
            .map(|reader| {
                scope.spawn(move || {
                    let mut client = Client::connect(addr);
                    let (mut seen, mut offset) = (Vec::<String>::new(), "-1".to_owned());
                    if reader % 2 == 0 {
                        let body = client.get(&format!("{path}?offset=-1&live=sse")).body;
                        let data = session(&body).into_iter().filter(|(kind, _)| kind == "data");
                        return data
                            .flat_map(|(_, data)| serde_json::from_str::<Vec<String>>(&data).unwrap())
                            .collect();
                    }
                    loop {
                        let live = if seen.is_empty() { "" } else { "&live=long-poll" };
                        let page = client.get(&format!("{path}?offset={offset}{live}"));
                        offset = next(&page);
                        if page.status == 200 {
                            seen.extend(serde_json::from_slice::<Vec<String>>(&page.body).unwrap());
                        }
                        if page.header("stream-closed") == "true" {
                            return seen;
                        }
                    }
                })
            })
            .collect();
        writer.join().unwrap();
        let expected: Vec<String> = serde_json::from_slice(&Client::connect(addr).get(path).body).unwrap();
        assert_eq!((expected.len(), expected[0].as_str(), expected.last().unwrap().as_str()), (400, "0.0", "end"));
        for reader in readers {
            assert_eq!(reader.join().unwrap(), expected);
        }
    });
}

#[test]
fn two_hundred_readers_that_wait_are_told_of_one_append() {
    let broker = TestBroker::start("");
    let path = "/v1/stream/many";
    let mut client = Client::connect(broker.addr);
    let created = client.ask("PUT", path, &[TEXT], b"before");
    let wait = format!("{path}?offset={}&live=long-poll", next(&created));
    let mut readers: Vec<Client> = (0..200).map(|_| Client::connect(broker.addr)).collect();
    for reader in &mut readers {
        reader.send(crate::request("GET", &wait, &[], b""));
    }
    assert_eq!(client.ask("POST", path, &[TEXT], b"after").status, 204);
    for reader in &mut readers {
        let received = reader.response(false).unwrap();
        assert_eq!((received.status, received.text().as_str()), (200, "after"));
        assert!(received.header("stream-cursor").parse::<u64>().is_ok());
    }
    // One that waits while the stream is deleted is told, too.
    let tail = next(&client.ask("HEAD", path, &[], b""));
    readers[0].send(crate::request("GET", &format!("{path}?offset={tail}&live=long-poll"), &[], b""));
    assert_eq!(client.ask("DELETE", path, &[], b"").status, 204);
    assert_eq!(readers[0].response(false).unwrap().status, 404);
}

#[test]
fn producers_that_repeat_themselves_are_written_once_and_in_their_order() {
    const PRODUCERS: usize = 8;
    const APPENDS: usize = 40;
    let broker = TestBroker::start("");
    let path = "/v1/stream/producers";
    assert_eq!(Client::connect(broker.addr).ask("PUT", path, &[JSON], b"").status, 201);
    let addr = broker.addr;
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            scope.spawn(move || {
                let mut clients = [Client::connect(addr), Client::connect(addr)];
                for seq in 0..APPENDS {
                    let (id, number) = (format!("p{producer}"), seq.to_string());
                    let headers = [JSON, ("producer-id", &id), ("producer-epoch", "0"), ("producer-seq", &number)];
                    let body = format!("[[{producer},{seq}]]");
                    // Twice at once, as one that lost the answer and its connection does.
                    for client in &mut clients {
                        client.send(crate::request("POST", path, &headers, body.as_bytes()));
                    }
                    let mut status = clients.each_mut().map(|client| client.response(false).unwrap().status);
                    status.sort_unstable();
                    assert_eq!(status, [200, 204], "{id} {seq}");
                }
            });
        }
    });
    let all: Vec<(usize, usize)> = serde_json::from_slice(&Client::connect(addr).get(path).body).unwrap();
    let mut by_producer: HashMap<usize, Vec<usize>> = HashMap::new();
    for (producer, seq) in all {
        by_producer.entry(producer).or_default().push(seq);
    }
    assert_eq!(by_producer.len(), PRODUCERS);
    assert!(by_producer.values().all(|seen| seen.iter().copied().eq(0..APPENDS)), "{by_producer:?}");
}

#[test]
fn a_long_stream_is_read_by_pages_and_a_tag_knows_what_was_read() {
    let broker = TestBroker::start("[server]\nbody_bytes_max = 3000000");
    let path = "/v1/stream/long";
    let mut client = Client::connect(broker.addr);
    assert_eq!(client.ask("PUT", path, &[TEXT], b"").status, 201);
    let part = "a line with an umlaut: ü\n".repeat(100_000);
    for _ in 0..3 {
        assert_eq!(client.ask("POST", path, &[TEXT], part.as_bytes()).status, 204);
    }
    let too_large = client.ask("POST", path, &[TEXT], &vec![b'x'; 3_000_001]);
    assert_eq!(too_large.error(), (413, "too_large".into(), String::new()));
    assert!(whole(&mut client, path, "-1") == part.repeat(3).into_bytes(), "the same, byte for byte");
    let first = client.get(path);
    assert!((1_000_000..1_100_000).contains(&first.body.len()), "{}", first.body.len());
    assert_eq!(first.header("stream-up-to-date"), "");
    let tag = ("if-none-match", first.header("etag"));
    assert_eq!(client.ask("GET", path, &[tag], b"").status, 304);
    let tail = format!("{path}?offset={}", next(&client.ask("HEAD", path, &[], b"")));
    let open = client.get(&tail);
    let tag = ("if-none-match", open.header("etag"));
    assert_eq!(client.ask("GET", &tail, &[tag], b"").status, 304);
    assert_eq!(client.ask("POST", path, &[("stream-closed", "true")], b"").status, 204);
    let closed = client.ask("GET", &tail, &[tag], b"");
    assert_eq!((closed.status, closed.header("stream-closed")), (200, "true"), "another tag when it closes");
}

#[test]
fn a_deleted_stream_leaves_nothing_and_its_path_begins_anew() {
    let broker = TestBroker::start("");
    let path = "/v1/stream/again";
    let mut client = Client::connect(broker.addr);
    client.ask("PUT", path, &[TEXT, ("stream-ttl", "3600")], b"");
    for seq in 0..600 {
        let number = seq.to_string();
        let producer = [TEXT, ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", &number)];
        assert_eq!(client.ask("POST", path, &producer, b"old").status, 200);
    }
    let old = next(&client.ask("HEAD", path, &[], b""));
    assert_eq!(client.ask("DELETE", path, &[], b"").status, 204);
    for (method, headers) in [("GET", &[] as &[_]), ("HEAD", &[]), ("DELETE", &[]), ("POST", &[TEXT])] {
        assert_eq!(client.ask(method, path, headers, b"").status, 404, "{method}");
    }
    let log: Arc<dyn Log> = broker.log.clone();
    let rows = || {
        let range = RowRange { prefix: "s".into(), after: None, limit: usize::MAX, budget_bytes: usize::MAX };
        broker.wait(log.rows(range)).unwrap().len()
    };
    // When to look at it stays until it is looked at.
    while rows() > 1 {
        std::thread::yield_now();
    }
    assert_eq!(client.ask("PUT", path, &[JSON], b"[1]").status, 201);
    assert_eq!(client.get(path).text(), "[1]");
    assert_eq!(client.get(&format!("{path}?offset={old}")).status, 410, "of another life");
}

#[test]
fn a_key_reads_and_writes_where_it_may() {
    let keys = key("all", "all", "") + &key("reads", "reads", "scopes = [\"read\"]");
    let keys = keys + &key("team", "team", "gateways = [\"team\"]");
    let broker = TestBroker::start(&keys);
    let mut client = Client::connect(broker.addr);
    let mut ask = |method: &str, path: &str, secret: &str| {
        let bearer = format!("Bearer {secret}");
        let reply =
            client.ask(method, path, &[TEXT, ("authorization", &bearer)], if method == "GET" { b"" } else { b"x" });
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        reply.status
    };
    for (method, path, secret, status) in [
        ("PUT", "/v1/stream/a", "nobody", 401),
        ("PUT", "/v1/stream/a", "reads", 403),
        ("PUT", "/v1/stream/a", "team", 403),
        ("PUT", "/v1/stream/a", "all", 201),
        ("GET", "/v1/stream/a", "reads", 200),
        ("POST", "/v1/stream/a", "reads", 403),
        ("DELETE", "/v1/stream/a", "reads", 403),
        // Not theirs to know of.
        ("GET", "/v1/stream/a", "team", 404),
        ("GET", "/v1/stream/none", "team", 404),
        // Another gateway's stream of that name is another stream.
        ("PUT", "/g/team/v1/stream/a", "team", 201),
        ("POST", "/g/team/v1/stream/a", "team", 204),
        ("GET", "/g/team/v1/stream/a", "all", 404),
        ("DELETE", "/g/team/v1/stream/a", "team", 204),
        ("GET", "/v1/stream/a", "all", 200),
        ("PUT", "/v1/stream/__ds/subscriptions/x", "all", 400),
        ("PUT", "/v1/stream/%00", "all", 400),
    ] {
        assert_eq!(ask(method, path, secret), status, "{method} {path} {secret}");
    }
}
