//! The actor that owns one NATS entrance: it opens the entrance, logs each change of the connection,
//! opens it again after a bug, and waits until it is closed. All input and output is on tokio.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio::time::timeout;

use super::connection::LinkState;
use super::lifecycle::{Phase, Shared, serve};
use super::limits;
use crate::broker::Broker;
use crate::job::Failure;

/// How long the actor waits before it opens the entrance again after a bug ended it.
const REOPEN_DELAY: Duration = Duration::from_secs(1);

/// Handle of a running NATS entrance.
#[derive(Clone)]
pub struct NatsEntrance {
    shared: Arc<Shared>,
}

impl NatsEntrance {
    /// Opens the entrance that `nats` in the configuration describes: the actor on `arbiter`, all
    /// input and output on `runtime`. Returns at once; NATS may come later.
    ///
    /// # Errors
    /// `invalid`, naming the key of the configuration; never a secret.
    pub fn start(broker: Arc<Broker>, arbiter: &ArbiterHandle, runtime: Handle) -> Result<NatsEntrance, Failure> {
        let shared = Arc::new(Shared::new(broker, runtime)?);
        let for_actor = Arc::clone(&shared);
        EntranceActor::start_in_arbiter(arbiter, |_| EntranceActor { shared: for_actor });
        Ok(NatsEntrance { shared })
    }

    /// Returns whether NATS is connected and delivers requests to this broker.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.link.state().is_up()
    }

    /// Takes no new jobs, finishes pending acknowledgements, gives replies a few seconds to end, and
    /// closes the connection. Call it after the jobs have ended, so that their last records go out;
    /// the entrance stops taking jobs by itself when the broker starts draining.
    pub async fn stop(self) {
        self.shared.advance(Phase::Closing);
        if timeout(3 * limits::STOP_GRACE, self.shared.reached(Phase::Closed)).await.is_err() {
            tracing::warn!("the NATS entrance did not close in time");
        }
    }
}

struct EntranceActor {
    shared: Arc<Shared>,
}

impl EntranceActor {
    fn open(&mut self, context: &mut Context<Self>) {
        let work = self.shared.runtime.spawn(serve(Arc::clone(&self.shared)));
        context.spawn(work.into_actor(self).map(|outcome, entrance, context| entrance.ended(outcome, context)));
    }

    fn ended(&mut self, outcome: Result<(), JoinError>, context: &mut Context<Self>) {
        if let Err(error) = outcome {
            tracing::error!(%error, "a bug broke the NATS entrance");
        }
        if self.shared.phase() >= Phase::Closing {
            self.shared.advance(Phase::Closed);
            context.stop();
        } else {
            context.run_later(REOPEN_DELAY, EntranceActor::open);
        }
    }
}

impl Actor for EntranceActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let changes = futures_util::stream::unfold(self.shared.link.watch(), |mut watch| async move {
            watch.changed().await.ok()?;
            let state = *watch.borrow_and_update();
            Some((state, watch))
        });
        context.add_stream(Box::pin(changes));
        self.open(context);
    }
}

impl StreamHandler<LinkState> for EntranceActor {
    fn handle(&mut self, state: LinkState, _: &mut Context<Self>) {
        self.shared.broker.set_nats_connected(state.is_up());
        let server = self.shared.target.name();
        match state {
            LinkState { connected: true, listening: false, .. } => {}
            LinkState { connected: true, generation: 1, .. } => tracing::info!(%server, "NATS connected"),
            LinkState { connected: true, .. } => tracing::info!(%server, "NATS connected again"),
            LinkState { connected: false, .. } if self.shared.phase() >= Phase::Closing => {}
            LinkState { connected: false, .. } => {
                tracing::warn!(%server, "NATS cannot be reached; the other entrances are open and the broker keeps trying");
            }
        }
    }

    /// Does nothing: the actor ends when the entrance's task ends, not when this stream of states does.
    fn finished(&mut self, _: &mut Context<Self>) {}
}
