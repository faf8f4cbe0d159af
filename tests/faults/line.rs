//! Jobs that wait for a provider's limits, in line.

use std::time::Duration;

use forebay::job::{Event, QueueReason, State};
use serde_json::{Value, json};

use crate::act::{Act, whole};
use crate::broker::PATIENCE;
use crate::world::World;

/// Time for which a provider allows no further request after each answer.
const WINDOW_MS: u64 = 1200;

fn job(id: &str, team: &str, priority: u8) -> Value {
    json!({
        "id": id,
        "model": "a/rationed",
        "input": {"messages": [{"role": "user", "content": "Count to sixty."}]},
        "metadata": {"team": team},
        "options": {"priority": priority, "background": true},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_a_provider_reports_are_learned_and_jobs_wait_for_them_by_priority_and_in_turns() {
    let plan = |_: &str, _: &str, _: usize| Act::Rationed(WINDOW_MS);
    let fair = "[queue]\nfair_by = \"metadata.team\"\n";
    let (world, broker) = World::start(Box::new(plan), Duration::ZERO, PATIENCE, fair).await;
    let submit = |job: Value| {
        let request = world
            .entrances
            .http
            .post(format!("{}/v1/run", world.entrances.base))
            .header("content-type", "application/json")
            .body(job.to_string());
        async move { assert_eq!(request.send().await.unwrap().status(), 202) }
    };
    submit(job("before", "x", 5)).await;
    assert_eq!(broker.records("before").await.1, State::Completed);
    for (id, team, priority) in [("x1", "x", 5), ("x2", "x", 5), ("x3", "x", 5), ("y1", "y", 5), ("urgent", "z", 0)] {
        submit(job(id, team, priority)).await;
    }
    let mut called = Vec::new();
    for id in ["x1", "x2", "x3", "y1", "urgent"] {
        let (records, state) = broker.records(id).await;
        assert_eq!((state, crate::entrance::text(&records)), (State::Completed, whole()), "{id}");
        let attempts: Vec<_> = records.iter().filter(|record| matches!(record.event, Event::Attempt(_))).collect();
        assert_eq!(attempts.len(), 1, "{id}: no provider is called while nothing is allowed");
        let waited = records.iter().any(|record| {
            matches!(&record.event, Event::Queued(queued) if queued.reason == QueueReason::RateLimited && queued.position.is_some())
        });
        assert!(waited, "{id}: its readers get `queued`: {records:?}");
        called.push((attempts[0].at, id));
    }
    called.sort_unstable();
    let order: Vec<&str> = called.iter().map(|(_, id)| *id).collect();
    assert_eq!(order, ["urgent", "x1", "y1", "x2", "x3"]);
    let close = |pair: &[(forebay::job::Timestamp, &str)]| pair[1].0.ms_since(pair[0].0) < WINDOW_MS / 2;
    assert!(!called.windows(2).any(close), "one in each window: {called:?}");
}
