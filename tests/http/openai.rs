//! OpenAI's dialect over a socket: the statuses, headers and ends that its libraries live by.

use forebay::job::State;
use forebay::log::{ListQuery, Streams};
use serde_json::{Value, json};

use crate::broker::TestBroker;
use crate::client::{Client, request};

fn request_text(script: Value, more: Value) -> String {
    let mut body = json!({"model": "echo", "messages": [{"role": "user", "content": "Hi"}], "script": script});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

#[test]
fn a_failure_before_the_first_word_is_a_status_and_later_cuts_the_stream() {
    let broker = TestBroker::start("");
    let once = [("forebay-options", r#"{"retry":{"max_attempts":1},"on_stream_failure":"fail"}"#)];
    let stream = json!({"stream": true});
    for (status, expected, kind) in [
        (400, 400, "invalid_request_error"),
        (401, 502, "server_error"),
        (404, 404, "invalid_request_error"),
        (429, 429, "rate_limit_error"),
        (500, 502, "server_error"),
    ] {
        for more in [&stream, &json!({})] {
            let mut client = Client::connect(broker.addr);
            let body = request_text(json!([{"status": {"status": status, "retry_after_ms": 1500}}]), more.clone());
            let answer = client.ask("POST", "/v1/chat/completions", &once, body.as_bytes());
            assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (expected, Some(kind)), "{answer:?}");
            assert_eq!(answer.header("x-should-retry"), "false");
            assert!(!answer.header("forebay-job-id").is_empty() && !answer.header("x-request-id").is_empty());
            assert_eq!(answer.header("forebay-provider"), "scripted");
        }
    }
    let mut client = Client::connect(broker.addr);
    let body = request_text(json!([{"text": "a"}, {"delay_ms": 20}, "cut"]), stream);
    let answer = client.ask("POST", "/v1/chat/completions", &once, body.as_bytes());
    let text = answer.text();
    assert_eq!((answer.status, answer.header("content-type"), answer.whole), (200, "text/event-stream", false));
    assert!(text.contains(r#""content":"a""#) && text.contains(r#""code":"provider_truncated""#), "{text}");
    assert!(!text.contains("[DONE]") && text.lines().all(|line| line.is_empty() || line.starts_with("data: ")));
    assert!(client.is_closed(), "it is not ended politely");
}

#[test]
fn bad_input_is_named_as_the_client_wrote_it() {
    let broker = TestBroker::start(&crate::key("agents", "alpha", ""));
    let mut client = Client::connect(broker.addr);
    let key = ("authorization", "Bearer alpha");
    let good = json!({"model": "echo", "messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "b"}});
    for (path, headers, body, expected) in [
        ("chat/completions", vec![], good.to_string(), (401, "unauthenticated", "")),
        ("chat/completions", vec![key], "{".into(), (400, "invalid", "")),
        ("chat/completions", vec![key], json!({"model": "echo"}).to_string(), (400, "invalid", "messages")),
        ("chat/completions", vec![key], good.to_string().replace("echo", "nobody"), (404, "unknown_model", "model")),
        (
            "chat/completions",
            vec![key, ("forebay-options", r#"{"background":true}"#)],
            good.to_string(),
            (400, "unsupported", "options.background"),
        ),
        (
            "chat/completions",
            vec![key, ("forebay-metadata", "x")],
            good.to_string(),
            (400, "invalid", "forebay-metadata"),
        ),
        (
            "chat/completions",
            vec![key, ("content-type", "text/plain")],
            good.to_string(),
            (400, "invalid", "content-type"),
        ),
        ("chat/completions?x=1", vec![key], good.to_string(), (400, "invalid", "x")),
        ("embeddings", vec![key], good.to_string(), (400, "invalid", "input")),
    ] {
        let answer = client.ask("POST", &format!("/v1/{path}"), &headers, body.as_bytes());
        let (status, code, param) = answer.error();
        assert_eq!((status, &*code, &*param), expected, "{path} {body}: {}", answer.text());
        assert!(answer.json()["error"]["type"].is_string());
        assert_eq!(answer.header("x-should-retry"), "false");
    }
    let tagged = [key, ("forebay-metadata", r#"{"teamId":"AI"}"#), ("idempotency-key", "once")];
    let first = client.ask("POST", "/v1/chat/completions", &tagged, good.to_string().as_bytes());
    assert_eq!((first.status, first.header("forebay-cache")), (200, "miss"), "{}", first.text());
    let again = client.ask("POST", "/v1/chat/completions", &tagged, good.to_string().as_bytes());
    assert_eq!((again.header("forebay-cache"), again.text()), ("join", first.text()), "the same bytes again");
    let job = client.ask("GET", &format!("/v1/jobs/{}", first.header("forebay-job-id")), &[key], b"").json();
    assert_eq!(job["metadata"], json!({"teamId": "AI"}));
}

#[test]
fn a_silent_answer_shows_signs_of_life_that_break_no_event() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 20");
    let body = request_text(
        json!([{"delay_ms": 100}, {"text": "a"}, {"delay_ms": 100}, {"text": "b"}]),
        json!({"stream": true}),
    );
    let answer = Client::connect(broker.addr).post("/g/team/v1/chat/completions", &body);
    let text = answer.text();
    assert!(answer.whole && text.starts_with(": still here\n:") && text.ends_with("data: [DONE]\n\n"), "{text}");
    for event in text.split_terminator("\n\n") {
        let (comments, data): (Vec<&str>, Vec<&str>) = event.lines().partition(|line| line.starts_with(':'));
        assert_eq!(data.len(), 1, "comments stand before an event, never alone: {event:?} {comments:?}");
    }
    let fails = request_text(json!([{"delay_ms": 100}, {"status": {"status": 400}}]), json!({"stream": true}));
    let answer = Client::connect(broker.addr).post("/v1/chat/completions", &fails);
    assert_eq!((answer.status, answer.whole), (200, false), "the head was sent before");
    assert!(answer.text().contains(r#"data: {"error":{"code":"provider_rejected""#), "{}", answer.text());
}

#[test]
fn who_leaves_before_the_head_has_left() {
    let broker = TestBroker::start("");
    let leave = [("forebay-options", r#"{"on_disconnect":"cancel"}"#), ("idempotency-key", "left")];
    let body = request_text(json!(["stall"]), json!({"stream": true}));
    let mut client = Client::connect(broker.addr);
    client.send(request("POST", "/v1/chat/completions", &leave, body.as_bytes()));
    let stream = loop {
        let listed = broker.wait(broker.log.list(ListQuery { limit: 1, ..Default::default() }));
        match listed.unwrap().pop() {
            Some(stream) => break stream,
            None => std::thread::yield_now(),
        }
    };
    drop(client);
    let mut tail = stream.watch();
    let ended = broker.wait(async {
        let end = tail.wait_for(|tail| tail.state.is_terminal());
        tokio::time::timeout(std::time::Duration::from_secs(10), end).await.map(|tail| tail.unwrap().state)
    });
    assert_eq!(ended.ok(), Some(State::Cancelled));
}

#[test]
fn vectors_come_in_the_form_that_is_asked_for() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let floats = json!([0.5, -1.0]);
    for (given, form, expected) in [
        (floats.clone(), None, floats.clone()),
        (floats.clone(), Some("base64"), json!("AAAAPwAAgL8=")),
        (json!("AAAAPwAAgL8="), Some("base64"), json!("AAAAPwAAgL8=")),
        (json!("AAAAPwAAgL8="), Some("float"), floats.clone()),
    ] {
        let mut body = json!({"model": "echo", "input": ["a"], "script": [
            {"text": ""}, {"output": {"object": "list", "data": [{"index": 0, "embedding": given}]}},
            {"usage": {"input_tokens": 3, "output_tokens": 0}}]});
        if let Some(form) = form {
            body["encoding_format"] = form.into();
        }
        let answer = client.post("/v1/embeddings", &body.to_string());
        let data = json!([{"object": "embedding", "index": 0, "embedding": expected}]);
        let usage = json!({"prompt_tokens": 3, "total_tokens": 3});
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json(), json!({"object": "list", "data": data, "model": "echo", "usage": usage}));
        assert_eq!(answer.header("forebay-provider"), "scripted");
    }
    let many: Vec<f32> = (0..20_000).map(|n| n as f32).collect();
    let body = json!({"model": "echo", "input": "a", "encoding_format": "base64", "script": [
        {"output": {"data": [{"embedding": many}]}}]});
    let answer = client.post("/v1/embeddings", &body.to_string());
    assert_eq!(answer.json()["data"][0]["embedding"].as_str().map(str::len), Some(106_668));
    let none = client.post("/v1/embeddings", &json!({"model": "echo", "input": "no vectors"}).to_string());
    assert_eq!(none.error().1, "provider_truncated", "that there are none is the provider's fault");
}
