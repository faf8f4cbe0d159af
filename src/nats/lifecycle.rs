//! The life of one NATS entrance: connect, serve, drain, close.

use std::sync::Arc;

use async_nats::Client;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::{Link, Target, backoff};
use super::delivery;
use super::delivery::Deliveries;
use super::{endpoints, limits, work_queue};
use crate::broker::Broker;
use crate::job::Failure;
use crate::notify::nats::Delivery;
use crate::wire::subject::Subjects;

/// Phases of the entrance, in the order in which it passes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// The entrance takes jobs and requests.
    Open,
    /// The entrance takes nothing new; requests and deliveries under way go on.
    Draining,
    /// The entrance ends the requests and deliveries under way.
    Closing,
    /// Every task of the entrance has ended.
    Closed,
}

/// State that all tasks of one entrance share.
pub(super) struct Shared {
    pub(super) broker: Arc<Broker>,
    pub(super) runtime: Handle,
    pub(super) target: Target,
    pub(super) subjects: Subjects,
    pub(super) link: Link,
    pub(super) deliveries: Deliveries,
    /// Receives each job that has a subject for its records, when it starts; one task at a time reads it.
    pub(super) announced: Mutex<mpsc::Receiver<Delivery>>,
    client: watch::Sender<Option<Client>>,
    phase: watch::Sender<Phase>,
}

impl Shared {
    /// Reads the configuration and prepares an entrance that is not connected yet.
    ///
    /// # Errors
    /// `invalid`, naming the key.
    pub(super) fn new(broker: Arc<Broker>, runtime: Handle) -> Result<Shared, Failure> {
        let snapshot = broker.snapshot.load_full();
        let subjects = Subjects::new(&snapshot.config.nats.prefix)?;
        let target = Target::new(&snapshot.config.nats)?;
        let (announce, announced) = mpsc::channel(limits::ANNOUNCED_MAX);
        broker.deliveries.connect(announce);
        Ok(Shared {
            broker,
            runtime,
            target,
            subjects,
            link: Link::default(),
            deliveries: Deliveries::default(),
            announced: Mutex::new(announced),
            client: watch::Sender::new(None),
            phase: watch::Sender::new(Phase::Open),
        })
    }

    /// Waits for the first connection and returns its client. Cancel-safe.
    pub(super) async fn client(&self) -> Client {
        let mut watch = self.client.subscribe();
        let client = watch.wait_for(Option::is_some).await.map(|client| client.clone());
        client.ok().flatten().expect("`self` holds the sender, and it was waited for")
    }

    /// Returns the phase that the entrance is in.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves the entrance on to `phase`; it never goes back.
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

/// Serves until [`Phase::Closing`], then ends the requests and deliveries under way.
pub(super) async fn serve(shared: Arc<Shared>) {
    tokio::join!(connect_and_serve(&shared), delivery::run(&shared), drain(&shared));
    let Some(client) = shared.client.borrow().clone() else { return };
    if shared.link.state().connected {
        let flushed = timeout(limits::STOP_GRACE, client.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("NATS did not take the last messages in time");
        }
    }
    // Fails only where the client is gone already.
    drop(client.drain().await);
}

/// Connects, then opens the service and the work queue.
async fn connect_and_serve(shared: &Arc<Shared>) {
    let known = shared.client.borrow().clone();
    let client = match known {
        Some(client) => client,
        None => tokio::select! {
            client = connect(shared) => client,
            () = shared.reached(Phase::Closing) => return,
        },
    };
    shared.client.send_replace(Some(client.clone()));
    tokio::join!(endpoints::run(shared, &client), work_queue::run(shared, &client), delivery::resume(shared));
}

async fn connect(shared: &Shared) -> Client {
    let mut tries = 0;
    loop {
        tries += 1;
        match shared.target.connect(&shared.link).await {
            Ok(client) => return client,
            Err(error) if tries == 1 => {
                let server = shared.target.name();
                tracing::warn!(%server, %error, "NATS cannot be reached; the other entrances are open and the broker keeps trying");
            }
            Err(error) => tracing::debug!(%error, tries, "NATS still cannot be reached"),
        }
        sleep(backoff(tries)).await;
    }
}

/// Closes this entrance to new work when the broker starts draining.
async fn drain(shared: &Shared) {
    tokio::select! {
        () = shared.broker.draining() => shared.advance(Phase::Draining),
        () = shared.reached(Phase::Closing) => {}
    }
}

/// Waits for tasks that are about to end, then ends the rest. Nothing durable is lost with them.
pub(super) async fn finish(tasks: &mut JoinSet<()>) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if timeout(limits::STOP_GRACE, all).await.is_err() {
        tasks.shutdown().await;
    }
}
