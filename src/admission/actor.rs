//! The actor that admits waiting jobs: it sleeps until the soonest opening, or until it is woken.
//!
//! One per broker. It ends when the last handle, permit and ticket of its admission is gone.

use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, ArbiterHandle, AsyncContext, Context, WrapFuture};
use tokio::sync::Notify;

use super::Admission;
use super::queue::{AdmissionQueue, Rules};
use crate::clock::Clock;
use crate::config::Config;

struct AdmissionActor {
    queue: Weak<AdmissionQueue>,
    wake: Arc<Notify>,
}

impl Actor for AdmissionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let work = admit_loop(Weak::clone(&self.queue), Arc::clone(&self.wake));
        ctx.spawn(work.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Admission {
    /// Starts the admission of a broker; callable from any thread with tokio's clock. The actor that admits
    /// waiting jobs lives on `arbiter`.
    #[must_use]
    pub fn start(arbiter: &ArbiterHandle, clock: Clock, config: &Config) -> Admission {
        let queue = Arc::new(AdmissionQueue::open(clock, Rules::of(config)));
        let actor = AdmissionActor { queue: Arc::downgrade(&queue), wake: Arc::clone(&queue.wake) };
        // The actor gets no messages: its future keeps it alive.
        AdmissionActor::start_in_arbiter(arbiter, move |_| actor);
        Admission { queue }
    }
}

async fn admit_loop(queue: Weak<AdmissionQueue>, wake: Arc<Notify>) {
    loop {
        let opens_in = match queue.upgrade() {
            Some(queue) => queue.admit_waiting().map(|at| Duration::from_millis(at.ms_since(queue.now()).max(1))),
            None => return,
        };
        match opens_in {
            // A wake-up that comes before this await is kept for it.
            Some(wait) => drop(tokio::time::timeout(wait, wake.notified()).await),
            None => wake.notified().await,
        }
    }
}
