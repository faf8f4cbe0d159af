//! Readers that come, leave in mid-stream and resume, and jobs that break at random.

use std::sync::Arc;
use std::time::Duration;

use forebay::log::{Followed, Follower, Stream};
use forebay::wire::Cursor;
use serde_json::{Value, json};

use super::broker::TestBroker;

/// A job whose provider does something random at each attempt.
pub(crate) fn random_job(random: &mut fastrand::Rng) -> Value {
    let attempts: Vec<Value> = (0..random.usize(1..5)).map(|_| timeline(random)).collect();
    let rule = ["fail", "continue", "restart"][random.usize(0..3)];
    json!({
        "model": "scripted/m",
        "metadata": {"team": random.u8(0..3)},
        "input": {"messages": [], "script": {"attempts": attempts}},
        "options": {
            "on_stream_failure": rule, "timeouts": {"first_token_ms": 2000, "idle_ms": 2000, "total_ms": 30_000},
            "retry": {"max_attempts": random.u32(1..5)}, "cost": {"per_token_in": 0.0000011, "per_token_out": 0.0000023},
        },
    })
}

fn timeline(random: &mut fastrand::Rng) -> Value {
    let mut steps = Vec::new();
    if random.bool() {
        steps.push(json!({"delay_ms": random.u64(0..2500)}));
    }
    if random.u8(0..4) == 0 {
        let status = [401, 429, 500, 503][random.usize(0..4)];
        steps.push(json!({"status": {"status": status, "retry_after_ms": random.u64(0..3000)}}));
        return Value::Array(steps);
    }
    if random.u8(0..8) == 0 {
        return json!(["refuse"]);
    }
    let repeat = json!({"text": "word {n} ", "count": random.u64(0..60), "interval_ms": random.u64(0..200)});
    steps.push(json!({"repeat": repeat}));
    match random.u8(0..8) {
        0 => steps.push(json!("cut")),
        1 => steps.push(json!("stall")),
        2 => steps.push(json!("end")),
        3 => steps.push(json!({"garbage": 100})),
        4 => steps.push(json!({"error": {"message": "overloaded", "type": "server_error"}})),
        _ => {}
    }
    Value::Array(steps)
}

/// Reads a stream to its end with many disconnects; every return is by cursor. Returns the stored bytes.
pub(crate) async fn come_and_go(broker: &TestBroker, stream: &Arc<Stream>, mut random: fastrand::Rng) -> Vec<u8> {
    let (mut read, mut cursor, mut next_seq) = (Vec::new(), Cursor::Start, 0);
    loop {
        let log = Arc::clone(&broker.broker.log);
        let mut reader = Follower::new(log, Arc::clone(stream), cursor).expect("a cursor that was given is taken");
        assert_eq!(reader.next_seq(), next_seq);
        let patience = Duration::from_millis(random.u64(0..3000));
        let leave = tokio::time::sleep(patience);
        tokio::pin!(leave);
        loop {
            let followed = tokio::select! {
                followed = reader.next(random.usize(1..4096)) => followed.expect("memory does not fail"),
                () = &mut leave => break,
            };
            match followed {
                Followed::Records(chunk) => {
                    for (seq, bytes) in chunk.iter() {
                        assert_eq!(seq, next_seq, "a gap or a double");
                        next_seq += 1;
                        read.extend_from_slice(bytes);
                    }
                    cursor = reader.cursor().to_string().parse().expect("a cursor reads as it is written");
                }
                Followed::End(_) => return read,
            }
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..1000))).await;
    }
}
