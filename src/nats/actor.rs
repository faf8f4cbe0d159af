//! The actor that owns one NATS entrance: it opens it, says what became of the connection, opens it
//! again should it break, and sees it closed. All input and output is on tokio.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio::time::timeout;

use super::connection::LinkState;
use super::limits;
use super::serve::{Door, Phase, serve};
use crate::broker::Broker;
use crate::job::Failure;

/// Before the entrance is opened again after a bug ended it.
const REOPEN_DELAY: Duration = Duration::from_secs(1);

/// A running NATS entrance.
#[derive(Clone)]
pub struct Intake {
    door: Arc<Door>,
}

impl Intake {
    /// Opens the entrance that `nats` in the configuration describes: the actor on `arbiter`, all
    /// input and output on `runtime`. Returns at once; NATS may come later.
    ///
    /// # Errors
    /// `invalid`, naming the key of the configuration; never a secret.
    pub fn start(svc: Arc<Broker>, arbiter: &ArbiterHandle, runtime: Handle) -> Result<Intake, Failure> {
        let door = Arc::new(Door::new(svc, runtime)?);
        let for_actor = Arc::clone(&door);
        Entrance::start_in_arbiter(arbiter, |_| Entrance { door: for_actor });
        Ok(Intake { door })
    }

    /// Whether NATS is connected and brings us requests.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.door.link.state().is_up()
    }

    /// Takes nothing new, finishes what it is acknowledging, gives replies a few seconds to end, and
    /// closes the connection. Call it after the jobs have ended, so that their last records go out;
    /// the entrance stops taking jobs by itself when the broker starts draining.
    pub async fn stop(self) {
        self.door.advance(Phase::Closing);
        if timeout(3 * limits::STOP_GRACE, self.door.reached(Phase::Closed)).await.is_err() {
            tracing::warn!("the NATS entrance did not close in time");
        }
    }
}

struct Entrance {
    door: Arc<Door>,
}

impl Entrance {
    fn open(&mut self, context: &mut Context<Self>) {
        let work = self.door.runtime.spawn(serve(Arc::clone(&self.door)));
        context.spawn(work.into_actor(self).map(|outcome, entrance, context| entrance.ended(outcome, context)));
    }

    fn ended(&mut self, outcome: Result<(), JoinError>, context: &mut Context<Self>) {
        if let Err(error) = outcome {
            tracing::error!(%error, "a bug broke the NATS entrance");
        }
        if self.door.phase() >= Phase::Closing {
            self.door.advance(Phase::Closed);
            context.stop();
        } else {
            context.run_later(REOPEN_DELAY, Entrance::open);
        }
    }
}

impl Actor for Entrance {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let changes = futures_util::stream::unfold(self.door.link.watch(), |mut watch| async move {
            watch.changed().await.ok()?;
            let state = *watch.borrow_and_update();
            Some((state, watch))
        });
        context.add_stream(Box::pin(changes));
        self.open(context);
    }
}

impl StreamHandler<LinkState> for Entrance {
    fn handle(&mut self, state: LinkState, _: &mut Context<Self>) {
        self.door.svc.set_nats_connected(state.is_up());
        let server = self.door.target.name();
        match state {
            LinkState { connected: true, listening: false, .. } => {}
            LinkState { connected: true, generation: 1, .. } => tracing::info!(%server, "NATS connected"),
            LinkState { connected: true, .. } => tracing::info!(%server, "NATS connected again"),
            LinkState { connected: false, .. } if self.door.phase() >= Phase::Closing => {}
            LinkState { connected: false, .. } => {
                tracing::warn!(%server, "NATS is away; the other doors are open, and we go on trying");
            }
        }
    }

    /// The door outlives the actor's interest in it; the actor ends when its work does.
    fn finished(&mut self, _: &mut Context<Self>) {}
}
