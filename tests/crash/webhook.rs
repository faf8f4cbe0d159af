//! A webhook that was not delivered when the broker is killed is delivered after the restart.

use serde_json::{Value, json};

use crate::broker::{Broker, job};
use crate::receiver::Receiver;

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_told_although_the_broker_was_killed_and_once_it_answered_no_more() {
    let config = format!("[webhooks]\nsecret = \"{SECRET}\"\nallow_hosts = [\"127.0.0.1\"]\ndelay_ms = 1\n");
    let mut broker = Broker::start(None, &config).await;
    // It wants to be left alone for a second: the kill comes in between.
    let receiver = Receiver::start(&[(503, "retry-after: 1\r\n"), (503, "retry-after: 1\r\n")]);
    let options = json!({"webhook": {"url": receiver.url()}});
    broker.client().submit(&job("j", &json!([{"text": "Hi"}]), &options)).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let delivery = receiver.next();
        broker.kill();
        assert!(delivery.path == "/hook" && delivery.is_signed_with(&[SECRET]), "{delivery:?}");
        ids.push(delivery.header("webhook-id").to_owned());
        broker.up().await;
    }
    // Two or more: a kill may come before the log knows of a try.
    let delivery = receiver.next();
    ids.push(delivery.header("webhook-id").to_owned());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let body: Value = serde_json::from_str(&delivery.body).unwrap();
    assert_eq!(body["data"], broker.json("/v1/jobs/j").await);
    crate::broker::found("the webhook to be settled", || async {
        let (_, metrics) = broker.get("/metrics").await?;
        metrics.contains("forebay_webhooks_pending 0").then_some(())
    })
    .await;
    broker.kill();
    drop(receiver.rest());
    broker.up().await;
    let again = Receiver::start(&[]);
    let options = json!({"webhook": {"url": again.url()}});
    broker.client().submit(&job("k", &json!([{"text": "Hi"}]), &options)).await;
    assert!(again.next().is_signed_with(&[SECRET]), "a later job is delivered");
    assert!(receiver.rest().is_empty(), "the one that was delivered is not delivered again");
}
