//! The same job a hundred times, through every entrance and over restarts, is one provider call.

use async_nats::HeaderMap;
use forebay::job::State;
use forebay::wire::frame::{ClientMessage, Label, Protocol, ServerMessage};
use forebay::ws::client::{Client, Over};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::broker::{Broker, BrokerClient, found, soon};
use crate::provider::Provider;
use crate::support::NatsServer;

const SUBMITTERS: usize = 100;

fn body(question: &str, on_crash: &str) -> Value {
    json!({
        "model": "counted/any",
        "input": question,
        "options": {"on_crash": on_crash, "background": true},
    })
}

/// Outcome of a submission: the id of the job, or the code of its refusal. `None` = the connection was
/// lost, and the outcome is not known.
type Submission = Option<Result<String, String>>;

async fn over_http(api: &BrokerClient, key: &str, job: &Value) -> Submission {
    let request = api.http.post(&api.run).header("Idempotency-Key", key).body(job.to_string());
    let answer: Value = serde_json::from_str(&request.send().await.ok()?.text().await.ok()?).ok()?;
    submission_of(&answer)
}

async fn over_ws(api: &BrokerClient, key: &str, job: &Value) -> Submission {
    let mut job = job.clone();
    job["idempotency_key"] = json!(key);
    let job = serde_json::value::to_raw_value(&job).unwrap();
    let mut client = Client::connect(&api.ws, None, Protocol::Json).await.ok()?;
    client.say(&ClientMessage::Run { reference: Label::Number(1), job }).await.ok()?;
    loop {
        match client.next().await {
            Ok(ServerMessage::Accepted { id, .. }) => return Some(Ok(id.to_string())),
            Ok(ServerMessage::Error { error, .. }) if error.retryable => return None,
            Ok(ServerMessage::Error { error, .. }) => return Some(Err(error.code.as_str().into())),
            Ok(_) => {}
            Err(Over::Lost(_)) => return None,
            Err(Over::Refused(failure)) => panic!("{failure}"),
        }
    }
}

async fn over_nats(client: &async_nats::Client, key: &str, job: &Value) -> Submission {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", key);
    let answer = client.request_with_headers("forebay.run", headers, job.to_string().into()).await.ok()?;
    submission_of(&serde_json::from_slice(&answer.payload).unwrap())
}

fn submission_of(answer: &Value) -> Submission {
    if let Some(code) = answer["error"]["code"].as_str() {
        return (answer["error"]["retryable"] != true).then(|| Err(code.into()));
    }
    Some(Ok(answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).into()))
}

/// Submits `job` under `key` through the entrance that `number` selects until the broker has answered.
async fn insist(
    api: BrokerClient,
    nats: async_nats::Client,
    number: usize,
    key: &'static str,
    job: Value,
) -> Result<String, String> {
    let submit = || async {
        match number % 3 {
            0 => over_http(&api, key, &job).await,
            1 => over_ws(&api, key, &job).await,
            _ => over_nats(&nats, key, &job).await,
        }
    };
    found("an answer to a submission", submit).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_equal_submissions_over_every_entrance_and_a_restart_are_one_provider_call() {
    let provider = Provider::start(&json!([{"repeat": {"text": "{n} ", "count": 100, "interval_ms": 20}}])).await;
    let server = NatsServer::start(false);
    let mut broker = Broker::start(Some(&server.url()), &provider.config()).await;
    let nats = async_nats::connect(server.url()).await.unwrap();
    let crowd = |broker: &Broker, key: &'static str, job: &Value| {
        let submit = |number| tokio::spawn(insist(broker.client(), nats.clone(), number, key, job.clone()));
        join_all((0..SUBMITTERS).map(submit).collect::<Vec<_>>())
    };

    let job = body("Count.", "interrupt");
    let submitted = crowd(&broker, "turn-1", &job);
    found("the call", || async { (provider.requests() > 0).then_some(()) }).await;
    broker.kill();
    broker.up().await;
    let mut ids: Vec<String> = submitted.await.into_iter().map(|id| id.unwrap().unwrap()).collect();
    ids.extend(crowd(&broker, "turn-1", &job).await.into_iter().map(|id| id.unwrap().unwrap()));
    ids.dedup();
    assert_eq!(ids.len(), 1, "all joined the same job: {ids:?}");
    assert_eq!(broker.records(&ids[0]).await.1, State::Interrupted);
    assert_eq!(provider.requests(), 1, "an interrupted job is not sent to the provider again");

    let job = body("Count once more.", "interrupt");
    let ids: Vec<_> = crowd(&broker, "turn-2", &job).await.into_iter().map(|id| id.unwrap().unwrap()).collect();
    let before = broker.records(&ids[0]).await;
    assert_eq!(before.1, State::Completed);
    broker.kill();
    broker.up().await;
    let again: Vec<_> = crowd(&broker, "turn-2", &job).await.into_iter().map(|id| id.unwrap().unwrap()).collect();
    assert!(ids.iter().chain(&again).all(|id| *id == ids[0]));
    assert_eq!(broker.records(&ids[0]).await, before, "the answer is the one that was paid for");
    assert_eq!(provider.requests(), 2);

    let other = crowd(&broker, "turn-2", &body("Something else.", "interrupt"));
    for refused in soon("the refusals", other).await {
        assert_eq!(refused.unwrap(), Err("conflict".into()));
    }
    let costs = broker.json("/v1/costs").await;
    assert_eq!((costs["total"]["jobs"].clone(), costs["total"]["attempts"].clone()), (json!(2), json!(2)));
    assert_eq!(provider.requests(), 2);
}
