//! Where the content of a durable stream comes from: a job's records, or a user's own stream.

use std::sync::Arc;
use std::time::Duration;

use crate::dialect::durable_streams::Form;
use crate::http::context::RequestContext;
use crate::job::{Code, Epoch, Failure};
use crate::log;
use crate::streams::{Key, Page, UserStream, UserStreams};
use crate::wire::{Cursor, record};

/// Stored bytes of a job's records in one page: small records grow eightfold when they are rendered.
const PAGE_STORED_BYTES: usize = 128 * 1024;

pub(super) async fn find(context: &RequestContext<'_>, key: &Key) -> Result<Arc<UserStream>, Failure> {
    context.broker().user_streams.find(key).await?.ok_or_else(no_stream)
}

pub(super) fn no_stream() -> Failure {
    Failure::new(Code::NotFound, "no such stream")
}

/// Where content comes from.
pub(super) enum Source {
    /// A job's records, as JSON messages.
    Job(Arc<log::Stream>, Arc<dyn log::Streams>),
    /// A user's own stream.
    UserStream(Arc<UserStream>, Arc<UserStreams>),
}

/// Stored bytes to read so that about `bytes` are sent.
pub(super) fn budget(source: &Source, bytes: usize) -> usize {
    match source {
        Source::Job(..) => bytes.min(PAGE_STORED_BYTES),
        Source::UserStream(..) => bytes,
    }
}

/// How far a stream is durable, and whether it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct End {
    pub(super) next: u64,
    pub(super) closed: bool,
    pub(super) gone: bool,
}

impl Source {
    pub(super) fn epoch(&self) -> Epoch {
        match self {
            Source::Job(stream, _) => stream.epoch(),
            Source::UserStream(feed, _) => feed.epoch(),
        }
    }

    pub(super) fn cursor(&self, seq: u64) -> Cursor {
        Cursor::At { epoch: self.epoch(), seq }
    }

    pub(super) fn form(&self) -> Form {
        match self {
            Source::Job(..) => Form::Json,
            Source::UserStream(feed, _) => feed.form(),
        }
    }

    pub(super) fn content_type(&self) -> &str {
        match self {
            Source::Job(..) => "application/json",
            Source::UserStream(feed, _) => feed.content_type(),
        }
    }

    pub(super) fn end(&self) -> End {
        match self {
            Source::Job(stream, _) => {
                let tail = stream.tail();
                End { next: tail.durable, closed: tail.state.is_terminal(), gone: false }
            }
            Source::UserStream(feed, _) => {
                let tail = feed.tail();
                End { next: tail.next, closed: tail.closed, gone: tail.gone }
            }
        }
    }

    /// Notes that the stream is read, which prolongs its lifetime.
    pub(super) fn touch(&self) {
        if let Source::UserStream(feed, feeds) = self {
            feed.used(feeds);
        }
    }

    /// Waits until there is something after `from`, or nothing will come. Cancel-safe.
    pub(super) async fn wait(&self, from: u64) -> Result<(), Failure> {
        let waited = match self {
            Source::Job(stream, _) => {
                stream.watch().wait_for(|tail| tail.durable > from || tail.state.is_terminal()).await.is_ok()
            }
            Source::UserStream(feed, _) => {
                feed.watch().wait_for(|tail| tail.next > from || tail.closed || tail.gone).await.is_ok()
            }
        };
        if waited { Ok(()) } else { Err(Failure::internal("the log is closed")) }
    }

    /// Waits as `wait` does, but for at most `limit`.
    pub(super) async fn wait_for(&self, from: u64, limit: Duration) -> Result<(), Failure> {
        tokio::time::timeout(limit, self.wait(from)).await.unwrap_or(Ok(()))
    }

    pub(super) async fn read(&self, from: u64, budget_bytes: usize) -> Result<Page, Failure> {
        let (stream, log) = match self {
            Source::UserStream(feed, _) => return feed.read(from, budget_bytes).await,
            Source::Job(stream, log) => (stream, log),
        };
        if from >= stream.tail().durable {
            return Ok(Page { content: Vec::new(), next: from });
        }
        let chunk = stream.read(log.as_ref(), from, budget_bytes).await?;
        let mut content = Vec::new();
        for (seq, stored) in chunk.iter() {
            if !content.is_empty() {
                content.push(b',');
            }
            record::decode(seq, stored)?.write_json(&mut content);
        }
        Ok(Page { content, next: chunk.next_seq() })
    }
}
