//! Users' own streams, in the Durable Streams protocol, as rows of the log.
//!
//! Owns which stream a path names, and that each is in memory once. Promises that what is acknowledged is durable, that a
//! path created anew shares nothing with what it named before, and that a stream without users takes no memory. Does not
//! know HTTP, nor the streams of jobs.

mod content;
mod expiry;
mod live;
mod row;
mod rule;
mod state;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{Notify, RwLock};

pub use live::{Appended, Done, Page, Tail, UserStream};
pub use rule::{Append, Refused};

use crate::clock::Clock;
use crate::dialect::durable_streams;
use crate::dialect::durable_streams::{Form, Lifetime};
use crate::job::{Failure, Gateway, StreamId};
use crate::log::{Row, Rows};
use row::{Head, Mark};

/// The greatest number of bytes in a path: it is part of a row's key.
pub const PATH_BYTES_MAX: usize = 400;
/// The greatest number of bytes in a content type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Number of streams in memory above which unused ones are searched at once.
const PLACES_MIN: usize = 1024;

/// The name of a stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The gateway that it belongs to.
    pub gateway: Gateway,
    /// The path, at most [`PATH_BYTES_MAX`] bytes.
    pub path: Box<str>,
}

/// The plan of a new stream.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The content type of what it holds.
    pub content_type: Box<str>,
    /// The lifetime of the stream.
    pub lifetime: Lifetime,
    /// Whether the stream ends with its first content.
    pub closed: bool,
}

/// The result of creating a stream.
pub enum Created {
    /// The stream is new.
    New(Arc<UserStream>),
    /// There is one under this name, and it is as planned.
    Same(Arc<UserStream>),
    /// There is one under this name, and it is another.
    Other,
}

/// All streams of users.
pub struct UserStreams {
    this: Weak<UserStreams>,
    log: Arc<dyn Rows>,
    clock: Clock,
    runtime: Handle,
    places: Mutex<Places>,
    /// Notifies the expiry that a stream is to be removed.
    to_delete: Notify,
}

struct Places {
    by_key: HashMap<Key, Arc<Place>>,
    /// Number of streams above which unused ones are searched.
    max: usize,
}

/// A path and the stream under it. Creating and removing hold the lock.
#[derive(Default)]
struct Place {
    life: RwLock<SlotState>,
    /// Whether it was used since the last search for unused ones.
    used: AtomicBool,
}

#[derive(Default)]
enum SlotState {
    #[default]
    Unknown,
    Nothing,
    There(Arc<UserStream>),
}

impl UserStreams {
    /// Makes the streams that `log` holds. Work that continues after its caller is gone runs on `runtime`.
    #[must_use]
    pub fn new(log: Arc<dyn Rows>, clock: Clock, runtime: Handle) -> Arc<UserStreams> {
        let places = Mutex::new(Places { by_key: HashMap::new(), max: PLACES_MIN });
        Arc::new_cyclic(|this| UserStreams {
            this: Weak::clone(this),
            log,
            clock,
            runtime,
            places,
            to_delete: Notify::new(),
        })
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().expect("nothing panics while it holds this lock")
    }

    fn place(&self, key: &Key) -> Arc<Place> {
        let mut places = self.places();
        if let Some(place) = places.by_key.get(key) {
            place.used.store(true, Ordering::Relaxed);
            return Arc::clone(place);
        }
        if places.by_key.len() >= places.max {
            places.forget_unused(|_| true);
            places.max = PLACES_MIN.max(2 * places.by_key.len());
        }
        let place = Arc::new(Place { used: AtomicBool::new(true), ..Place::default() });
        places.by_key.insert(key.clone(), Arc::clone(&place));
        place
    }

    /// Finds the stream that `key` names.
    ///
    /// # Errors
    /// `internal` when the log is damaged.
    pub async fn find(&self, key: &Key) -> Result<Option<Arc<UserStream>>, Failure> {
        let place = self.place(key);
        {
            let life = place.life.read().await;
            if let Some(known) = self.known(&life) {
                return Ok(known);
            }
        }
        let mut life = place.life.write().await;
        self.load(key, &mut life).await?;
        Ok(self.known(&life).flatten())
    }

    /// Returns the stream of a path, unless it has expired.
    fn known(&self, life: &SlotState) -> Option<Option<Arc<UserStream>>> {
        match life {
            SlotState::Unknown => None,
            SlotState::Nothing => Some(None),
            SlotState::There(stream) => {
                let there = !stream.tail().gone && !stream.is_over(self.clock.now());
                Some(there.then(|| Arc::clone(stream)))
            }
        }
    }

