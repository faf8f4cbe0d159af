//! The HTTP port's loop: it takes connections in and, at the end, lets them finish.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection;
use super::context::{Limits, ServerState};
use crate::broker::Broker;

/// Connections over the limit that get an answer at once; more than that are dropped without one.
const REFUSALS_MAX: usize = 64;
/// Wait after the system had no socket for us (out of file descriptors): trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` resolves; then takes no more connections, lets answers under way finish
/// (readers read their job's end) for `limits.linger`, and cuts the rest. Dropping it cuts everything.
///
/// # Errors
/// When the listener cannot be used at all.
pub async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let server = Arc::new(ServerState { broker, limits, body_bytes: AtomicUsize::new(0) });
    let (closing, closes) = watch::channel(false);
    let (mut connections, mut refusals) = (JoinSet::new(), JoinSet::new());
    let mut tending = JoinSet::new();
    tending.spawn(Arc::clone(&server.broker.user_streams).expire_loop());
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let full = connections.len() >= server.broker.snapshot.load().config.server.connections_max;
                    match full {
                        false => {
                            connections.spawn(connection::serve(stream, Arc::clone(&server), closes.clone()));
                        }
                        true if refusals.len() < REFUSALS_MAX => {
                            refusals.spawn(connection::refuse(stream, Arc::clone(&server)));
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
    if tokio::time::timeout(server.limits.linger, all).await.is_err() {
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
