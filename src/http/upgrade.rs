//! A connection that becomes a WebSocket once its answer was sent.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::broker::Broker;
use crate::ws::{self, Handshake};

/// A WebSocket that begins when the answer to its handshake was sent.
pub(super) struct Upgrade {
    pub(super) io: OnUpgrade,
    pub(super) handshake: Handshake,
}

impl Upgrade {
    /// Serves the WebSocket to its end.
    pub(super) async fn serve(self, broker: &Arc<Broker>) {
        match self.io.await {
            Ok(io) => {
                let ending = ws::serve(TokioIo::new(io), Arc::clone(broker), self.handshake).await;
                tracing::debug!(?ending, "a WebSocket ended");
            }
            Err(error) => tracing::debug!(%error, "a connection could not become a WebSocket"),
        }
    }
}
