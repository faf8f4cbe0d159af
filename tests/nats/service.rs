//! Requests to the service.

use async_nats::{Client, HeaderMap};
use forebay::job::State;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::broker::{
    TestBroker, ask, end, header, job, json_of, long_job, next, record_of, records, soon, text, until,
};
use crate::support::NatsServer;

pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}

/// Checks one refused request: code, HTTP status and field, in headers and in the payload.
async fn refused(client: &Client, subject: &str, body: &[u8], expected: (&str, u16, Option<&str>)) {
    let mut inbox = ask(client, subject, HeaderMap::new(), body.to_vec()).await;
    let message = next(&mut inbox).await;
    let case = format!("{subject} {:.80}: {}", String::from_utf8_lossy(body), json_of(&message));
    let (code, status, param) = expected;
    assert_eq!(header(&message, "Nats-Service-Error"), code, "{case}");
    assert_eq!(header(&message, "Nats-Service-Error-Code"), status.to_string(), "{case}");
    let error = &json_of(&message)["error"];
    assert_eq!(error["code"], code, "{case}");
    assert_eq!(error["param"].as_str(), param, "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_answered_record_by_record_in_order() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let body = job(&json!([{"text": ["Hel", "lo"]}]));
    let mut inbox = ask(&client, "run", HeaderMap::new(), body.to_string()).await;
    let first = json_of(&next(&mut inbox).await);
    assert_eq!((first["reused"].as_bool(), first["id"].as_str().map(str::len)), (Some(false), Some(36)), "{first}");
    let records = records(&mut inbox, 0).await;
    assert_eq!((text(&records).as_str(), end(&records)), ("Hello", State::Completed));

    let body = json!({"id": first["id"], "cursor": first["cursor"]});
    let mut again = ask(&client, "events", HeaderMap::new(), body.to_string()).await;
    assert_eq!(crate::broker::records(&mut again, 0).await, records, "the first cursor is the start");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_wants_only_the_acceptance_gets_only_that() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let body = job(&json!([{"text": "x"}])).to_string();
    let mut inbox = ask(&client, "run", headers(&[("Forebay-Reply", "accepted")]), body).await;
    let id = json_of(&next(&mut inbox).await)["id"].clone();
    let mut events = ask(&client, "events", HeaderMap::new(), json!({"id": id}).to_string()).await;
    assert_eq!(end(&records(&mut events, 0).await), State::Completed, "it runs all the same");
    client.flush().await.unwrap();
    assert!(futures_util::FutureExt::now_or_never(inbox.next()).is_none(), "nothing came after the first message");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messagepack_is_answered_in_messagepack() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let body = rmp_serde::to_vec_named(&job(&json!([{"text": "x"}]))).unwrap();
    let mut inbox = ask(&client, "run", headers(&[("Content-Type", "application/msgpack")]), body).await;
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "completed") {
        let message = next(&mut inbox).await;
        assert_eq!(header(&message, "Content-Type"), "application/msgpack");
        let value: Value = rmp_serde::from_slice(&message.payload).unwrap();
        assert_eq!(
            value.get("kind").map(|kind| kind.as_str().unwrap()),
            message.headers.as_ref().and_then(|headers| headers.get("Forebay-Kind")).map(|kind| kind.as_str())
        );
        kinds.push(value["kind"].as_str().unwrap_or("first").to_owned());
    }
    assert_eq!(kinds.first().map(String::as_str), Some("first"));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_by_name_and_the_entrance_stays_open() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let megabyte = vec![b'['; 1_000_000];
    for (subject, body, expected) in [
        ("run", &b""[..], ("invalid", 400, None)),
        ("run", b"\xff\xfe\x00", ("invalid", 400, None)),
        ("run", b"not json", ("invalid", 400, None)),
        ("run", &megabyte, ("invalid", 400, None)),
        ("run", br#"["scripted/a","x"]"#, ("invalid", 400, None)),
        ("events", br#"["a"]"#, ("invalid", 400, None)),
        ("run", b"{}", ("invalid", 400, Some("model"))),
        ("run", br#"{"model":"scripted/a","input":"x","nope":1}"#, ("invalid", 400, Some("nope"))),
        ("run", br#"{"model":7,"input":"x"}"#, ("invalid", 400, Some("model"))),
        ("run", br#"{"model":"nobody/a","input":"x"}"#, ("unknown_model", 404, Some("model"))),
        ("run.a!", br#"{"model":"scripted/a","input":"x"}"#, ("invalid", 400, Some("gateway"))),
        ("run.b", br#"{"model":"scripted/a","input":"x","gateway":"c"}"#, ("invalid", 400, Some("gateway"))),
        ("events", b"", ("invalid", 400, Some("id"))),
        ("events", b"[[[[", ("invalid", 400, None)),
        ("events", &megabyte, ("invalid", 400, None)),
        ("events", b"\xff", ("invalid", 400, None)),
        ("events", br#"{"id":"a","from":1}"#, ("invalid", 400, Some("from"))),
        ("events", br#"{"id":"a","cursor":1}"#, ("invalid", 400, Some("cursor"))),
        ("events", br#"{"id":"a","cursor":"1"}"#, ("bad_cursor", 409, Some("cursor"))),
        ("events", br#"{"id":"unheard-of"}"#, ("not_found", 404, None)),
        ("status", br#"{"id":"a b"}"#, ("invalid", 400, Some("id"))),
        ("status", br#"{"id":"unheard-of"}"#, ("not_found", 404, None)),
        ("cancel", br#"{"id":"unheard-of"}"#, ("not_found", 404, None)),
        ("cancel", br#"{"id":"a","by":"me"}"#, ("invalid", 400, Some("by"))),
        ("models", br#"{"x":1}"#, ("invalid", 400, Some("x"))),
        ("costs", b"7", ("invalid", 400, None)),
    ] {
        refused(&client, subject, body, expected).await;
    }
    crate::broker::answering(&client).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_life_or_of_the_future_is_refused() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut body = job(&json!([{"text": "x"}]));
    body["id"] = "known".into();
    let mut inbox = ask(&client, "run", HeaderMap::new(), body.to_string()).await;
    next(&mut inbox).await;
    records(&mut inbox, 0).await;
    let status = client.request("forebay.status", r#"{"id":"known"}"#.into()).await.unwrap();
    let tail = json_of(&status)["cursor"].as_str().unwrap().to_owned();
    let (epoch, _) = tail.split_once('_').unwrap();
    for (cursor, code) in
        [(format!("{epoch}_9999999999"), "cursor_ahead"), ("ffffffff_0000000001".to_owned(), "epoch_mismatch")]
    {
        let body = json!({"id": "known", "cursor": cursor}).to_string();
        refused(&client, "events", body.as_bytes(), (code, 409, None)).await;
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_equal_submissions_are_one_job() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let body = job(&json!([{"text": "once"}])).to_string();
    let mut inboxes = Vec::new();
    for _ in 0..100 {
        inboxes.push(ask(&client, "run", headers(&[("Nats-Msg-Id", "turn-17")]), body.clone()).await);
    }
    let mut first_made_it = 0;
    let mut ids = std::collections::HashSet::new();
    for inbox in &mut inboxes {
        let first = json_of(&next(inbox).await);
        ids.insert(first["id"].to_string());
        first_made_it += u32::from(first["reused"] == false);
        assert_eq!(text(&records(inbox, 0).await), "once");
    }
    assert_eq!((ids.len(), first_made_it, broker.jobs().await), (1, 1, 1));

    let other = job(&json!([{"text": "another"}])).to_string();
    let mut inbox = ask(&client, "run", headers(&[("Nats-Msg-Id", "turn-17")]), other).await;
    assert_eq!(header(&next(&mut inbox).await, "Nats-Service-Error"), "conflict");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_from_a_cursor_and_then_live() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut inbox = ask(&client, "run", HeaderMap::new(), long_job(200, 2).to_string()).await;
    let id = json_of(&next(&mut inbox).await)["id"].clone();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..20 {
        let message = next(&mut inbox).await;
        cursor = header(&message, "Forebay-Cursor").to_owned();
        seen.push(record_of(&message));
    }
    drop(inbox);
    let body = json!({"id": id, "cursor": cursor}).to_string();
    let mut rest = ask(&client, "events", HeaderMap::new(), body).await;
    seen.extend(records(&mut rest, 20).await);
    let whole: String = (0..200).map(|n| format!("{n} ")).collect();
    assert_eq!(text(&seen), whole);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_answers_with_its_terminal() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut inbox = ask(&client, "run", HeaderMap::new(), job(&json!([{"text": "x"}, "stall"])).to_string()).await;
    let id = json_of(&next(&mut inbox).await)["id"].clone();
    until_streaming(&client, &id).await;
    let mut cancel = ask(&client, "cancel", HeaderMap::new(), json!({"id": id}).to_string()).await;
    let terminal = record_of(&next(&mut cancel).await);
    assert_eq!(terminal.event.terminal(), Some(State::Cancelled));
    let records = records(&mut inbox, 0).await;
    assert_eq!(records.last(), Some(&terminal), "its readers see the same");
    let status = client.request("forebay.status", json!({"id": id}).to_string().into()).await.unwrap();
    assert_eq!(json_of(&status)["state"], "cancelled");
    broker.stop().await;
}

async fn until_streaming(client: &Client, id: &Value) {
    until("the first output", || async {
        let status = client.request("forebay.status", json!({"id": id}).to_string().into()).await.unwrap();
        json_of(&status)["state"] == "streaming"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_nobody_listens_to_is_done_all_the_same() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut body = job(&json!([{"text": "x"}]));
    body["id"] = "alone".into();
    client.publish("forebay.run.team-a", body.to_string().into()).await.unwrap();
    until("the job", || async { broker.jobs().await == 1 }).await;
    let mut events = ask(&client, "events", HeaderMap::new(), r#"{"id":"alone"}"#).await;
    assert_eq!(end(&records(&mut events, 0).await), State::Completed);
    let status = client.request("forebay.status", r#"{"id":"alone"}"#.into()).await.unwrap();
    assert_eq!(json_of(&status)["gateway"], "team-a");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn costs_are_the_same_json_as_elsewhere() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut body = job(&json!([{"usage": {"input_tokens": 5, "output_tokens": 7}}, {"text": "x"}]));
    body["metadata"] = json!({"teamId": "AI"});
    let mut inbox = ask(&client, "run", HeaderMap::new(), body.to_string()).await;
    next(&mut inbox).await;
    records(&mut inbox, 0).await;
    let body = json!({"by": ["metadata.teamId"]}).to_string();
    let answer = json_of(&client.request("forebay.costs", body.into()).await.unwrap());
    assert_eq!(answer["rows"][0]["key"]["teamId"], "AI", "{answer}");
    assert_eq!(answer["rows"][0]["output_tokens"], 7, "{answer}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_tells_who_it_is_and_what_it_did() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    refused(&client, "status", b"{}", ("invalid", 400, Some("id"))).await;
    for verb in ["PING", "INFO", "STATS"] {
        let answer = json_of(&client.request(format!("$SRV.{verb}.forebay"), "".into()).await.unwrap());
        assert_eq!(answer["name"], "forebay", "{answer}");
    }
    let info = json_of(&client.request("$SRV.INFO.forebay", "".into()).await.unwrap());
    let mut subjects: Vec<_> =
        info["endpoints"].as_array().unwrap().iter().map(|e| e["subject"].as_str().unwrap()).collect();
    subjects.sort_unstable();
    let expected =
        ["cancel", "costs", "events", "models", "run", "run.*", "status"].map(|name| format!("forebay.{name}"));
    assert_eq!(subjects, expected);
    assert!(info["endpoints"].as_array().unwrap().iter().all(|e| e["queue_group"] == "forebay"), "{info}");
    until("the error to be counted", || async {
        let stats = json_of(&client.request("$SRV.STATS.forebay", "".into()).await.unwrap());
        let endpoints = stats["endpoints"].as_array().unwrap();
        let status = endpoints.iter().find(|e| e["name"] == "status").unwrap();
        status["num_errors"] == 1 && status["num_requests"] == 1
    })
    .await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_and_password_in_the_address_open_the_entrance() {
    let server = NatsServer::start_with(false, &["--user", "me", "--pass", "p@ss"]);
    let address = server.url().replace("nats://", "nats://me:p%40ss@");
    let log = forebay::log::memory::MemoryLog::new(forebay::clock::Clock::System);
    let broker = TestBroker::open(&address, log);
    until("the login", || async { broker.is_connected() }).await;
    let options = async_nats::ConnectOptions::with_user_and_password("me".into(), "p@ss".into());
    let client = soon("the client", options.connect(server.url())).await.unwrap();
    crate::broker::answering(&client).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_comes_in_one_message_and_says_what_did_not_fit() {
    let server = NatsServer::start(false);
    let (broker, client) = TestBroker::start(&server).await;
    let mut listed = Vec::new();
    for query in [r#"{"q":"claude-sonnet-4.5","all":true}"#, r#"{"all":true}"#, ""] {
        let answer = client.request("forebay.models", query.into()).await.unwrap();
        listed.push(serde_json::from_slice::<Value>(&answer.payload).unwrap());
    }
    let count = |at: usize| listed[at]["data"].as_array().unwrap().len();
    assert!((3..100).contains(&count(0)) && listed[0]["cut"].is_null(), "{}", listed[0]);
    assert_eq!(listed[0]["data"][0]["id"], "anthropic/claude-sonnet-4-5");
    let left_out = listed[1]["cut"]["left_out"].as_u64().expect("the whole catalog is larger than a message");
    assert!(count(1) > 500 && left_out > 100, "{} listed, {left_out} not", count(1));
    assert!(listed[2]["providers"].as_array().unwrap().contains(&"scripted".into()));
    broker.stop().await;
}
