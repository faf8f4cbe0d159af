//! The delay that the broker adds to a token between the provider and the reader.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::bench::client::Connection;
use crate::bench::load::{RequestShape, Tally, Target, held};
use crate::bench::machine::now_ns;
use crate::bench::report::{Reach, Row};
use crate::bench::stage::Stage;

const STREAMS: u32 = 100;
const PACE_US: u64 = 50_000;
/// Time over which the starts of the streams are spread, and with them their tokens.
const RAMP: Duration = Duration::from_millis(950);

/// Measures 100 streams of 20 tokens a second, over SSE and over WebSocket.
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let stage = Stage::set(bench).await?;
    let tokens = (bench.lasts(6.0) + RAMP).as_micros() / u128::from(PACE_US);
    let what = RequestShape { tokens: u64::try_from(tokens)?, pace_us: PACE_US, streamed: true };
    let mut tallies = Vec::new();
    for target in stage.targets() {
        tallies.push(held(&target, what, STREAMS, RAMP).await.whole(&target)?);
    }
    let socket = sockets(&stage.broker, what).await.whole(&stage.broker)?;
    let [direct, floor, sse] = [&tallies[0], &tallies[1], &tallies[2]];
    for (entrance, tally) in [("SSE", sse), ("WebSocket", &socket)] {
        let at = |tally: &Tally, quantile| tally.transit_ms(quantile);
        let sync = bench.machine.sync_ms();
        let (most_p50, most_p99) = (0.15 + sync, 2.0 * at(floor, 0.99) + 2.0 * sync);
        let p50 = Row::new(
            "transit",
            format!("token transit added, {entrance}, p50"),
            at(tally, 0.5) - at(direct, 0.5),
            "ms",
        )
        .reach(Reach::AtMost(most_p50), format!("≤ 0.15 ms + 1 fdatasync = {most_p50:.2} ms"))
        .control(format!("floor adds {:.3} ms, direct {:.3} ms", at(floor, 0.5) - at(direct, 0.5), at(direct, 0.5)))
        .figure("forebay_p50_ms", at(tally, 0.5))
        .figure("direct_p50_ms", at(direct, 0.5))
        .figure("floor_p50_ms", at(floor, 0.5));
        let p99 = Row::new("transit", format!("token transit, {entrance}, p99"), at(tally, 0.99), "ms")
            .reach(Reach::AtMost(most_p99), format!("≤ 2 × the floor's + 2 fdatasyncs = {most_p99:.2} ms"))
            .control(format!("floor {:.3} ms, direct {:.3} ms", at(floor, 0.99), at(direct, 0.99)))
            .figure("forebay_p99_ms", at(tally, 0.99))
            .figure("direct_p99_ms", at(direct, 0.99))
            .figure("floor_p99_ms", at(floor, 0.99));
        bench.push(p50);
        bench.push(p99);
    }
    Ok(())
}

/// Submits the same jobs in the background and reads each over a WebSocket of its own.
async fn sockets(broker: &Target, what: RequestShape) -> Tally {
    let tally = Tally::new();
    let start = tokio::time::Instant::now();
    let since_ns = now_ns() + u64::try_from(RAMP.as_nanos()).unwrap_or(0);
    let request: Arc<[u8]> = RequestShape { streamed: false, ..what }.background(broker);
    let mut readers = JoinSet::new();
    for index in 0..STREAMS {
        let (broker, request, tally) = (*broker, Arc::clone(&request), tally.clone());
        readers.spawn(async move {
            tokio::time::sleep_until(start + RAMP * index / STREAMS).await;
            let due = now_ns();
            let read = async {
                let id = submit(&broker, &request).await?;
                let mut scanner = tally.scanner(since_ns);
                let mut connection = Connection::open(broker.address).await?;
                connection.upgrade(&format!("/v1/jobs/{id}/ws?cursor=-1")).await?;
                let mut bytes = Vec::new();
                while scanner.tokens < what.tokens {
                    connection.bytes(&mut bytes).await?;
                    scanner.feed(&bytes);
                }
                tally.answered(&scanner, due);
                Ok(())
            };
            read.await.unwrap_or_else(|why| tally.failed(&why));
        });
    }
    readers.join_all().await;
    tally
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

/// Submits a background job; returns its id.
pub(super) async fn submit(broker: &Target, request: &[u8]) -> Result<String> {
    submit_on(&mut Connection::open(broker.address).await?, request).await
}

/// Submits a background job like [`submit`], on a connection that may be reused.
pub(super) async fn submit_on(connection: &mut Connection, request: &[u8]) -> Result<String> {
    let mut answer = Vec::new();
    let status = connection.exchange(request, |bytes| answer.extend_from_slice(bytes)).await?;
    let body = || String::from_utf8_lossy(&answer).into_owned();
    if status != 202 {
        bail!("a background job was answered {status}: {}", body());
    }
    let accepted: Accepted = serde_json::from_slice(&answer).with_context(body)?;
    Ok(accepted.id)
}
