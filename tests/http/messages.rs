//! Anthropic's dialect over a socket, and OpenAI's older completions: statuses, headers, ends.

use serde_json::{Value, json};

use crate::broker::TestBroker;
use crate::client::Client;

const ONCE: (&str, &str) = ("forebay-options", r#"{"retry":{"max_attempts":1},"on_stream_failure":"fail"}"#);

fn request_text(script: Value, more: Value) -> String {
    let mut body = json!({"model": "echo", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]});
    let fields = body.as_object_mut().unwrap();
    if !script.is_null() {
        fields.insert("script".into(), script);
    }
    fields.extend(more.as_object().unwrap().clone());
    body.to_string()
}

/// The events of a stream; each must be whole.
fn events(body: &str) -> Vec<Value> {
    let read = |event: &str| {
        let (name, data) = event.split_once("\ndata: ").unwrap_or_else(|| panic!("{event:?}"));
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    body.split_terminator("\n\n").map(read).collect()
}

fn kinds(events: &[Value]) -> String {
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    kinds.join(" ")
}

#[test]
fn a_message_is_answered_whole_and_as_a_stream() {
    let broker = TestBroker::start("");
    let script = json!([
        {"reasoning": "hm"}, {"text": "Let me see."},
        {"tool_call": {"index": 0, "id": "call_a", "name": "weather", "arguments": ["{\"city\":", "\"Paris\"}"]}},
        {"tool_call": {"index": 1, "id": "call_b", "name": "weather", "arguments": "{\"city\":\"Rome\"}"}},
        {"finish": "tool_calls"}, {"usage": {"input_tokens": 12, "output_tokens": 5, "cached_input_tokens": 4}},
    ]);
    let content = json!([
        {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_b", "name": "weather", "input": {"city": "Rome"}},
    ]);
    let usage = json!({"input_tokens": 8, "cache_creation_input_tokens": null, "cache_read_input_tokens": 4, "output_tokens": 5});
    for path in ["/v1/messages", "/g/team/v1/messages?beta=true"] {
        let mut client = Client::connect(broker.addr);
        let whole = client.post(path, &request_text(script.clone(), json!({})));
        let job = whole.header("forebay-job-id").to_owned();
        assert_eq!(
            whole.json(),
            json!({"id": format!("msg_{job}"), "type": "message", "role": "assistant", "model": "echo", "content": content,
                   "stop_reason": "tool_use", "stop_sequence": null, "usage": usage})
        );
        assert_eq!(whole.header("request-id"), whole.header("x-request-id"));
        assert_eq!((whole.header("forebay-provider"), whole.header("forebay-attempts")), ("scripted", "1"));
        let stream = client.post(path, &request_text(script.clone(), json!({"stream": true})));
        assert_eq!((stream.status, stream.header("content-type"), stream.whole), (200, "text/event-stream", true));
        let events = events(&stream.text());
        let block =
            |pieces: usize| format!("content_block_start {}content_block_stop ", "content_block_delta ".repeat(pieces));
        let expected =
            format!("message_start {}{}{}{}message_delta message_stop", block(1), block(1), block(2), block(1));
        assert_eq!(kinds(&events), expected);
        let end = &events[events.len() - 2];
        assert_eq!((&end["delta"]["stop_reason"], &end["usage"]), (&"tool_use".into(), &usage));
    }
}

#[test]
fn a_failure_before_the_first_block_is_a_status_and_later_an_error_and_a_cut() {
    let broker = TestBroker::start("");
    let stream = json!({"stream": true});
    for (status, expected, kind) in [
        (400, 400, "invalid_request_error"),
        (401, 502, "api_error"),
        (404, 404, "not_found_error"),
        (429, 429, "rate_limit_error"),
        (500, 502, "api_error"),
        (529, 529, "overloaded_error"),
    ] {
        for more in [&stream, &json!({})] {
            let body = request_text(json!([{"status": {"status": status, "retry_after_ms": 1500}}]), more.clone());
            let answer = Client::connect(broker.addr).ask("POST", "/v1/messages", &[ONCE], body.as_bytes());
            let answered = answer.json();
            assert_eq!(
                (answer.status, &answered["type"], &answered["error"]["type"]),
                (expected, &"error".into(), &kind.into())
            );
            assert_eq!(answered["request_id"], answer.header("request-id"));
            assert_eq!((answer.header("x-should-retry"), answer.header("forebay-provider")), ("false", "scripted"));
            assert!(answered["error"]["code"].is_string() && !answer.header("forebay-job-id").is_empty());
        }
    }
    let mut client = Client::connect(broker.addr);
    let body = request_text(json!([{"text": "a"}, {"delay_ms": 20}, "cut"]), stream);
    let answer = client.ask("POST", "/v1/messages", &[ONCE], body.as_bytes());
    let events = events(&answer.text());
    assert_eq!(kinds(&events), "message_start content_block_start content_block_delta error");
    assert_eq!(events[3]["error"]["code"], "provider_truncated");
    assert!((answer.status, answer.whole) == (200, false) && client.is_closed(), "it is not ended politely");
}

#[test]
fn bad_input_is_named_as_the_client_wrote_it() {
    let broker = TestBroker::start(&crate::key("agents", "alpha", ""));
    let mut client = Client::connect(broker.addr);
    let key = ("x-api-key", "alpha");
    let good = request_text(Value::Null, json!({"metadata": {"user_id": "u"}}));
    for (path, headers, body, expected) in [
        ("messages", vec![], good.clone(), (401, "authentication_error", "")),
        ("messages", vec![("authorization", "Bearer beta")], good.clone(), (401, "authentication_error", "")),
        ("messages", vec![key], "{".into(), (400, "invalid_request_error", "")),
        ("messages", vec![key], good.replace("max_tokens", "max"), (400, "invalid_request_error", "max_tokens")),
        ("messages", vec![key], good.replace("echo", "nobody"), (404, "not_found_error", "model")),
        (
            "messages",
            vec![key, ("content-type", "text/plain")],
            good.clone(),
            (400, "invalid_request_error", "content-type"),
        ),
        ("messages?x=1", vec![key], good.clone(), (400, "invalid_request_error", "x")),
        ("messages/count_tokens", vec![], good.clone(), (401, "authentication_error", "")),
        ("messages/count_tokens", vec![key], r#"{"model":"echo"}"#.into(), (400, "invalid_request_error", "messages")),
    ] {
        let answer = client.ask("POST", &format!("/v1/{path}"), &headers, body.as_bytes());
        let answered = answer.json();
        let param = answered["error"]["param"].as_str().unwrap_or_default();
        let kind = answered["error"]["type"].as_str().unwrap_or_default();
        assert_eq!((answer.status, kind, param), expected, "{path} {body}: {}", answer.text());
        assert_eq!((answered["type"].as_str(), answer.header("x-should-retry")), (Some("error"), "false"));
        assert_eq!(answered["request_id"], answer.header("request-id"));
    }
    let tagged = [
        key,
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "a-1,b-2"),
        ("idempotency-key", "once"),
        ("x-request-id", "mine"),
    ];
    let first = client.ask("POST", "/v1/messages", &tagged, good.as_bytes());
    assert_eq!((first.status, first.header("forebay-cache"), first.header("request-id")), (200, "miss", "mine"));
    let again = client.ask("POST", "/v1/messages", &tagged, good.as_bytes());
    assert_eq!((again.header("forebay-cache"), again.text()), ("join", first.text()), "the same bytes again");
    let other = client.ask("POST", "/v1/messages", &tagged, good.replace("99", "98").as_bytes());
    assert_eq!((other.status, &other.json()["error"]["code"]), (409, &"conflict".into()));
}

#[test]
fn a_silent_answer_pings() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 20");
    let body = request_text(
        json!([{"delay_ms": 100}, {"text": "a"}, {"delay_ms": 100}, {"text": "b"}]),
        json!({"stream": true}),
    );
    let answer = Client::connect(broker.addr).post("/v1/messages", &body);
    let kinds = kinds(&events(&answer.text()));
    assert!(answer.whole && kinds.starts_with("ping ") && kinds.ends_with("message_stop"), "{kinds}");
    assert!(kinds.contains("content_block_delta ping") && !kinds.contains("message_stop ping"), "{kinds}");
    let fails = request_text(json!([{"delay_ms": 100}, {"status": {"status": 400}}]), json!({"stream": true}));
    let answer = Client::connect(broker.addr).post("/v1/messages", &fails);
    assert_eq!((answer.status, answer.whole), (200, false), "the head was sent before");
    assert_eq!(events(&answer.text()).last().unwrap()["error"]["type"], "invalid_request_error");
}

#[test]
fn tokens_are_counted_without_a_job() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let count = |client: &mut Client, more: Value| {
        let answer = client.post("/v1/messages/count_tokens", &request_text(Value::Null, more));
        assert_eq!((answer.status, answer.header("forebay-job-id")), (200, ""), "{}", answer.text());
        answer.json()["input_tokens"].as_u64().unwrap()
    };
    let short = count(&mut client, json!({}));
    let long = count(&mut client, json!({"system": "You are a helpful assistant that answers in verse."}));
    let tools = json!({"tools": [{"name": "weather", "input_schema": {"type": "object"}}]});
    assert!((3..12).contains(&short) && long > short + 8 && count(&mut client, tools) > short, "{short} {long}");
    assert_eq!(client.get("/v1/jobs").json()["jobs"].as_array().map(Vec::len).unwrap_or_default(), 0);
}

#[test]
fn an_older_completion_is_a_chat_of_one_message() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let whole = client.post("/v1/completions", r#"{"model":"echo","prompt":["Hello big world"],"max_tokens":5}"#);
    let answered = whole.json();
    assert_eq!((whole.status, answered["object"].as_str()), (200, Some("text_completion")), "{}", whole.text());
    assert_eq!(answered["id"], format!("cmpl-{}", whole.header("forebay-job-id")));
    assert_eq!(answered["choices"][0]["text"].as_str().map(str::trim), Some("Hello big world"));
    let stream = client.post("/v1/completions", r#"{"model":"echo","prompt":"Hello big world","stream":true}"#);
    let text = stream.text();
    assert!(
        stream.whole && text.ends_with("data: [DONE]\n\n") && text.contains(r#""object":"text_completion""#),
        "{text}"
    );
    let refused = client.post("/v1/completions", r#"{"model":"echo","prompt":"Hi","echo":true}"#);
    assert_eq!(refused.error(), (400, "unsupported".into(), "echo".into()));
}
