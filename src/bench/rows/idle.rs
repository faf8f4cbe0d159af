//! Connections on which nothing happens.

use anyhow::{Result, bail};

use crate::bench::Bench;
use crate::bench::client::Connection;
use crate::bench::machine::rss_bytes;
use crate::bench::report::{Reach, Row};
use crate::bench::stage::Stage;

/// Number of connections of each kind.
const CONNECTIONS: u32 = 1000;

/// Measures the memory of an idle WebSocket, and of an HTTP connection that is kept after its answer.
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let count = if bench.quick { CONNECTIONS / 4 } else { CONNECTIONS };
    for (is_socket, title) in [(false, "an idle HTTP connection"), (true, "an idle WebSocket")] {
        let stage = Stage::set(bench).await?;
        // The first connections make pools and caches that all share.
        let mut kept = open(&stage, is_socket, 20).await?;
        let before = rss_bytes(stage.broker_pid)?;
        kept.extend(open(&stage, is_socket, count).await?);
        let grown = rss_bytes(stage.broker_pid)?.saturating_sub(before);
        let each = grown as f64 / f64::from(count);
        bench
            .push(Row::new("idle", format!("{title}, of {}", kept.len()), each / 1000.0, "kB").reach(Reach::Open, "–"));
    }
    Ok(())
}

async fn open(stage: &Stage, is_socket: bool, count: u32) -> Result<Vec<Connection>> {
    let mut kept = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(stage.broker.address).await?;
        if is_socket {
            connection.upgrade("/v1/ws").await?;
        } else {
            let status = connection.exchange(b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n", |_| {}).await?;
            if status != 200 {
                bail!("/healthz was answered {status}");
            }
        }
        kept.push(connection);
    }
    Ok(kept)
}
