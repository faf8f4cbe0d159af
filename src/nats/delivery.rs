//! `options.deliver.subject`: a job's records, published as they become durable.
//!
//! Promises every record at least once, in order, whatever NATS does meanwhile: what was published
//! is confirmed by a round trip to the server now and then, and published again from the last
//! confirmed record when the connection broke in between. Receivers drop doubles by `Forebay-Job-Id`
//! and `Forebay-Seq`. After a restart of the broker, unfinished jobs and those that ended in the
//! last ten minutes are published again from their first record.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::connection::Link;
use super::limits;
use super::reply::{Counted, Outlet};
use super::serve::{Door, Phase, finish};
use crate::job::caps::{DURATION_MS_MAX, FRAME_BYTES_MAX, LIST_ROWS_MAX};
use crate::job::{Failure, State, StreamId};
use crate::log::{Followed, Follower, ListQuery, Stream};
use crate::notify::nats::Delivery;
use crate::wire::Cursor;
use crate::wire::subject::Format;

/// Publishes the records of `stream` to `subject` until its terminal. Returns at once; a stream that
/// is being published already stays as it is.
fn start(door: &Arc<Door>, stream: Arc<Stream>, subject: &str) {
    let Some(place) = door.delivering.enter(stream.head().stream) else { return };
    let (door_of_task, subject) = (Arc::clone(door), subject.to_owned());
    door.delivering.spawn(&door.runtime, async move {
        let delivered = deliver(&door_of_task, &stream, &subject).await;
        if let Err(failure) = delivered {
            tracing::error!(job = %stream.head().id, %failure, "records could not be delivered to the job's subject");
        }
        drop(place);
    });
}

async fn deliver(door: &Arc<Door>, stream: &Arc<Stream>, subject: &str) -> Result<State, Failure> {
    let _counted = Counted::reader();
    let client = door.client().await;
    let outlet = Outlet {
        client: client.clone(),
        subject: subject.into(),
        format: Format::Json,
        job: Some(stream.head().id.clone()),
    };
    let log = Arc::clone(&door.svc.log);
    let follow = |cursor| Follower::new(log.clone(), Arc::clone(stream), cursor);
    let mut follower = follow(Cursor::Start)?;
    let mut confirmed = 0;
    let mut generation = door.link.connected().await.generation;
    loop {
        let ended = match follower.next(FRAME_BYTES_MAX).await? {
            Followed::Records(chunk) => {
                outlet.chunk(stream, &chunk).await?;
                None
            }
            Followed::End(state) => Some(state),
        };
        if ended.is_none() && follower.next_seq() - confirmed < limits::CONFIRM_RECORDS {
            continue;
        }
        if confirm(&client, door, generation).await {
            confirmed = follower.next_seq();
            if let Some(state) = ended {
                return Ok(state);
            }
        } else {
            follower = follow(stream.cursor(confirmed))?;
            generation = door.link.connected().await.generation;
        }
    }
}

/// Whether the server has taken everything that was published under connection `generation`. It
/// reads a connection in order, so its answer to anything says so; "nobody is there" is an answer.
pub(super) async fn confirm(client: &Client, door: &Door, generation: u64) -> bool {
    let link: &Link = &door.link;
    loop {
        let question = Request::new().timeout(Some(limits::CONFIRM_TIMEOUT));
        let asked = client.send_request(door.subjects.endpoint("confirm"), question);
        let answer = tokio::select! {
            answer = asked => answer,
            () = link.lost(generation) => return false,
        };
        match answer.map_err(|error| error.kind()) {
            Ok(_) | Err(RequestErrorKind::NoResponders) => return link.state().generation == generation,
            // The server is slow, or the question was lost with the connection, which `lost` tells.
            Err(RequestErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
    }
}

/// Starts the deliveries that are announced, until the entrance closes; then ends them.
pub(super) async fn run(door: &Arc<Door>) {
    let mut announced = door.announced.lock().await;
    loop {
        tokio::select! {
            Some(Delivery { stream, subject }) = announced.recv() => start(door, stream, &subject),
            () = door.reached(Phase::Closing) => break,
        }
    }
    door.delivering.close().await;
}

/// Starts again what the broker's last life may have left undelivered. Doubles are the receivers' to
/// drop.
pub(super) async fn resume(door: &Arc<Door>) {
    let log = &door.svc.log;
    let now = door.svc.clock.now();
    let mut query = ListQuery { limit: LIST_ROWS_MAX, ..ListQuery::default() };
    let mut seen = 0;
    while seen < limits::DELIVERIES_MAX {
        let Ok(page) = log.list(query.clone()).await else { return };
        for stream in &page {
            let fresh = stream.outcome().is_none_or(|outcome| now.ms_since(outcome.at) < limits::REDELIVER_MS);
            let job = if fresh { log.job(stream).await.ok().flatten() } else { None };
            if let Some(deliver) = job.and_then(|job| job.options.deliver) {
                start(door, Arc::clone(stream), &deliver.subject);
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

/// The deliveries under way: each stream once, and their number bounded.
#[derive(Default)]
pub(super) struct Delivering {
    streams: Arc<Mutex<HashSet<StreamId>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Delivering {
    /// A place for `stream`; `None` when it has one, or when all are taken.
    fn enter(&self, stream: StreamId) -> Option<Place> {
        let mut streams = self.streams.lock().expect("nothing panics while it holds this lock");
        if streams.len() >= limits::DELIVERIES_MAX {
            tracing::error!("too many jobs wait for NATS: one is not delivered to its subject");
            return None;
        }
        streams.insert(stream).then(|| Place { stream, streams: Arc::clone(&self.streams) })
    }

    /// Runs one; forgets those that ended.
    fn spawn(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().expect("nothing panics while it holds this lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, runtime);
    }

    /// Waits a little for those under way, then ends them.
    async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().expect("nothing panics while it holds this lock"));
        finish(&mut tasks).await;
    }
}

/// One stream's place among the deliveries; given back when dropped.
struct Place {
    stream: StreamId,
    streams: Arc<Mutex<HashSet<StreamId>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.lock().expect("nothing panics while it holds this lock").remove(&self.stream);
    }
}