    /// Loads the stream of a path. Cancel-safe: a dropped call leaves the path unknown, as before.
    async fn load(&self, key: &Key, life: &mut SlotState) -> Result<(), Failure> {
        if !matches!(life, SlotState::Unknown) {
            return Ok(());
        }
        let damaged = || Failure::internal("a row of a stream is damaged");
        let Some(head) = self.log.row(row::head(key)).await? else {
            *life = SlotState::Nothing;
            return Ok(());
        };
        let head: Head = crate::wire::row::decode(&head).ok_or_else(damaged)?;
        let mark = self.log.row(row::mark(head.id)).await?.ok_or_else(damaged)?;
        let mark: Mark = crate::wire::row::decode(&mark).ok_or_else(damaged)?;
        *life = SlotState::There(UserStream::new(key.clone(), head, mark, Arc::clone(&self.log)));
        Ok(())
    }

    /// Creates a stream with its first content, which may be empty, or finds the one that exists. Durable when it
    /// resolves. Cancel-safe: once it is polled it goes through.
    ///
    /// # Errors
    /// `invalid`, naming `body`; `too_large`; `overloaded`.
    pub async fn create(&self, key: Key, plan: Plan, body: Bytes) -> Result<Created, Failure> {
        self.carry(|streams| Box::pin(async move { streams.create_now(&key, &plan, &body).await })).await
    }

    async fn create_now(&self, key: &Key, plan: &Plan, body: &Bytes) -> Result<Created, Failure> {
        let place = self.place(key);
        let mut life = place.life.write().await;
        self.load(key, &mut life).await?;
        if let Some(Some(stream)) = self.known(&life) {
            let same = durable_streams::same_type(stream.content_type(), &plan.content_type)
                && stream.lifetime() == plan.lifetime
                && stream.tail().closed == plan.closed;
            return Ok(if same { Created::Same(stream) } else { Created::Other });
        }
        let content = if body.is_empty() { Vec::new() } else { content::rows(Form::of(&plan.content_type), body)? };
        let now = self.clock.now();
        let id = StreamId::generate();
        let head = Head { id, content_type: plan.content_type.clone(), lifetime: plan.lifetime, created_at: now };
        let mark = Mark { next: content.len() as u64, closed: plan.closed, used_at: now, ..Mark::default() };
        if let SlotState::There(stream) = &*life {
            // It has expired and is not removed yet.
            stream.end(self).await?;
            *life = SlotState::Nothing;
            self.to_delete.notify_one();
        }
        let mut rows = vec![Row::put(row::head(key), row::bytes(&head))];
        rows.push(Row::put(row::mark(id), row::bytes(&mark)));
        rows.extend((0..).zip(content).map(|(at, content)| Row::put(row::content(id, at), content)));
        rows.extend(plan.lifetime.ends(now).map(|end| Row::put(row::due(end, id), row::due_row(key))));
        self.log.write_rows(rows).await?;
        let stream = UserStream::new(key.clone(), head, mark, Arc::clone(&self.log));
        *life = SlotState::There(Arc::clone(&stream));
        Ok(Created::New(stream))
    }

    /// Removes a stream; its rows are removed in the background. Returns whether there was one. Durable when it
    /// resolves. Cancel-safe: once it is polled it goes through.
    ///
    /// # Errors
    /// `overloaded`; `internal` when the log is damaged.
    pub async fn delete(&self, key: Key) -> Result<bool, Failure> {
        self.carry(|streams| Box::pin(async move { streams.remove(&key, |_| true).await })).await
    }

    /// Removes the stream that `key` names if `meant` accepts it, even if it has expired. Returns whether there was one
    /// before.
    async fn remove(&self, key: &Key, meant: impl Fn(&UserStream) -> bool) -> Result<bool, Failure> {
        let place = self.place(key);
        let mut life = place.life.write().await;
        self.load(key, &mut life).await?;
        let SlotState::There(stream) = &*life else { return Ok(false) };
        if !meant(stream) {
            return Ok(false);
        }
        let was_there = self.known(&life).flatten().is_some();
        let ended = stream.end(self).await?;
        *life = SlotState::Nothing;
        self.to_delete.notify_one();
        Ok(was_there && ended)
    }

    /// Completes `work`, even if the caller is dropped.
    async fn carry<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<UserStreams>) -> BoxFuture<'static, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let this = self.this.upgrade().ok_or_else(|| Failure::internal("the streams are closed"))?;
        let carried = self.runtime.spawn(work(this));
        carried.await.unwrap_or_else(|_| Err(Failure::internal("a bug: work on a stream panicked")))
    }
}

impl Places {
    /// Removes from memory the streams that are not in use and that `may_go` accepts.
    fn forget_unused(&mut self, may_go: impl Fn(&Place) -> bool) {
        self.by_key.retain(|_, place| {
            // A caller takes a stream under this lock, so none can be taken during the search.
            let is_held = Arc::strong_count(place) > 1
                || match place.life.try_read().as_deref() {
                    Ok(SlotState::There(stream)) => Arc::strong_count(stream) > 1,
                    Ok(SlotState::Unknown | SlotState::Nothing) => false,
                    Err(_) => true,
                };
            is_held || !may_go(place)
        });
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
