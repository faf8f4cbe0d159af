//! `options.deliver.subject`: a job's records, published as they become durable.
//!
//! Promises every record at least once, in order, however often the connection breaks: a round trip to
//! the server now and then confirms what was published, and after a lost connection records are
//! published again from the last confirmed one. Receivers drop duplicates by `Forebay-Job-Id` and
//! `Forebay-Seq`. After a restart of the broker, unfinished jobs and those that ended in the
//! last ten minutes are published again from their first record.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::connection::Link;
use super::lifecycle::{Phase, Shared, finish};
use super::limits;
use super::publisher::{Publisher, ReaderGauge};
use crate::job::caps::{DURATION_MS_MAX, FRAME_BYTES_MAX, LIST_ROWS_MAX};
use crate::job::{Failure, State, StreamId};
use crate::log::{Followed, Follower, ListQuery, Stream};
use crate::notify::nats::Delivery;
use crate::wire::Cursor;
use crate::wire::subject::Format;

/// Publishes the records of `stream` to `subject` until its terminal. Returns at once; a stream that
/// is being published already stays as it is.
fn start(shared: &Arc<Shared>, stream: Arc<Stream>, subject: &str) {
    let Some(slot) = shared.deliveries.enter(stream.head().stream) else { return };
    let (shared_of_task, subject) = (Arc::clone(shared), subject.to_owned());
    shared.deliveries.spawn(&shared.runtime, async move {
        let delivered = deliver(&shared_of_task, &stream, &subject).await;
        if let Err(failure) = delivered {
            tracing::error!(job = %stream.head().id, %failure, "records could not be delivered to the job's subject");
        }
        drop(slot);
    });
}

async fn deliver(shared: &Arc<Shared>, stream: &Arc<Stream>, subject: &str) -> Result<State, Failure> {
    let _reader = ReaderGauge::add();
    let client = shared.client().await;
    let publisher = Publisher {
        client: client.clone(),
        subject: subject.into(),
        format: Format::Json,
        job: Some(stream.head().id.clone()),
    };
    let log = Arc::clone(&shared.broker.log);
    let follow = |cursor| Follower::new(log.clone(), Arc::clone(stream), cursor);
    let mut follower = follow(Cursor::Start)?;
    let mut confirmed = 0;
    let mut generation = shared.link.connected().await.generation;
    loop {
        let ended = match follower.next(FRAME_BYTES_MAX).await? {
            Followed::Records(chunk) => {
                publisher.chunk(stream, &chunk).await?;
                None
            }
            Followed::End(state) => Some(state),
        };
        if ended.is_none() && follower.next_seq() - confirmed < limits::CONFIRM_RECORDS {
            continue;
        }
        if confirm(&client, shared, generation).await {
            confirmed = follower.next_seq();
            if let Some(state) = ended {
                return Ok(state);
            }
        } else {
            follower = follow(stream.cursor(confirmed))?;
            generation = shared.link.connected().await.generation;
        }
    }
}

/// Returns whether the server has taken everything that was published under connection `generation`.
/// The server reads a connection in order, so any answer to a later request proves it; "no responders"
/// is an answer too.
pub(super) async fn confirm(client: &Client, shared: &Shared, generation: u64) -> bool {
    let link: &Link = &shared.link;
    loop {
        let probe = Request::new().timeout(Some(limits::CONFIRM_TIMEOUT));
        let response = client.send_request(shared.subjects.endpoint("confirm"), probe);
        let answer = tokio::select! {
            answer = response => answer,
            () = link.lost(generation) => return false,
        };
        match answer.map_err(|error| error.kind()) {
            Ok(_) | Err(RequestErrorKind::NoResponders) => return link.state().generation == generation,
            // The server is slow, or the request was lost with the connection, which `lost` reports.
            Err(RequestErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
    }
}

/// Starts each delivery that is announced, until the entrance closes; then ends all of them.
pub(super) async fn run(shared: &Arc<Shared>) {
    let mut announced = shared.announced.lock().await;
    loop {
        tokio::select! {
            Some(Delivery { stream, subject }) = announced.recv() => start(shared, stream, &subject),
            () = shared.reached(Phase::Closing) => break,
        }
    }
    shared.deliveries.close().await;
}

/// Starts the deliveries again that the broker's last process may not have finished. Receivers drop the
/// duplicates.
pub(super) async fn resume(shared: &Arc<Shared>) {
    let log = &shared.broker.log;
    let now = shared.broker.clock.now();
    let mut query = ListQuery { limit: LIST_ROWS_MAX, ..ListQuery::default() };
    let mut seen = 0;
    while seen < limits::DELIVERIES_MAX {
        let Ok(page) = log.list(query.clone()).await else { return };
        for stream in &page {
            let fresh = stream.outcome().is_none_or(|outcome| now.ms_since(outcome.at) < limits::REDELIVER_MS);
            let job = if fresh { log.job(stream).await.ok().flatten() } else { None };
            if let Some(deliver) = job.and_then(|job| job.options.deliver) {
                start(shared, Arc::clone(stream), &deliver.subject);
            }
        }
        seen += page.len();
        query.after = page.last().map(|stream| stream.head().stream);
        let oldest = page.last().map(|stream| stream.head().submitted_at);
        // Older jobs than a day have ended: no job may take longer.
        let young = oldest.is_some_and(|at| now.ms_since(at) < DURATION_MS_MAX);
        if page.len() < LIST_ROWS_MAX || !young {
            return;
        }
    }
}

/// The deliveries under way: at most one per stream, and a bounded number of them.
#[derive(Default)]
pub(super) struct Deliveries {
    streams: Arc<Mutex<HashSet<StreamId>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Deliveries {
    /// Returns a slot for `stream`; `None` when the stream has one already, or when all are taken.
    fn enter(&self, stream: StreamId) -> Option<DeliverySlot> {
        let mut streams = self.streams.lock().expect("nothing panics while it holds this lock");
        if streams.len() >= limits::DELIVERIES_MAX {
            tracing::error!("too many jobs wait for NATS: one is not delivered to its subject");
            return None;
        }
        streams.insert(stream).then(|| DeliverySlot { stream, streams: Arc::clone(&self.streams) })
    }

    /// Spawns one delivery and drops the tasks that have ended.
    fn spawn(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().expect("nothing panics while it holds this lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, runtime);
    }

    /// Waits a little for the deliveries under way, then ends them.
    async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().expect("nothing panics while it holds this lock"));
        finish(&mut tasks).await;
    }
}

/// One stream's slot among the deliveries; dropping it frees the slot.
struct DeliverySlot {
    stream: StreamId,
    streams: Arc<Mutex<HashSet<StreamId>>>,
}

impl Drop for DeliverySlot {
    fn drop(&mut self) {
        self.streams.lock().expect("nothing panics while it holds this lock").remove(&self.stream);
    }
}
