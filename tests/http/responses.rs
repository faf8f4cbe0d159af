//! OpenAI's Responses over a socket: what its clients ask for, resume, cancel and forget.

use forebay::job::State;
use serde_json::{Value, json};

use crate::broker::{TestBroker, completed, text};
use crate::client::{Client, Response, request};

fn request_text(script: Value, more: Value) -> String {
    let mut body = json!({"model": "echo", "input": "Hi", "script": script});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

fn blocks(answer: &Response) -> Vec<String> {
    answer.text().split_inclusive("\n\n").map(str::to_owned).collect()
}

fn kinds(answer: &Response) -> Vec<String> {
    answer.text().lines().filter_map(|line| line.strip_prefix("event: response.")).map(str::to_owned).collect()
}

fn output_text(response: &Value) -> String {
    let parts = response["output"].as_array().unwrap().iter().flat_map(|item| item["content"].as_array().cloned());
    parts.flatten().filter_map(|part| part["text"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_response_is_answered_whole_streamed_or_in_the_background_and_read_again() {
    let broker = TestBroker::start("");
    let mut client = Client::connect(broker.addr);
    let more = json!({"instructions": "be brief", "metadata": {"k": "v"}, "temperature": 0.5});
    let whole = client.post("/v1/responses", &request_text(json!([{"text": ["Hel", "lo"]}]), more.clone()));
    assert_eq!(whole.status, 200, "{}", whole.text());
    let response = whole.json();
    let id = response["id"].as_str().unwrap();
    assert_eq!(
        (id, whole.header("forebay-provider")),
        (&*format!("resp_{}", whole.header("forebay-job-id")), "scripted")
    );
    assert_eq!((&response["status"], output_text(&response)), (&json!("completed"), "Hello".into()));
    for (name, value) in more.as_object().unwrap() {
        assert_eq!(&response[name], value);
    }
    for name in [id, whole.header("forebay-job-id")] {
        assert_eq!(client.get(&format!("/v1/responses/{name}")).text(), whole.text(), "the same bytes again");
    }
    let streamed =
        client.post("/v1/responses", &request_text(json!([{"text": ["Hel", "lo"]}]), json!({"stream": true})));
    assert_eq!((streamed.status, streamed.header("content-type"), streamed.whole), (200, "text/event-stream", true));
    assert_eq!(kinds(&streamed).last().map(String::as_str), Some("completed"));
    let path = format!("/v1/responses/resp_{}", streamed.header("forebay-job-id"));
    let received = blocks(&streamed);
    assert_eq!(client.get(&format!("{path}?stream=true")).text(), streamed.text());
    for seen in 0..received.len() {
        let rest = client.get(&format!("{path}?starting_after={seen}&stream=true"));
        assert_eq!((rest.text(), rest.whole), (received[seen + 1..].concat(), true), "after {seen}");
    }
    let beyond = client.get(&format!("{path}?stream=true&starting_after={}", received.len()));
    assert_eq!(beyond.error(), (400, "invalid".into(), "starting_after".into()));
    let chat = json!({"model": "echo", "messages": [{"role": "user", "content": "by another entrance"}]});
    let chat = client.post("/v1/chat/completions", &chat.to_string());
    let read = client.get(&format!("/v1/responses/{}", chat.header("forebay-job-id"))).json();
    assert_eq!(output_text(&read).trim(), "by another entrance");
    let background = client.post("/v1/responses", &request_text(json!(["stall"]), json!({"background": true})));
    assert_eq!((background.status, &background.json()["background"]), (200, &json!(true)));
    assert!(["queued", "in_progress"].contains(&background.json()["status"].as_str().unwrap()));
    let job = background.header("forebay-job-id").to_owned();
    let deleted = client.ask("DELETE", &format!("/v1/responses/resp_{job}"), &[], b"");
    assert_eq!(deleted.json(), json!({"id": format!("resp_{job}"), "object": "response", "deleted": true}));
    assert_eq!(client.get(&format!("/v1/responses/resp_{job}")).error().1, "not_found", "it was cancelled first");
}

#[test]
fn a_live_response_is_resumed_at_every_event() {
    let broker = TestBroker::start("");
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    let mut whole = String::new();
    for piece in ["a", "b\n\n", "🦀"] {
        broker.append(writer.stream(), vec![text(piece)]);
    }
    let mut client = Client::connect(broker.addr);
    client.send(request("GET", "/v1/responses/j?stream=true", &[], b""));
    assert_eq!(client.head().unwrap().0, 200);
    while whole.matches("output_text.delta\n").count() < 3 || !whole.ends_with("\n\n") {
        whole.push_str(&String::from_utf8(client.chunks(1).0).unwrap());
    }
    let received = whole.matches("\n\n").count();
    let ahead = Client::connect(broker.addr).get(&format!("/v1/responses/j?stream=true&starting_after={received}"));
    assert_eq!(ahead.error(), (400, "invalid".into(), "starting_after".into()));
    let mut readers = Vec::new();
    for seen in 0..received {
        let mut client = Client::connect(broker.addr);
        let path = format!("/v1/responses/j?stream=true&starting_after={seen}");
        client.send(request("GET", &path, &[], b""));
        assert_eq!(client.head().unwrap().0, 200, "the head does not wait");
        readers.push((seen, client));
    }
    broker.append(writer.stream(), vec![text("!"), completed()]);
    let whole = blocks(&Client::connect(broker.addr).get("/v1/responses/j?stream=true"));
    for (seen, mut client) in readers {
        let (rest, ended) = client.chunks(usize::MAX);
        assert_eq!((String::from_utf8(rest).unwrap(), ended), (whole[seen + 1..].concat(), true), "after {seen}");
    }
}

#[test]
fn a_failure_before_the_answer_is_a_status_and_later_an_event() {
    let broker = TestBroker::start("");
    let once = [("forebay-options", r#"{"retry":{"max_attempts":1},"on_stream_failure":"fail"}"#)];
    let mut client = Client::connect(broker.addr);
    for (status, expected, kind) in
        [(400, 400, "invalid_request_error"), (429, 429, "rate_limit_error"), (500, 502, "server_error")]
    {
        for more in [json!({"stream": true}), json!({})] {
            let body = request_text(json!([{"status": {"status": status}}]), more);
            let answer = client.ask("POST", "/v1/responses", &once, body.as_bytes());
            assert_eq!(
                (answer.status, answer.json()["error"]["type"].as_str()),
                (expected, Some(kind)),
                "{}",
                answer.text()
            );
            assert_eq!(answer.header("x-should-retry"), "false");
            let read = client.get(&format!("/v1/responses/{}", answer.header("forebay-job-id"))).json();
            assert_eq!((&read["status"], read["error"].is_object()), (&json!("failed"), true));
        }
    }
    let body = request_text(json!([{"text": "a"}, {"delay_ms": 20}, "cut"]), json!({"stream": true}));
    let answer = client.ask("POST", "/v1/responses", &once, body.as_bytes());
    assert_eq!((answer.status, answer.whole, kinds(&answer).last().map(String::as_str)), (200, true, Some("failed")));
    let anew = [("forebay-options", r#"{"on_stream_failure":"restart","retry":{"max_attempts":2,"delay_ms":1}}"#)];
    let script = json!({"attempts": [[{"text": "old"}, {"delay_ms": 20}, "cut"], [{"text": "new"}]]});
    let answer = client.ask("POST", "/v1/responses", &anew, request_text(script, json!({"stream": true})).as_bytes());
    assert!(!answer.whole && answer.text().contains(r#"data: {"error":{"#), "{}", answer.text());
    let job = answer.header("forebay-job-id");
    let mut tail = broker.stream(job).watch();
    broker.wait(async { tail.wait_for(|tail| tail.state.is_terminal()).await.map(drop) }).unwrap();
    let read = Client::connect(broker.addr).get(&format!("/v1/responses/{job}"));
    assert_eq!(output_text(&read.json()), "new", "the object has it");
}

#[test]
fn a_silent_response_begins_with_a_sign_of_life_and_fails_in_its_stream() {
    let broker = TestBroker::start("[server]\nheartbeat_ms = 20");
    let body = request_text(json!([{"delay_ms": 100}, {"status": {"status": 400}}]), json!({"stream": true}));
    let answer = Client::connect(broker.addr).post("/v1/responses", &body);
    let text = answer.text();
    assert!(answer.whole && text.starts_with(": still here\nevent: response.created\n"), "{text}");
    assert_eq!(kinds(&answer), ["created", "in_progress", "failed"]);
    assert!(
        text.lines().all(|line| line.is_empty() || [": ", "event: ", "data: "].iter().any(|by| line.starts_with(by)))
    );
}

#[test]
fn three_turns_go_on_from_each_other_and_only_from_what_is_kept() {
    let broker = TestBroker::start(&crate::key("agents", "alpha", "gateways = [\"default\", \"team\"]"));
    let mut client = Client::connect(broker.addr);
    let key = ("authorization", "Bearer alpha");
    let mut ask = |path: &str, more: Value| {
        let mut body = json!({"model": "echo"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.ask("POST", path, &[key], body.to_string().as_bytes())
    };
    let first = ask("/v1/responses", json!({"input": "one", "instructions": "first rules"})).json();
    let second =
        ask("/v1/responses", json!({"input": "two", "previous_response_id": first["id"], "instructions": "rules"}))
            .json();
    let reference =
        json!([{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "three"}]);
    let third = ask("/v1/responses", json!({"input": reference, "previous_response_id": second["id"]})).json();
    assert_eq!(output_text(&third).trim(), "three", "{third}");
    let unkept = ask("/v1/responses", json!({"input": "x", "store": false})).json();
    assert_eq!((&unkept["store"], &unkept["instructions"]), (&json!(false), &Value::Null));
    let path = format!("/v1/responses/{}/input_items?order=asc", third["id"].as_str().unwrap());
    for (path, previous) in [
        ("/v1/responses", json!("resp_nobody")),
        ("/v1/responses", unkept["id"].clone()),
        ("/g/team/v1/responses", first["id"].clone()),
    ] {
        let answer = ask(path, json!({"input": "x", "previous_response_id": previous}));
        let expected = (400, "previous_response_not_found".into(), "previous_response_id".into());
        assert_eq!(answer.error(), expected, "{previous}");
        assert_eq!(answer.header("x-should-retry"), "false");
    }
    let items = client.ask("GET", &path, &[key], b"").json();
    let answered: Vec<_> = items["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["content"][0]["text"].as_str().unwrap().trim())
        .collect();
    assert_eq!(answered, ["one", "one", "two", "two", "one", "three"], "and no rules of another response");
    let items =
        client.ask("GET", &format!("/v1/responses/{}/input_items", unkept["id"].as_str().unwrap()), &[key], b"");
    assert_eq!(items.error().1, "not_found");
}

#[test]
fn a_response_is_cancelled_in_the_middle_and_unknown_ones_look_alike() {
    let keys = crate::key("agents", "alpha", "") + &crate::key("others", "beta", "gateways = [\"team\"]");
    let broker = TestBroker::start(&keys);
    let key = ("authorization", "Bearer alpha");
    let mut client = Client::connect(broker.addr);
    let body = request_text(json!([{"text": "a"}, "stall"]), json!({"stream": true, "background": true}));
    client.send(request("POST", "/v1/responses", &[key], body.as_bytes()));
    let (_, headers) = client.head().unwrap();
    let job = headers["forebay-job-id"].clone();
    let mut received = String::new();
    while !received.contains("output_text.delta\n") {
        received.push_str(&String::from_utf8(client.chunks(1).0).unwrap());
    }
    let mut other = Client::connect(broker.addr);
    for path in [format!("/v1/responses/resp_{job}"), "/v1/responses/resp_nobody".to_owned()] {
        for (method, more) in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")] {
            let answer = other.ask(method, &format!("{path}{more}"), &[("authorization", "Bearer beta")], b"");
            assert_eq!(answer.error(), (404, "not_found".into(), "response_id".into()), "{method} {path}{more}");
        }
    }
    for _ in 0..2 {
        let cancelled = other.ask("POST", &format!("/v1/responses/resp_{job}/cancel"), &[key], b"");
        assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")), "{}", cancelled.text());
        assert_eq!(output_text(&cancelled.json()), "a");
    }
    let (rest, whole) = client.chunks(usize::MAX);
    assert!(whole && String::from_utf8(rest).unwrap().contains(r#""status":"cancelled""#));
    // In the background no disconnect ends it, whatever its options are.
    let leave = [key, ("forebay-options", r#"{"on_disconnect":"cancel"}"#)];
    let body = request_text(
        json!([{"text": "a"}, {"delay_ms": 150}, {"text": "b"}]),
        json!({"stream": true, "background": true}),
    );
    let mut leaver = Client::connect(broker.addr);
    leaver.send(request("POST", "/v1/responses", &leave, body.as_bytes()));
    let job = leaver.head().unwrap().1["forebay-job-id"].clone();
    drop(leaver);
    let mut tail = broker.stream(&job).watch();
    let end = broker.wait(async { tail.wait_for(|tail| tail.state.is_terminal()).await.map(|tail| tail.state) });
    assert_eq!(end.unwrap(), State::Completed);
}
