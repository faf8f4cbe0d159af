//! A cancel reaches the provider.

use std::time::{Duration, Instant};

use forebay::job::{Event, State};
use forebay::meter::tokens;
use serde_json::json;

use crate::act::{Act, Trouble, upto};
use crate::books::paid;
use crate::broker::{PATIENCE, found};
use crate::entrance::{ClientBehavior, ENTRANCES, ReadRequest, follow, text};
use crate::world::World;

/// Words that a job's provider says before it falls silent.
const WORDS: usize = 20;
/// How soon its socket must be closed.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_by_any_entrance_closes_the_providers_socket_within_a_second_and_books_the_usage() {
    let plan = |_: &str, _: &str, _: usize| Act::After(WORDS, Trouble::Stall);
    let (world, _broker) = World::start(Box::new(plan), Duration::ZERO, PATIENCE, "").await;
    for entrance in ENTRANCES {
        let id = format!("cancel-{}", entrance.name());
        let job = json!({
            "id": id,
            "model": format!("a/{id}"),
            "input": {"messages": [{"role": "user", "content": "Count to sixty."}]},
            "metadata": {"case": id},
            "options": {"cost": {"per_token_in": 1e-6, "per_token_out": 1e-6}},
        });
        let asking = follow(&world.entrances, &job, ClientBehavior { entrance, leaves: None, expects_loss: false });
        let cancel = async {
            let resume = || ReadRequest::Resume { id: id.clone(), cursor: "-1".into() };
            found("the provider's silence", || async {
                let mut reading = world.entrances.read(crate::entrance::Entrance::Socket, resume());
                let mut seen = Vec::new();
                while let Some(Ok(batch)) = reading.recv().await {
                    seen.extend(batch.records);
                    if text(&seen) == upto(WORDS) {
                        return Some(());
                    }
                }
                None
            })
            .await;
            let cancelled_at = Instant::now();
            world.entrances.cancel(entrance, &id).await;
            let left = || async { world.server.calls("a", &id)[0].left };
            let left = found("the end of the call", left).await;
            assert!(left.duration_since(cancelled_at) < SOON, "{id}: after {:?}", left.duration_since(cancelled_at));
        };
        let (records, ()) = tokio::join!(asking, cancel);
        let last = &records.last().unwrap().event;
        assert_eq!(last.terminal(), Some(State::Cancelled), "{id}: {last:?}");
        assert!(matches!(last, Event::Cancelled(end) if &*end.by == "client"), "{id}: {last:?}");
        let output_tokens = tokens::count(&id, &upto(WORDS));
        assert_eq!(paid(last).unwrap().0.output_tokens, Some(output_tokens), "{id}: {last:?}");
        let booked = world.entrances.json(&format!("/v1/costs?tag.case={id}")).await["total"].clone();
        assert_eq!(
            (&booked["output_tokens"], &booked["attempts"]),
            (&json!(output_tokens), &json!(1)),
            "{id}: {booked}"
        );
        assert_eq!(world.server.calls("a", &id).len(), 1, "{id}");
    }
}
