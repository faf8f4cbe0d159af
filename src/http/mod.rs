//! The HTTP door: one port for jobs, records, costs, metrics and the WebSocket upgrade.
//!
//! Owns connections and their limits. Promises that whatever comes in gets an answer that names
//! what is wrong and leaves the connection usable where HTTP allows it; that a slow reader holds one
//! frame; that a reader who leaves cancels nothing. Does not know providers.

mod anthropic;
mod auth;
mod body;
mod cloudflare;
mod connection;
mod cors;
mod dialect;
mod dispatch;
mod durable_streams;
mod jobs;
mod openai;
mod openapi;
mod operations;
mod outputs;
mod passthrough;
mod query;
mod response;
mod responses;
mod route;
mod route_cloudflare;
mod run;
mod sse;
mod websocket;

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::Broker;

/// Connections over the limit that are told so at once; more than that are dropped without a word.
const REFUSALS_MAX: usize = 64;
/// Bytes that a connection's socket takes beyond what the network is carrying. What is under way to a
/// distant reader is not limited by this.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;
/// Between two of the kernel's signs of life; it refuses more than 32 767 s.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(32_767);
/// Wait after the system had no socket for us (out of file descriptors): trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long clients may take. Sizes and counts are in the configuration (`[server]`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the head of a request, counted from the connection's last answer: also how long an idle
    /// connection is kept.
    pub head: Duration,
    /// For a whole body.
    pub body: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// For connections to end after `shutdown`; what is left is cut.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: Duration::from_secs(75),
            body: Duration::from_secs(120),
            body_idle: Duration::from_secs(20),
            linger: Duration::from_secs(5),
        }
    }
}

/// What every connection needs.
struct Front {
    svc: Arc<Broker>,
    limits: Limits,
    /// Of bodies that are coming in.
    body_bytes: AtomicUsize,
}

/// Serves until `shutdown` resolves; then takes no more connections, lets answers under way finish
/// (readers read their job's end) for `limits.linger`, and cuts the rest. Dropping it cuts everything.
///
/// # Errors
/// When the listener cannot be used at all.
pub async fn serve(
    listener: TcpListener,
    svc: Arc<Broker>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let front = Arc::new(Front { svc, limits, body_bytes: AtomicUsize::new(0) });
    let (closing, closes) = watch::channel(false);
    let (mut connections, mut refusals) = (JoinSet::new(), JoinSet::new());
    let mut tending = JoinSet::new();
    tending.spawn(Arc::clone(&front.svc.feeds).expire_loop());
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let full = connections.len() >= front.svc.snapshot.load().config.server.connections_max;
                    match full {
                        false => {
                            connections.spawn(connection::serve(stream, Arc::clone(&front), closes.clone()));
                        }
                        true if refusals.len() < REFUSALS_MAX => {
                            refusals.spawn(connection::refuse(stream, Arc::clone(&front)));
                        }
                        true => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => report(ended),
            Some(_) = refusals.join_next() => {}
        }
    }
    drop(listener);
    closing.send_replace(true);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(front.limits.linger, all).await.is_err() {
        tracing::info!(connections = connections.len(), "cutting connections that did not end");
    }
    Ok(())
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a bug: serving a connection panicked");
    }
}

/// Small writes must not wait for acknowledgements. And the kernel must not take megabytes for a
/// reader that does not read: the log keeps them better, and until then they are work like any other.
/// The kernel's keep-alive is the only sign of life while an answer that is not a stream is awaited:
/// its first byte is its status, which nobody knows before the end.
fn prompt(stream: &TcpStream, heartbeat_ms: u64) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT");
    }
    // The kernel counts in seconds, and not beyond nine hours.
    let beat = Duration::from_millis(heartbeat_ms).clamp(Duration::from_secs(1), KEEP_ALIVE_MAX);
    let keep_alive = socket2::TcpKeepalive::new().with_time(beat).with_interval(beat);
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive) {
        tracing::debug!(%error, "SO_KEEPALIVE");
    }
}
