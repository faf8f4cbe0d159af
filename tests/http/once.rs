//! `Idempotency-Key` on every route that spends money: a repeat joins, in whatever state the job is.

use serde_json::{Value, json};

use crate::broker::TestBroker;
use crate::client::Client;

/// A route: its path, a good body, and the word that is changed in it to make another.
type Route = (&'static str, Value, &'static str);

fn routes() -> Vec<Route> {
    let chat = json!({"model": "echo", "messages": [{"role": "user", "content": "Hi"}]});
    let vectors = json!({"model": "echo", "input": "Hi", "script": [{"output": {"data": [{"embedding": [0.5]}]}}]});
    let messages = json!({"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    vec![
        ("/v1/run", json!({"model": "echo", "input": "Hi"}), "Hi"),
        ("/v1/run/echo", json!({"prompt": "Hi"}), "Hi"),
        ("/v1/chat/completions", chat.clone(), "Hi"),
        ("/v1/embeddings", vectors, "Hi"),
        ("/v1/acc/gw/compat/chat/completions", chat, "Hi"),
        ("/v1/completions", json!({"model": "echo", "prompt": "Hi"}), "Hi"),
        ("/v1/messages", messages.clone(), "Hi"),
        ("/v1/acc/gw/scripted/v1/messages", messages, "Hi"),
        ("/accounts/acc/ai/run", json!({"model": "echo", "input": {"prompt": "Hi"}}), "Hi"),
        ("/accounts/acc/ai/run/echo", json!({"prompt": "Hi"}), "Hi"),
    ]
}

#[test]
fn the_same_body_joins_and_another_is_a_conflict() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    for (at, (path, body, word)) in routes().into_iter().enumerate() {
        let key = format!("key-{at}");
        let headers = [("idempotency-key", key.as_str())];
        let body = body.to_string();
        let first = client.ask("POST", path, &headers, body.as_bytes());
        assert_eq!((first.status, first.header("forebay-cache")), (200, "miss"), "{path} {}", first.text());
        let again = client.ask("POST", path, &headers, body.as_bytes());
        assert_eq!((again.status, again.header("forebay-cache")), (200, "join"), "{path} {}", again.text());
        assert_eq!(again.text(), first.text(), "{path}");
        assert_eq!(again.header("forebay-job-id"), first.header("forebay-job-id"), "{path}");
        let other = client.ask("POST", path, &headers, body.replace(word, "Ho").as_bytes());
        let envelope = other.json();
        assert_eq!(other.status, 409, "{path} {envelope}");
        let answered = envelope["error"]["message"].as_str().unwrap_or_default();
        assert!(answered.contains("another body") || envelope["error"]["code"] == "conflict", "{path} {envelope}");
    }
}

#[test]
fn how_it_is_read_is_not_part_of_the_body() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    for (at, path) in ["/v1/run", "/v1/chat/completions", "/accounts/acc/ai/run/echo"].into_iter().enumerate() {
        let key = format!("key-{at}");
        let headers = [("idempotency-key", key.as_str())];
        let mut body = match at {
            0 => json!({"model": "echo", "input": "Hi"}),
            1 => json!({"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}),
            _ => json!({"prompt": "Hi"}),
        };
        let whole = client.ask("POST", path, &headers, body.to_string().as_bytes());
        body["stream"] = true.into();
        let streamed = client.ask("POST", path, &headers, body.to_string().as_bytes());
        assert_eq!(streamed.header("content-type"), "text/event-stream", "{path} {}", streamed.text());
        assert_eq!(streamed.header("forebay-cache"), "join", "{path}");
        assert_eq!(streamed.header("forebay-job-id"), whole.header("forebay-job-id"), "{path}");
    }
}

#[test]
fn a_job_that_failed_is_told_again_and_not_asked_again() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "Hi"}],
        "script": [{"status": {"status": 400}}]});
    let headers = [("idempotency-key", "failed")];
    let first = client.ask("POST", "/v1/chat/completions", &headers, body.to_string().as_bytes());
    let again = client.ask("POST", "/v1/chat/completions", &headers, body.to_string().as_bytes());
    assert_eq!((first.status, first.header("forebay-cache")), (400, "miss"), "{}", first.text());
    assert_eq!((again.status, again.header("forebay-cache")), (400, "join"), "{}", again.text());
    assert_eq!((again.text(), again.header("x-should-retry")), (first.text(), "false"));
    assert_eq!(again.header("forebay-attempts"), "1");
    let never_taken = json!({"model": "nobody/x", "messages": [{"role": "user", "content": "Hi"}]});
    let headers = [("idempotency-key", "refused")];
    let refused = client.ask("POST", "/v1/chat/completions", &headers, never_taken.to_string().as_bytes());
    assert_eq!(refused.status, 404);
    let good = json!({"model": "echo", "messages": [{"role": "user", "content": "Hi"}]});
    let taken = client.ask("POST", "/v1/chat/completions", &headers, good.to_string().as_bytes());
    assert_eq!((taken.status, taken.header("forebay-cache")), (200, "miss"), "what was refused took no key");
}
