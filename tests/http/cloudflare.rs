//! Cloudflare's addresses: their clients find our routes, their envelope and their headers, and a
//! request without a route of its own goes to the provider unchanged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use serde_json::{Value, json};

#[path = "passing.rs"]
mod passing;

use crate::broker::TestBroker;
use crate::client::Client;

fn chat(model: &str, more: Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Hello big world"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

#[test]
fn their_addresses_are_routes_of_ours() {
    let broker = TestBroker::start("[providers.openai]\nkind = \"scripted\"");
    let mut client = Client::connect(broker.addr);
    for (path, model) in [
        ("/v1/acc/team/compat/chat/completions", "openai/m"),
        ("/v1/acc/team/compat/chat/completions", "dynamic/echo"),
        ("/v1/acc/team/openai/chat/completions", "m"),
        ("/v1/acc/team/openai/v1/chat/completions", "m"),
        ("/v1/acc/team/custom-scripted/chat/completions", "echo"),
        ("/accounts/acc/ai/v1/chat/completions", "scripted/echo"),
    ] {
        let headers = [("cf-aig-metadata", r#"{"a":1}"#), ("cf-aig-gateway-id", "team"), ("cf-aig-event-id", "mine")];
        let answer = client.ask("POST", path, &headers, chat(model, json!({})).as_bytes());
        assert_eq!(answer.status, 200, "{path} {}", answer.text());
        assert_eq!(answer.json()["choices"][0]["message"]["content"].as_str().map(str::trim), Some("Hello big world"));
        let id = answer.header("forebay-job-id").to_owned();
        for (name, expected) in [
            ("cf-aig-log-id", &*id),
            ("cf-aig-request-id", &id),
            ("cf-aig-event-id", "mine"),
            ("cf-aig-cache-status", "MISS"),
            ("cf-aig-step", "0"),
            ("cf-aig-provider", answer.header("forebay-provider")),
        ] {
            assert_eq!(answer.header(name), expected, "{path} {name}");
        }
        let job = client.get(&format!("/g/team/v1/jobs/{id}")).json();
        assert_eq!((&job["gateway"], &job["metadata"]), (&json!("team"), &json!({"a": 1})), "{path}");
    }
    let own = client.post("/v1/chat/completions", &chat("echo", json!({})));
    assert_eq!(own.header("cf-aig-log-id"), "", "our own addresses say it in our own words");
    let fallback = [("forebay-options", r#"{"fallbacks":["openai/m"],"retry":{"max_attempts":1}}"#)];
    let script = json!({"script": {"attempts": [[{"status": {"status": 500}}], [{"text": "b"}]]}});
    let body = chat("scripted/echo", script);
    let answer = client.ask("POST", "/v1/acc/team/compat/chat/completions", &fallback, body.as_bytes());
    assert_eq!((answer.header("cf-aig-step"), answer.header("cf-aig-provider")), ("1", "openai"), "{}", answer.text());
}

#[test]
fn ai_run_answers_in_their_envelope() {
    let broker = TestBroker::start(
        r#"
        [providers.workers-ai]
        kind = "scripted"
        [models."@cf/baai/bge-m3"]
        targets = ["scripted/echo"]
        task = "embedding"
        [models.free]
        targets = ["scripted/echo"]
        task = "prediction"
        "#,
    );
    let mut client = Client::connect(broker.addr);
    let input = json!({"messages": [{"role": "user", "content": "Hello big world"}]});
    for (path, body) in [
        ("/client/v4/accounts/acc/ai/run/@cf/meta/llama", input.to_string()),
        ("/accounts/acc/ai/run/echo", json!({"prompt": "Hello big world"}).to_string()),
        ("/v1/acc/gw/workers-ai/@cf/meta/llama", input.to_string()),
        ("/accounts/acc/ai/run", json!({"model": "workers-ai/@cf/meta/llama", "input": input}).to_string()),
    ] {
        let answer = client.post(path, &body).json();
        assert_eq!(
            (&answer["success"], &answer["errors"], &answer["messages"]),
            (&json!(true), &json!([]), &json!([]))
        );
        let result = &answer["result"];
        assert_eq!(result["response"].as_str().map(str::trim), Some("Hello big world"), "{path} {answer}");
        assert_eq!(result["response"], result["choices"][0]["message"]["content"]);
    }
    let streamed = client.post("/accounts/acc/ai/run/echo", r#"{"prompt":"Hello big world","stream":true}"#);
    assert_eq!(streamed.header("content-type"), "text/event-stream");
    let text = streamed.text();
    assert!(streamed.whole && text.ends_with("data: [DONE]\n\n"), "{text}");
    let answered: String = text
        .split_terminator("\n\n")
        .filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| chunk["response"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(answered.trim(), "Hello big world");

    let body = json!({"model": "echo", "input": {"prompt": "Hi"}, "options": {"background": true}});
    let at_once = client.post("/accounts/acc/ai/run", &body.to_string());
    let id = at_once.json()["result"]["id"].as_str().unwrap().to_owned();
    assert_eq!((at_once.status, at_once.header("location")), (202, &*format!("/v1/jobs/{id}")));

    for (path, body, status, number) in [
        ("/accounts/acc/ai/run/nobody/x", r#"{"prompt":"Hi"}"#, 404, 5007),
        ("/accounts/acc/ai/run/echo", "{", 400, 5004),
        ("/accounts/acc/ai/run/echo", r#"{"prompt":"Hi","script":[{"status":{"status":400}}]}"#, 400, 5004),
        ("/v1/acc/gw/nobody/v1/things", "{}", 404, 5007),
    ] {
        let answer = client.post(path, body);
        let envelope = answer.json();
        assert_eq!((answer.status, &envelope["success"]), (status, &json!(false)), "{path} {envelope}");
        assert_eq!(envelope["errors"][0]["code"], number, "{path} {envelope}");
        assert!(envelope["errors"][0]["message"].is_string() && envelope["result"].is_null());
    }
    let vectors = json!({"text": ["a"], "script": [{"output": {"data": [{"embedding": [0.5, 1.0]}]}}]});
    let answer = client.post("/accounts/acc/ai/run/@cf/baai/bge-m3", &vectors.to_string());
    assert_eq!(answer.json()["result"]["shape"], json!([1, 2]), "{}", answer.text());
    assert_eq!(answer.json()["result"]["data"], json!([[0.5, 1.0]]));
    let free = json!({"any": "thing", "script": [{"output": {"free": "form"}}]});
    let answer = client.post("/accounts/acc/ai/run/free", &free.to_string());
    assert_eq!(answer.json()["result"], json!({"free": "form"}), "{}", answer.text());
}

/// A provider that answers `answer` to every request and tells what it was asked.
fn provider(answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, received) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut request_text, mut bytes) = (Vec::new(), [0; 4096]);
            let is_whole = |request_text: &[u8]| {
                let text = String::from_utf8_lossy(request_text);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
            };
            while !is_whole(&request_text) {
                match stream.read(&mut bytes) {
                    Ok(count @ 1..) => request_text.extend_from_slice(&bytes[..count]),
                    _ => break,
                }
            }
            let _ = sender.send(String::from_utf8_lossy(&request_text).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (addr, received)
}

const STREAM: &str = "HTTP/1.1 203 Fine\r\ncontent-type: text/event-stream\r\nx-ratelimit-left: 3\r\nset-cookie: a=b\r\nconnection: close\r\n\r\ndata: 1\n\ndata: 2\n\n";

#[test]
fn a_request_without_a_route_goes_to_the_provider_unchanged() {
    let (addr, received) = provider(STREAM);
    let keys = crate::key("agents", "alpha", "");
    let broker = TestBroker::start(&format!(
        "{keys}\n[providers.mine]\nkind = \"openai-compatible\"\nbase_url = \"http://{addr}/v1\"\napi_key = \"ours\""
    ));
    let mut client = Client::connect(broker.addr);
    let gateway_key = ("cf-aig-authorization", "Bearer alpha");
    for (headers, key) in [
        (vec![("authorization", "Bearer alpha")], "Bearer ours"),
        (vec![gateway_key], "Bearer ours"),
        (vec![gateway_key, ("authorization", "Bearer theirs")], "Bearer theirs"),
    ] {
        let more = [("openai-beta", "x"), ("cookie", "secret"), ("forebay-metadata", "{}"), ("content-type", "a/b")];
        let headers: Vec<_> = headers.into_iter().chain(more).collect();
        let answer = client.ask("POST", "/v1/acc/default/mine/v1/things/a%2Fb?c=d", &headers, b"body");
        assert_eq!((answer.status, answer.text()), (203, "data: 1\n\ndata: 2\n\n".to_owned()), "{answer:?}");
        assert_eq!(answer.header("x-ratelimit-left"), "3");
        assert_eq!(answer.header("set-cookie"), "", "not one that clients of providers read");
        let request_text = received.recv().unwrap();
        assert!(
            request_text.starts_with("POST /v1/things/a%2Fb?c=d HTTP/1.1\r\n")
                && request_text.ends_with("\r\n\r\nbody"),
            "{request_text}"
        );
        assert!(request_text.contains(&format!("authorization: {key}\r\n")), "{request_text}");
        assert!(
            request_text.contains("openai-beta: x\r\n") && request_text.contains("content-type: a/b\r\n"),
            "{request_text}"
        );
        assert!(
            !request_text.contains("alpha")
                && !request_text.contains("secret")
                && !request_text.contains("forebay-metadata"),
            "{request_text}"
        );
    }
    let refused = client.post("/v1/acc/default/mine/v1/things", "{}");
    assert_eq!((refused.status, &refused.json()["errors"][0]["code"]), (401, &json!(10_000)));
    let outside = client.ask("GET", "/v1/acc/default/mine/v1/..%2f../x/%2e%2e/y", &[gateway_key], b"");
    assert_eq!(outside.status, 400, "{}", outside.text());
    let other = client.ask("GET", "/v1/acc/other/mine/v1/things", &[gateway_key], b"");
    assert_eq!(other.status, 403, "{}", other.text());
    assert!(received.try_recv().is_err(), "none of these reached it");
}

#[test]
fn a_provider_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let broker = TestBroker::start(&format!(
        "[providers.mine]\nkind = \"openai-compatible\"\nbase_url = \"http://{addr}/v1\"\napi_key = \"ours\""
    ));
    let mut client = Client::connect(broker.addr);
    let headers = [("cf-aig-request-timeout", "50")];
    let answer = client.ask("GET", "/v1/acc/gw/mine/things", &headers, b"");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (504, &json!("provider_timeout")));
}
