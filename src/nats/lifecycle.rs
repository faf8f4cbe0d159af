//! One entrance from connect to close: what the actor opens and sees closed.

use std::sync::Arc;

use async_nats::Client;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::{Link, Target, backoff};
use super::delivery;
use super::delivery::Delivering;
use super::{limits, queue, service};
use crate::broker::Broker;
use crate::job::Failure;
use crate::notify::nats::Delivery;
use crate::wire::subject::Subjects;

/// How far the entrance is on its way down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// Open.
    Open,
    /// Takes nothing new; what is under way goes on.
    Draining,
    /// Ends what is under way.
    Closing,
    /// All has ended.
    Closed,
}

/// What everything of one entrance shares.
pub(super) struct Door {
    pub(super) svc: Arc<Broker>,
    pub(super) runtime: Handle,
    pub(super) target: Target,
    pub(super) subjects: Subjects,
    pub(super) link: Link,
    pub(super) delivering: Delivering,
    /// Jobs that want to be delivered, as they start; taken by one task at a time.
    pub(super) announced: Mutex<mpsc::Receiver<Delivery>>,
    client: watch::Sender<Option<Client>>,
    phase: watch::Sender<Phase>,
}

impl Door {
    /// Reads the configuration.
    ///
    /// # Errors
    /// `invalid`, naming the key.
    pub(super) fn new(svc: Arc<Broker>, runtime: Handle) -> Result<Door, Failure> {
        let snapshot = svc.snapshot.load_full();
        let subjects = Subjects::new(&snapshot.config.nats.prefix)?;
        let target = Target::new(&snapshot.config.nats)?;
        let (announce, announced) = mpsc::channel(limits::ANNOUNCED_MAX);
        svc.deliveries.connect(announce);
        Ok(Door {
            svc,
            runtime,
            target,
            subjects,
            link: Link::default(),
            delivering: Delivering::default(),
            announced: Mutex::new(announced),
            client: watch::Sender::new(None),
            phase: watch::Sender::new(Phase::Open),
        })
    }

    /// The client, once there was a first connection. Cancel-safe.
    pub(super) async fn client(&self) -> Client {
        let mut watch = self.client.subscribe();
        let client = watch.wait_for(Option::is_some).await.map(|client| client.clone());
        client.ok().flatten().expect("`self` holds the sender, and it was waited for")
    }

    /// How far it is.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves on; never back.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let moves = *now < phase;
            *now = phase.max(*now);
            moves
        });
    }

    /// Resolves once the entrance is at `phase` or beyond. Cancel-safe.
    pub(super) async fn reached(&self, phase: Phase) {
        let mut watch = self.phase.subscribe();
        let reached = watch.wait_for(|now| *now >= phase).await;
        drop(reached);
    }
}

/// Serves until [`Phase::Closing`], and ends what is under way then.
pub(super) async fn serve(door: Arc<Door>) {
    tokio::join!(doors(&door), delivery::run(&door), drain(&door));
    let Some(client) = door.client.borrow().clone() else { return };
    if door.link.state().connected {
        let flushed = timeout(limits::STOP_GRACE, client.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("NATS did not take the last messages in time");
        }
    }
    // Fails only where the client is gone already.
    drop(client.drain().await);
}

/// Connects, then opens the service and the work queue.
async fn doors(door: &Arc<Door>) {
    let known = door.client.borrow().clone();
    let client = match known {
        Some(client) => client,
        None => tokio::select! {
            client = connect(door) => client,
            () = door.reached(Phase::Closing) => return,
        },
    };
    door.client.send_replace(Some(client.clone()));
    tokio::join!(service::run(door, &client), queue::run(door, &client), delivery::resume(door));
}

async fn connect(door: &Door) -> Client {
    let mut tries = 0;
    loop {
        tries += 1;
        match door.target.connect(&door.link).await {
            Ok(client) => return client,
            Err(error) if tries == 1 => {
                let server = door.target.name();
                tracing::warn!(%server, %error, "NATS is away; the other doors are open, and we go on trying");
            }
            Err(error) => tracing::debug!(%error, tries, "NATS is still away"),
        }
        sleep(backoff(tries)).await;
    }
}

/// The broker going down closes this entrance to new work.
async fn drain(door: &Door) {
    tokio::select! {
        () = door.svc.draining() => door.advance(Phase::Draining),
        () = door.reached(Phase::Closing) => {}
    }
}

/// Waits for tasks that are about to end, then ends the rest. Nothing durable is lost with them.
pub(super) async fn finish(tasks: &mut JoinSet<()>) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if timeout(limits::STOP_GRACE, all).await.is_err() {
        tasks.shutdown().await;
    }
}
