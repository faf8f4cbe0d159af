//! Clients that disconnect in mid-answer: `cancel` closes the provider's socket, `detach` goes on.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bench::Bench;
use crate::bench::children::{Process, Scratch};
use crate::bench::client::Connection;
use crate::bench::load::{RequestShape, Tally, Target, ms};
use crate::bench::machine::now_ns;
use crate::bench::report::{Reach, Row};
use crate::bench::stage::Stage;
use crate::bench::token::{histogram, stamp};

/// Longest time that any step here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Number of jobs that go on after their client disconnects at the first token.
const LEFT: u32 = 50;
const GOES_ON: RequestShape = RequestShape { tokens: 50, pace_us: 20_000, streamed: true };
/// Model of the silent provider, which sends one token and no more.
const SILENT: RequestShape = RequestShape { tokens: 1, pace_us: 0, streamed: true };

/// Measures the time from the client's close to the close of the provider's socket, and how detached jobs
/// end.
pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    cancelled(bench).await?;
    detached(bench).await
}

async fn cancelled(bench: &mut Bench) -> Result<()> {
    let scratch = Scratch::new(bench.scratch.path())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let upstream = listener.local_addr()?;
    let (closed, mut closes) = mpsc::channel(16);
    let mut providing = JoinSet::new();
    providing.spawn(provide(listener, closed));
    let process = Process::broker(scratch.path(), upstream).await?;
    let broker = Target { name: "forebay", address: process.address, is_broker: true };
    let request = SILENT.beside(&broker, r#","options":{"on_disconnect":"cancel"}"#);
    let mut took = histogram();
    for _ in 0..bench.rounds(50).max(10) {
        leave_after_first(broker.address, &request).await?;
        let left = now_ns();
        let gone = timeout(PATIENCE, closes.recv()).await.context("the provider's socket stayed open")?;
        took.saturating_record(gone.context("the provider is gone")?.saturating_sub(left));
    }
    let title = "hang-up with `cancel` → the provider's socket is closed, slowest";
    let row = Row::new("hangup", title, ms(&took, 1.0), "ms")
        .reach(Reach::AtMost(500.0), "≤ 500 ms")
        .control(format!("p50 {:.2} ms of {}", ms(&took, 0.5), took.len()))
        .figure("p50_ms", ms(&took, 0.5));
    bench.push(row);
    Ok(())
}

/// A provider that sends one token and then nothing; it reports when each of its sockets was closed.
async fn provide(listener: TcpListener, closed: mpsc::Sender<u64>) -> Result<()> {
    let mut sockets = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        let closed = closed.clone();
        sockets.spawn(async move {
            // Reset or closed: both end the job's claim on us.
            let _ = one_token(socket).await;
            closed.send(now_ns()).await
        });
    }
}

async fn one_token(mut socket: TcpStream) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        if socket.read_buf(&mut request).await? == 0 {
            bail!("no request");
        }
    }
    let event = format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1795255200,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}},\"finish_reason\":null}}]}}\n\n",
        stamp()
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    socket.write_all(format!("{head}{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
    while socket.read_buf(&mut request).await? > 0 {}
    Ok(())
}

/// Sends a request and hangs up when the first token is there.
async fn leave_after_first(address: SocketAddr, request: &[u8]) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let first = Notify::new();
    let reading = connection.exchange(request, |bytes| {
        if bytes.contains(&b'@') {
            first.notify_one();
        }
    });
    tokio::select! {
        answered = reading => bail!("the answer ended by itself: {answered:?}"),
        notified = timeout(PATIENCE, first.notified()) => notified.context("no token came")?,
    }
    Ok(())
}

async fn detached(bench: &mut Bench) -> Result<()> {
    let stage = Stage::set(bench).await?;
    let broker = stage.broker;
    let tally = Tally::new();
    let mut clients = JoinSet::new();
    for number in 0..LEFT {
        let tally = tally.clone();
        clients.spawn(async move {
            let due = now_ns();
            let more = format!(r#","id":"left-{number}","options":{{"on_disconnect":"detach"}}"#);
            let read = async {
                leave_after_first(broker.address, &GOES_ON.beside(&broker, &more)).await?;
                let mut scanner = tally.scanner(due);
                let request = format!("GET /v1/jobs/left-{number}/events HTTP/1.1\r\nHost: bench\r\n\r\n");
                let mut again = Connection::open(broker.address).await?;
                again.exchange(request.as_bytes(), |bytes| scanner.feed(bytes)).await?;
                if scanner.tokens != GOES_ON.tokens {
                    bail!("{} of {} tokens are in the log", scanner.tokens, GOES_ON.tokens);
                }
                tally.answered(&scanner, due);
                Ok(())
            };
            read.await.unwrap_or_else(|why: anyhow::Error| tally.failed(&why));
        });
    }
    clients.join_all().await;
    let done = tally.whole(&broker)?.done();
    let title = "hang-up with `detach` → the whole answer is in the log";
    let row = Row::new("hangup", title, 100.0 * done as f64 / f64::from(LEFT), "%")
        .reach(Reach::AtLeast(100.0), "every job")
        .control(format!("{LEFT} jobs left after their first token"));
    bench.push(row);
    Ok(())
}
