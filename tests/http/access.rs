//! What a key does not open looks as if it were not there.

use std::collections::BTreeMap;

use serde_json::json;

use crate::broker::{TestBroker, completed, text};
use crate::client::{Client, Response, request};
use crate::{JOB, key};

/// All that tells one answer from another: status, headers, body.
type Look = (u16, BTreeMap<String, String>, Vec<u8>);

fn look(mut response: Response) -> Look {
    for own in ["x-request-id", "date"] {
        assert!(response.headers.remove(own).is_some(), "{own}: {response:?}");
    }
    (response.status, response.headers, response.body)
}

/// A broker whose gateway `default` has a job that runs, `open`, and one that has ended, `done`.
fn broker() -> TestBroker {
    let keys = key("theirs", "theirs", "scopes = [\"run\", \"read\"]\ngateways = [\"team\"]")
        + &key("ours", "ours", "scopes = [\"run\", \"read\"]");
    let broker = TestBroker::start(&keys);
    for id in ["open", "done"] {
        let writer = broker.open(&JOB.replace('{', &format!(r#"{{"id":"{id}","metadata":{{"tag":"secret"}},"#)));
        broker.append(writer.stream(), vec![text("secret")]);
        if id == "done" {
            broker.append(writer.stream(), vec![completed()]);
        }
    }
    broker
}

#[test]
fn a_job_of_another_gateway_looks_like_none_on_every_route() {
    let broker = broker();
    let mut client = Client::connect(broker.addr);
    let mut ask = |method: &str, path: &str| {
        client.send(request(method, path, &[("authorization", "Bearer theirs")], b""));
        look(client.response(method == "HEAD").unwrap())
    };
    for id in ["open", "done"] {
        for (method, path) in [
            ("GET", "/v1/jobs/{id}"),
            ("HEAD", "/v1/jobs/{id}"),
            ("GET", "/v1/jobs/{id}?x=1"),
            ("DELETE", "/v1/jobs/{id}"),
            ("POST", "/v1/jobs/{id}/cancel"),
            ("GET", "/v1/jobs/{id}/events"),
            ("HEAD", "/v1/jobs/{id}/events"),
            ("GET", "/v1/jobs/{id}/events?from=99"),
            ("GET", "/v1/jobs/{id}/events?cursor=000000ff_1"),
            ("GET", "/v1/jobs/{id}/outputs/0"),
            ("HEAD", "/v1/jobs/{id}/outputs/0"),
            ("GET", "/v1/jobs?after={id}"),
            ("PUT", "/v1/jobs/{id}"),
            ("OPTIONS", "/v1/jobs/{id}"),
            ("GET", "/g/team/v1/jobs/{id}"),
            ("GET", "/g/team/v1/jobs/{id}/events"),
            ("GET", "/g/default/v1/jobs/{id}"),
            ("GET", "/v1/jobs/{id}/ws"),
        ] {
            let seen = ask(method, &path.replace("{id}", id));
            // As long as the other's.
            assert_eq!(seen, ask(method, &path.replace("{id}", "none")), "{method} {path}");
            assert!(!String::from_utf8_lossy(&seen.2).contains("secret"));
        }
    }
    assert_eq!(broker.stream("open").tail().state, forebay::job::State::Streaming, "it was not cancelled");
    let list = String::from_utf8(ask("GET", "/v1/jobs").2).unwrap();
    assert_eq!(list, r#"{"jobs":[],"next":null}"#);
    let costs = String::from_utf8(ask("GET", "/v1/costs?by=metadata.tag").2).unwrap();
    assert!(!costs.contains("secret"), "{costs}");
}

#[test]
fn a_name_that_another_gateway_took_is_taken_and_says_nothing_more() {
    let broker = broker();
    let mut client = Client::connect(broker.addr);
    let theirs = [("authorization", "Bearer theirs"), ("forebay-gateway", "team")];
    for body in [JOB, r#"{"model":"echo","input":"other"}"#] {
        let body = body.replace('{', r#"{"id":"done","metadata":{"tag":"secret"},"#);
        let answer = client.ask("POST", "/v1/run", &theirs, body.as_bytes());
        assert_eq!(answer.error().1, "conflict");
        assert!(answer.header("forebay-job-id").is_empty() && !answer.text().contains("secret"), "{}", answer.text());
    }
    // An idempotency key is a gateway's own.
    let with_key =
        |key| [("authorization", key), ("idempotency-key", "once"), ("forebay-options", r#"{"background":true}"#)];
    let ours = client.ask("POST", "/v1/run", &with_key("Bearer ours"), JOB.as_bytes());
    let theirs = client.ask("POST", "/g/team/v1/run", &with_key("Bearer theirs"), JOB.as_bytes());
    assert_eq!((ours.status, theirs.status, theirs.header("forebay-cache")), (202, 202, "miss"), "{}", theirs.text());
    assert_ne!(ours.json()["id"], theirs.json()["id"]);
}

#[test]
fn a_job_of_another_gateway_looks_like_none_on_a_socket() {
    use forebay::wire::frame::{self, Protocol};
    use forebay::ws::client::{Client as Socket, Over};
    let broker = broker();
    let url = format!("ws://{}/v1/ws", broker.addr);
    let answered = |id: &str| {
        broker.wait(async {
            let mut socket = Socket::connect(&url, Some("theirs"), Protocol::Json).await.unwrap();
            let subscribe = json!({"type": "subscribe", "sub": 1, "id": id});
            let subscribe = frame::decode(Protocol::Json, subscribe.to_string().as_bytes()).unwrap();
            socket.say(&subscribe).await.unwrap();
            match socket.next().await {
                Ok(message) => serde_json::to_value(&message).unwrap(),
                Err(Over::Refused(failure)) => serde_json::to_value(&failure).unwrap(),
                Err(Over::Lost(why)) => panic!("{why:?}"),
            }
        })
    };
    let seen = answered("done");
    assert_eq!(seen["error"]["code"], "not_found", "{seen}");
    assert_eq!(seen, answered("none"));
}
