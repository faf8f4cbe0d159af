//! Requests in a provider's own format: their clients get the provider's bytes, and we a job of each
//! whose answer can be read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use forebay::job::State;
use serde_json::{Value, json};

use super::provider;
use crate::broker::TestBroker;
use crate::client::Client;

const PATH: &str = "/v1/acc/team/mine/v1beta/models/gemini-x:streamGenerateContent?alt=sse";
const BODY: &str = r#"{ "contents": [{"parts": [{"text": "Hi"}]}] }"#;
const HELLO: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello\"}]}}]}\r\n\r\n";
const WORLD: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\" world\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":2}}\r\n\r\n";

/// A broker whose provider `mine` is of that kind and there.
fn broker(kind: &str, addr: SocketAddr) -> TestBroker {
    let base = if kind == "gemini-compatible" { "/v1beta" } else { "" };
    TestBroker::start(&format!(
        "[providers.mine]\nkind = \"{kind}\"\nbase_url = \"http://{addr}{base}\"\napi_key = \"ours\"\n\
         [prices.\"mine/gemini-x\"]\ninput_per_mtok_usd = 1\noutput_per_mtok_usd = 10"
    ))
}

/// A provider that says `first`, and the rest when it is told to; it tells when its caller has gone.
fn paced(first: String) -> (SocketAddr, mpsc::SyncSender<&'static str>, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (go_on, rest) = mpsc::sync_channel::<&str>(8);
    let (sender, gone) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(first.as_bytes()).unwrap();
        let mut watched: TcpStream = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            while watched.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
            let _ = sender.send(());
        });
        for piece in rest {
            let _ = stream.write_all(piece.as_bytes());
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    (addr, go_on, gone)
}

/// The job of that id, once it has ended, and all that was said in it.
fn ended(broker: &TestBroker, id: &str) -> (Value, String) {
    let mut tail = broker.stream(id).watch();
    broker.wait(async {
        let end = tail.wait_for(|tail| tail.state.is_terminal());
        tokio::time::timeout(Duration::from_secs(20), end).await.expect("it ends").expect("the log lives");
    });
    let mut client = Client::connect(broker.addr);
    let events = client.get(&format!("/g/team/v1/jobs/{id}/events")).text();
    let records = events.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let deltas = records.filter(|record| record["kind"] == "delta" && record["part"] != "reasoning");
    let answered = deltas.filter_map(|record| record["text"].as_str().map(str::to_owned)).collect();
    (client.get(&format!("/g/team/v1/jobs/{id}")).json(), answered)
}

