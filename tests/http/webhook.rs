//! Webhooks: who is told, how it is signed, how often it is tried, and who never is.

use std::sync::Arc;

use bytes::Bytes;
use forebay::log::{RowRange, Rows};
use serde_json::{Value, json};

use crate::broker::TestBroker;
use crate::client::Client;
use receiver::Receiver;

#[path = "../support/receiver.rs"]
mod receiver;

const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "whsec_Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

fn start(more: &str) -> TestBroker {
    let config = format!("{more}\n[webhooks]\nsecret = \"{NEW} {OLD}\"\nallow_hosts = [\"127.0.0.1\"]\ndelay_ms = 1\n");
    let broker = TestBroker::start(&config);
    let sender = Arc::clone(&broker.broker);
    broker.runtime.as_ref().unwrap().spawn(sender.deliver_webhooks());
    broker
}

fn job(id: &str, url: &str, script: Value) -> String {
    let input = json!({"messages": [], "script": script});
    json!({"id": id, "model": "echo", "input": input, "options": {"background": true, "webhook": {"url": url}}})
        .to_string()
}

/// Waits until no webhook is due any more.
fn settled(broker: &TestBroker) {
    let range = RowRange { prefix: Bytes::from_static(b"w"), after: None, limit: 1, budget_bytes: 1 };
    while !broker.wait(broker.log.rows(range.clone())).unwrap().is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn a_webhook_is_told_signed_and_again_until_it_has_answered() {
    let broker = start("");
    let receiver =
        Receiver::start(&[(500, ""), (302, "location: http://127.0.0.1:1/\r\n"), (429, "retry-after: 0\r\n")]);
    let mut client = Client::connect(broker.addr);
    let accepted = client.post("/v1/run", &job("j", &receiver.url(), json!([{"text": "Hi"}])));
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let received: Vec<_> = (0..4).map(|_| receiver.next()).collect();
    let status = client.get("/v1/jobs/j").json();
    for one in &received {
        assert_eq!(one.path, "/hook");
        assert_eq!(one.header("content-type"), "application/json");
        assert!(one.is_signed_with(&[NEW, OLD]), "{one:?}");
        assert!(!one.is_signed_with(&[OLD]) && one.header("webhook-id").starts_with("job_j_"));
        assert_eq!((&one.body, one.header("webhook-id")), (&received[0].body, received[0].header("webhook-id")));
        let body: Value = serde_json::from_str(&one.body).unwrap();
        assert_eq!((&body["type"], &body["data"]), (&json!("job.completed"), &status));
        assert_eq!(body["timestamp"], status["ended_at"]);
    }
    settled(&broker);
    assert!(receiver.rest().is_empty(), "it has answered");
}

#[test]
fn each_end_is_told_by_its_name() {
    let broker = start("");
    let mut client = Client::connect(broker.addr);
    for (id, script, kind) in [
        ("done", json!([{"text": "Hi"}]), "job.completed"),
        ("lost", json!([{"status": {"status": 400}}]), "job.failed"),
        ("gone", json!(["stall"]), "job.cancelled"),
    ] {
        let receiver = Receiver::start(&[(410, "")]);
        assert_eq!(client.post("/v1/run", &job(id, &receiver.url(), script)).status, 202);
        if id == "gone" {
            assert_eq!(client.post("/v1/jobs/gone/cancel", "").status, 200);
        }
        let received: Value = serde_json::from_str(&receiver.next().body).unwrap();
        assert_eq!((&received["type"], &received["data"]["id"]), (&json!(kind), &json!(id)));
        settled(&broker);
        assert!(receiver.rest().is_empty(), "410 is the last word");
    }
}

#[test]
fn a_gateway_tells_of_its_background_jobs() {
    let receiver = Receiver::start(&[]);
    let broker = start(&format!("[gateways.team]\nwebhook = {:?}", receiver.url()));
    let mut client = Client::connect(broker.addr);
    for (path, id, background) in
        [("/g/team/v1/run", "no", false), ("/v1/run", "other", true), ("/g/team/v1/run", "yes", true)]
    {
        let job = json!({"id": id, "model": "echo", "input": "Hi", "options": {"background": background}});
        assert!(client.post(path, &job.to_string()).status < 300);
    }
    let received: Value = serde_json::from_str(&receiver.next().body).unwrap();
    assert_eq!(received["data"]["id"], "yes");
    settled(&broker);
    assert!(receiver.rest().is_empty());
}

#[test]
fn who_may_not_be_told_is_refused_by_name() {
    let broker = start("");
    let mut client = Client::connect(broker.addr);
    let plain = TestBroker::start("");
    let mut without = Client::connect(plain.addr);
    for url in ["http://example.com/", "https://10.1.2.3/", "https://[fe80::1]/", "ftp://127.0.0.1/", "https://a b", ""]
    {
        let refused = client.post("/v1/run", &job("j", url, json!([])));
        assert_eq!(refused.error(), (400, "invalid".into(), "options.webhook.url".into()), "{url} {}", refused.text());
    }
    let refused = without.post("/v1/run", &job("j", "https://example.com/", json!([])));
    assert_eq!(refused.error(), (400, "unsupported".into(), "options.webhook".into()), "{}", refused.text());
    assert_eq!(client.get("/v1/jobs/j").status, 404, "none of them is a job");
}

#[test]
fn a_name_that_leads_inside_is_not_asked() {
    let receiver = Receiver::start(&[]);
    let broker = TestBroker::start(&format!("[webhooks]\nsecret = \"{NEW}\"\nattempts_max = 1\n"));
    broker.runtime.as_ref().unwrap().spawn(Arc::clone(&broker.broker).deliver_webhooks());
    let mut client = Client::connect(broker.addr);
    let url = format!("https://localhost:{}/", receiver.addr.port());
    assert_eq!(client.post("/v1/run", &job("j", &url, json!([{"text": "Hi"}]))).status, 202);
    let mut tail = broker.stream("j").watch();
    broker.wait(async { tail.wait_for(|tail| tail.state.is_terminal()).await.map(drop) }).unwrap();
    settled(&broker);
    assert!(receiver.rest().is_empty());
}
