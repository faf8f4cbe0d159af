//! The actor that lets waiting jobs in: it sleeps until the soonest opening, or until it is woken.
//!
//! One per broker. It ends when the last handle, pass and ticket of its gate is gone.

use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, ArbiterHandle, AsyncContext, Context, WrapFuture};
use tokio::sync::Notify;

use super::Admission;
use super::queue::{AdmissionQueue, Rules};
use crate::clock::Clock;
use crate::config::Config;

struct Doorkeeper {
    desk: Weak<AdmissionQueue>,
    wake: Arc<Notify>,
}

impl Actor for Doorkeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let work = keep(Weak::clone(&self.desk), Arc::clone(&self.wake));
        ctx.spawn(work.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Admission {
    /// Opens the gates of a broker; callable from any thread with tokio's clock. The actor that
    /// lets waiting jobs in lives on `arbiter`.
    #[must_use]
    pub fn start(arbiter: &ArbiterHandle, clock: Clock, config: &Config) -> Admission {
        let desk = Arc::new(AdmissionQueue::open(clock, Rules::of(config)));
        let keeper = Doorkeeper { desk: Arc::downgrade(&desk), wake: Arc::clone(&desk.wake) };
        // Nobody sends it messages: its future keeps it alive.
        Doorkeeper::start_in_arbiter(arbiter, move |_| keeper);
        Admission { desk }
    }
}

async fn keep(desk: Weak<AdmissionQueue>, wake: Arc<Notify>) {
    loop {
        let opens_in = match desk.upgrade() {
            Some(desk) => desk.let_in().map(|at| Duration::from_millis(at.ms_since(desk.now()).max(1))),
            None => return,
        };
        match opens_in {
            // A wake-up that comes before this await is kept for it.
            Some(wait) => drop(tokio::time::timeout(wait, wake.notified()).await),
            None => wake.notified().await,
        }
    }
}