#[test]
fn what_can_be_read_is_a_job_and_its_client_gets_the_providers_bytes() {
    const SSE: &str = "text/event-stream";
    const JSON: &str = "application/json; charset=UTF-8";
    let gemini = "gemini-compatible";
    let whole = r#" {"candidates": [{"content": {"parts": [{"text": "Hello world"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2}}"#;
    let cohere = r#"{"id":"c","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"Hello world"}]},"usage":{"tokens":{"input_tokens":7,"output_tokens":2}}}"#;
    let converse = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hello world"}]}},"stopReason":"end_turn","usage":{"inputTokens":7,"outputTokens":2,"totalTokens":9}}"#;
    let ollama = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Hello\"},\"done\":false}\n{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\" world\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":7,\"eval_count\":2}\n";
    let chat = r#"{"model":"gemini-x","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    let embed = r#"{"embedding":{"values":[0.5,1]},"usageMetadata":{"promptTokenCount":7}}"#;
    let streamed = format!("{HELLO}: a comment\r\n\r\n{WORLD}\n\n");
    let list =
        format!("[{},\n{}]", HELLO.trim_start_matches("data: ").trim(), WORLD.trim_start_matches("data: ").trim());
    for (kind, path, body, (mime, answer), answered) in [
        (gemini, "v1beta/models/gemini-x:streamGenerateContent?alt=sse", BODY, (SSE, &*streamed), "Hello world"),
        (gemini, "v1beta/models/gemini-x:streamGenerateContent", BODY, (JSON, &list), "Hello world"),
        (gemini, "v1/models/gemini-x:generateContent", BODY, (JSON, whole), "Hello world"),
        (gemini, "v1beta/models/gemini-x:embedContent", r#"{"content":{}}"#, (JSON, embed), ""),
        ("cohere", "v2/chat", chat, (JSON, cohere), "Hello world"),
        ("ollama", "api/chat", chat, ("application/x-ndjson", ollama), "Hello world"),
        ("aws-bedrock", "model/gemini-x/converse", r#"{"messages":[]}"#, (JSON, converse), "Hello world"),
    ] {
        let http = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {mime}\r\nx-ratelimit-left: 3\r\nconnection: close\r\n\r\n{answer}"
        );
        let (addr, received) = provider(http.leak());
        let broker = broker(kind, addr);
        let mut client = Client::connect(broker.addr);
        let headers = [("cf-aig-metadata", r#"{"team":"red"}"#), ("idempotency-key", "theirs")];
        let address = format!("/v1/acc/team/mine/{path}");
        let reply = client.ask("POST", &address, &headers, body.as_bytes());
        assert_eq!((reply.status, &*reply.text(), reply.whole), (200, answer, true), "{path}");
        assert_eq!((reply.header("content-type"), reply.header("x-ratelimit-left")), (mime, "3"), "{path}");
        assert_eq!((reply.header("cf-aig-provider"), reply.header("cf-aig-model")), ("mine", "gemini-x"), "{path}");
        let request_text = received.recv().unwrap();
        assert!(
            request_text.starts_with(&format!("POST /{path} HTTP/1.1\r\n")) && request_text.ends_with(body),
            "{request_text}"
        );
        assert!(request_text.contains("idempotency-key: theirs\r\n"), "{request_text}");

        let id = reply.header("forebay-job-id");
        assert_eq!(reply.header("cf-aig-log-id"), id);
        let (job, text) = ended(&broker, id);
        assert_eq!((&job["state"], &*text), (&json!("completed"), answered), "{path} {job}");
        assert_eq!((&job["gateway"], &job["model"]), (&json!("team"), &json!("mine/gemini-x")));
        assert_eq!((&job["usage"]["input_tokens"], &job["attempts"]), (&json!(7), &json!(1)), "{path} {job}");
        client.post("/v1/costs/rebuild", "");
        let costs = client.get("/v1/costs?by=metadata.team&by=model").json();
        let usd = if answered.is_empty() { "0.000007" } else { "0.000027" };
        assert_eq!(job["cost"], json!({"usd": usd, "priced": true}), "{path} {job}");
        assert_eq!(costs["total"]["usd"], json!(usd), "{path} {costs}");
        assert!(costs.to_string().contains("red"), "{costs}");
    }
}

#[test]
fn what_went_wrong_is_told_in_the_providers_words_and_is_a_failed_job() {
    let limited = "{\"error\": {\"code\": 429, \"message\": \"slow down\", \"status\": \"RESOURCE_EXHAUSTED\"}}";
    let chunk = format!("{:x}\r\n{HELLO}\r\n", HELLO.len());
    for (head, body, (status, whole), code) in [
        ("429 Too Many\r\nretry-after: 7\r\nconnection: close", limited, (429, true), "provider_rate_limited"),
        ("200 OK\r\ncontent-type: application/json\r\nconnection: close", "<html>", (200, true), ""),
        ("200 OK\r\ncontent-type: application/json\r\nconnection: close", "{}", (200, true), "provider_truncated"),
        ("200 OK\r\ncontent-type: text/event-stream\r\nconnection: close", HELLO, (200, true), "provider_truncated"),
        (
            "200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked",
            &chunk,
            (200, false),
            "provider_truncated",
        ),
    ] {
        let (addr, received) = provider(format!("HTTP/1.1 {head}\r\n\r\n{body}").leak());
        let broker = broker("gemini-compatible", addr);
        let mut client = Client::connect(broker.addr);
        let reply = client.post(PATH, BODY);
        let expected = if whole { body } else { HELLO };
        assert_eq!((reply.status, &*reply.text(), reply.whole), (status, expected, whole), "{head} {body}");
        let (job, _) = ended(&broker, reply.header("forebay-job-id"));
        assert_eq!((&job["state"], &job["attempts"]), (&json!("failed"), &json!(1)), "{job}");
        assert!(code.is_empty() || job["error"]["code"] == code, "{head} {job}");
        assert!(received.recv().is_ok() && received.try_recv().is_err(), "it is asked once");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = broker("gemini-compatible", nobody);
    let mut client = Client::connect(broker.addr);
    let reply = client.post(PATH, BODY);
    assert_eq!((reply.status, &*reply.error().1), (502, "provider_unavailable"), "{}", reply.text());
    assert_eq!(ended(&broker, reply.header("forebay-job-id")).0["state"], "failed");
    for (options, param) in [
        (r#"{"fallbacks":["echo"]}"#, "options.fallbacks"),
        (r#"{"background":true}"#, "options.background"),
        (r#"{"hedge_ms":5}"#, "options.hedge_ms"),
        (r#"{"nope":5}"#, "forebay-options"),
    ] {
        let refused = client.ask("POST", PATH, &[("forebay-options", options)], BODY.as_bytes());
        assert_eq!((refused.status, &*refused.error().2), (400, param), "{}", refused.text());
    }
}

#[test]
fn a_client_that_leaves_ends_the_call_only_if_the_job_says_so() {
    for (options, state) in [("{}", State::Completed), (r#"{"on_disconnect":"cancel"}"#, State::Cancelled)] {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let (addr, go_on, gone) = paced(format!("{head}{HELLO}"));
        let broker = broker("gemini-compatible", addr);
        let mut client = Client::connect(broker.addr);
        client.send(crate::client::request("POST", PATH, &[("forebay-options", options)], BODY.as_bytes()));
        let (_, headers) = client.head().unwrap();
        assert_eq!(client.chunks(HELLO.len()).0, HELLO.as_bytes(), "as it comes");
        drop(client);
        if state == State::Cancelled {
            gone.recv_timeout(Duration::from_secs(20)).expect("the provider's socket is closed");
        } else {
            go_on.send(WORLD).unwrap();
            drop(go_on);
        }
        let id = &headers["forebay-job-id"];
        let (job, answered) = ended(&broker, id);
        assert_eq!(broker.stream(id).tail().state, state, "{job}");
        assert_eq!(answered, if state == State::Completed { "Hello world" } else { "Hello" });
        assert_ne!(job["cost"]["usd"], json!("0"), "what was given is paid for: {job}");
    }
}

#[test]
fn a_key_of_ones_own_is_used_and_says_nothing_about_the_provider() {
    let (addr, received) = provider("HTTP/1.1 401 No\r\nconnection: close\r\n\r\n{}");
    let broker = broker("gemini-compatible", addr);
    let mut client = Client::connect(broker.addr);
    let mut targets = |headers: &[(&str, &str)], key: &str| {
        let reply = client.ask("POST", PATH, headers, BODY.as_bytes());
        assert_eq!((reply.status, reply.text()), (401, "{}".to_owned()));
        let (job, _) = ended(&broker, reply.header("forebay-job-id"));
        assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("provider_auth")), "{job}");
        let request_text = received.recv().unwrap();
        assert_eq!(request_text.matches("x-goog-api-key: ").count(), 1, "{request_text}");
        assert!(request_text.contains(&format!("x-goog-api-key: {key}\r\n")), "{request_text}");
        let providers = client.get("/v1/providers").json();
        let mine = providers["data"].as_array().unwrap().iter().find(|one| one["id"] == "mine").unwrap();
        mine["targets"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(targets(&[("x-goog-api-key", "theirs")], "theirs"), 0);
    assert_eq!(targets(&[], "ours"), 1, "it is known of ours");
}

#[test]
fn who_has_all_of_an_answer_ends_no_job_by_going() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let (addr, _told) = provider(format!("{head}{HELLO}{WORLD}").leak());
    let broker = broker("gemini-compatible", addr);
    for _ in 0..20 {
        let mut client = Client::connect(broker.addr);
        let cancel = [("forebay-options", r#"{"on_disconnect":"cancel"}"#)];
        let reply = client.ask("POST", PATH, &cancel, BODY.as_bytes());
        drop(client);
        assert_eq!(ended(&broker, reply.header("forebay-job-id")).0["state"], "completed");
    }
}
