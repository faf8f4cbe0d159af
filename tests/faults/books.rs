//! The ledger and the logs say the same.

use forebay::job::{Cost, Event, Record, Usage, Usd};
use serde_json::json;

use crate::broker::Broker;

/// What a terminal says of usage and cost.
pub(crate) fn paid(event: &Event) -> Option<(&Usage, Cost)> {
    match event {
        Event::Completed(end) => Some((&end.usage, end.cost)),
        Event::Failed(end) => Some((&end.usage, end.cost)),
        Event::Cancelled(end) => Some((&end.usage, end.cost)),
        Event::Interrupted(end) => Some((&end.usage, end.cost)),
        _ => None,
    }
}

/// The sums of the ledger, kept and added up again, are those of these logs, which are all there are.
pub(crate) async fn balance(broker: &Broker, streams: &[&[Record]]) {
    let (mut usd, mut input, mut output, mut attempts) = (Usd::ZERO, 0, 0, 0);
    for record in streams.iter().copied().flatten() {
        attempts += u64::from(matches!(record.event, Event::Attempt(_)));
        if let Some((usage, cost)) = paid(&record.event) {
            usd += cost.usd;
            input += usage.input_tokens.unwrap_or_default();
            output += usage.output_tokens.unwrap_or_default();
        }
    }
    let before = broker.json("/v1/costs").await;
    assert_eq!(broker.rebuild_costs().await["lines"], attempts, "a line for each attempt");
    assert_eq!(broker.json("/v1/costs").await, before, "added up again, it is the same");
    let total = &before["total"];
    let booked = ["jobs", "attempts", "input_tokens", "output_tokens", "usd"].map(|name| total[name].clone());
    assert_eq!(json!(booked), json!([streams.len(), attempts, input, output, usd]), "{total}");
}
