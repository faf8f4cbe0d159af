//! The index of streams in memory, by job id and idempotency key.
//!
//! Owns exactness of "one stream per id and key": a caller that opens a stream claims its id and key first, under one
//! lock. Streams that are not here are in the store, except for the `forgotten` ones. Does no IO.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use crate::job::{Gateway, Job, JobId, StreamId};
use crate::log::stream::{Head, Stream};

/// Number of weak entries above which entries of dropped streams are removed: each takes some 40 bytes.
const WARM_MIN: usize = 1024;

/// The index of streams that are in memory.
#[derive(Default)]
pub(crate) struct StreamIndex {
    /// Streams that are unfinished or unsealed.
    streams: HashMap<StreamId, Arc<Stream>>,
    ids: HashMap<JobId, StreamId>,
    keys: HashMap<(Gateway, Box<str>), StreamId>,
    /// Sealed streams that a reader holds, so that all readers share one.
    warm: HashMap<StreamId, Weak<Stream>>,
    warm_max: usize,
    claimed_ids: HashSet<JobId>,
    claimed_keys: HashSet<(Gateway, Box<str>)>,
    /// Streams whose forget is durable and not yet done in the store.
    forgotten: HashSet<StreamId>,
}

/// The result of a claim.
pub(crate) enum Claimed {
    /// The id or key names this stream.
    Known(Arc<Stream>),
    /// Another caller is looking the id or key up.
    Busy,
    /// The claim is the caller's until [`StreamIndex::release`].
    Mine,
}

impl StreamIndex {
    /// Claims the id and key of `job`.
    pub(crate) fn claim(&mut self, job: &Job) -> Claimed {
        let key = key_of(job);
        let by_key = key.as_ref().and_then(|key| self.keys.get(key));
        if let Some(stream) = self.ids.get(&job.id).or(by_key).and_then(|id| self.streams.get(id)) {
            return Claimed::Known(Arc::clone(stream));
        }
        if self.claimed_ids.contains(&job.id) || key.as_ref().is_some_and(|key| self.claimed_keys.contains(key)) {
            return Claimed::Busy;
        }
        self.claimed_ids.insert(job.id.clone());
        self.claimed_keys.extend(key);
        Claimed::Mine
    }

    /// Gives up the claim on the id and key of `job`.
    pub(crate) fn release(&mut self, job: &Job) {
        self.claimed_ids.remove(&job.id);
        if let Some(key) = key_of(job) {
            self.claimed_keys.remove(&key);
        }
    }

    /// Adds a stream that is not sealed.
    pub(crate) fn enter(&mut self, stream: &Arc<Stream>) {
        let head = stream.head();
        self.ids.insert(head.id.clone(), head.stream);
        if let Some(key) = &head.idempotency_key {
            self.keys.insert((head.gateway.clone(), key.clone()), head.stream);
        }
        self.streams.insert(head.stream, Arc::clone(stream));
    }

    /// Removes a stream that is sealed or forgotten, or whose creation failed. Returns it.
    pub(crate) fn remove(&mut self, head: &Head) -> Option<Arc<Stream>> {
        if self.ids.get(&head.id) == Some(&head.stream) {
            self.ids.remove(&head.id);
        }
        if let Some(key) = &head.idempotency_key {
            let key = (head.gateway.clone(), key.clone());
            if self.keys.get(&key) == Some(&head.stream) {
                self.keys.remove(&key);
            }
        }
        self.streams.remove(&head.stream)
    }

    /// Keeps a finished stream that is sealed for the readers that hold it: a later lookup shares it, or reads it from
    /// the store.
    pub(crate) fn retire(&mut self, head: &Head) {
        if let Some(stream) = self.remove(head) {
            self.warm(&stream);
        }
    }

    /// Remembers a sealed stream while a reader holds it; returns the stream that is remembered.
    pub(crate) fn warm(&mut self, stream: &Arc<Stream>) -> Arc<Stream> {
        if let Some(known) = self.get(stream.head().stream) {
            return known;
        }
        if self.warm.len() >= self.warm_max.max(WARM_MIN) {
            self.warm.retain(|_, stream| stream.strong_count() > 0);
            self.warm_max = 2 * self.warm.len();
        }
        self.warm.insert(stream.head().stream, Arc::downgrade(stream));
        Arc::clone(stream)
    }

    /// Returns a stream that is in memory.
    pub(crate) fn get(&self, id: StreamId) -> Option<Arc<Stream>> {
        self.streams.get(&id).cloned().or_else(|| self.warm.get(&id).and_then(Weak::upgrade))
    }

    /// Returns the unsealed stream of a job.
    pub(crate) fn of_job(&self, id: &JobId) -> Option<Arc<Stream>> {
        self.ids.get(id).and_then(|id| self.streams.get(id)).cloned()
    }

    /// Removes a stream whose forget is durable: no lookup finds it any more.
    pub(crate) fn forget(&mut self, id: StreamId) {
        self.forgotten.insert(id);
        let stream = self.streams.get(&id).cloned();
        if let Some(stream) = stream {
            self.remove(stream.head());
        }
        self.warm.remove(&id);
    }

    /// Forgets that a stream was being removed: the store no longer has it.
    pub(crate) fn removed(&mut self, id: StreamId) {
        self.forgotten.remove(&id);
        self.warm.remove(&id);
    }

    /// Returns whether the store's rows of this stream are to be passed over.
    pub(crate) fn is_forgotten(&self, id: StreamId) -> bool {
        self.forgotten.contains(&id)
    }

    /// Iterates over the unsealed streams.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.streams.values()
    }

    /// Returns the number of unsealed streams.
    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }
}

fn key_of(job: &Job) -> Option<(Gateway, Box<str>)> {
    job.idempotency_key.clone().map(|key| (job.gateway.clone(), key))
}
