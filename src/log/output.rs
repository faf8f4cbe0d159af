//! Large outputs as they are written and read: chunk by chunk, never whole.
//!
//! Owns the handles, which both implementations of the log give out, and how a range is read. Does not know where an
//! output is stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;

use crate::job::Failure;

/// Bytes that are read or written at once. Large enough that a hop to a thread that may block is cheap beside it,
/// small enough for many readers at once.
pub(super) const OUTPUT_CHUNK_BYTES: usize = 256 * 1024;

/// An output that was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredOutput {
    /// Hexadecimal SHA-256 of its bytes: the name under which it is read.
    pub sha256: String,
    /// Number of bytes of the output.
    pub bytes: u64,
}

/// What an implementation of the log does for an [`OutputWriter`].
pub(super) trait WriteOutput: Send {
    /// Appends bytes to the output.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Failure>>;

    /// Makes the output durable and readable under its digest.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<StoredOutput, Failure>>;
}

/// An output that is being written. Dropped before [`OutputWriter::finish`] has resolved, it leaves nothing behind
/// or the whole output.
pub struct OutputWriter(Box<dyn WriteOutput>);

impl std::fmt::Debug for OutputWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OutputWriter")
    }
}

impl OutputWriter {
    /// Makes the handle of an output that `inner` writes.
    pub(super) fn new(inner: impl WriteOutput + 'static) -> OutputWriter {
        OutputWriter(Box::new(inner))
    }

    /// Appends bytes, and resolves when they may be followed by more. Not cancel-safe: drop the writer as well.
    ///
    /// # Errors
    /// `overloaded` when the disk is full.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.0.write(bytes).await
    }

    /// Stores the output under its digest: durable and readable when it resolves.
    ///
    /// # Errors
    /// `overloaded` when the disk is full.
    pub async fn finish(self) -> Result<StoredOutput, Failure> {
        self.0.finish().await
    }
}

/// What an implementation of the log does for an [`OutputReader`].
pub(super) trait ReadOutput: Send + Sync {
    /// Reads up to `len` bytes at `offset`; fewer only at the end of the output.
    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Bytes, Failure>>;
}

/// A stored output that is being read. It stays readable while the reader is held, even if its job is removed.
pub struct OutputReader {
    source: Arc<dyn ReadOutput>,
    len: u64,
    rest: Range<u64>,
}

impl std::fmt::Debug for OutputReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputReader").field("len", &self.len).field("rest", &self.rest).finish_non_exhaustive()
    }
}

impl OutputReader {
    /// Makes the reader of an output of `len` bytes.
    pub(super) fn new(source: impl ReadOutput + 'static, len: u64) -> OutputReader {
        OutputReader { source: Arc::new(source), len, rest: 0..len }
    }

    /// Returns the number of bytes of the whole output.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the whole output has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads only these bytes of the output; what lies after its end is left out.
    #[must_use]
    pub fn range(mut self, range: Range<u64>) -> OutputReader {
        let end = range.end.min(self.len);
        self.rest = range.start.min(end)..end;
        self
    }

    /// Returns the number of bytes that are still to be read.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.rest.end - self.rest.start
    }

    /// Reads the next chunk; `None` at the end. Cancel-safe: a dropped call has not advanced.
    ///
    /// # Errors
    /// `internal` when the output cannot be read.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let len = usize::try_from(self.remaining()).unwrap_or(usize::MAX).min(OUTPUT_CHUNK_BYTES);
        let bytes = self.source.read(self.rest.start, len).await?;
        if bytes.len() != len {
            return Err(Failure::internal("an output is shorter than it was"));
        }
        self.rest.start += len as u64;
        Ok(Some(bytes))
    }

    /// Reads everything that is left into memory. Check [`OutputReader::remaining`] before.
    ///
    /// # Errors
    /// `internal` when the output cannot be read.
    pub async fn read_whole(&mut self) -> Result<Bytes, Failure> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if self.rest.is_empty() && whole.is_empty() {
                return Ok(chunk);
            }
            if whole.is_empty() {
                whole.reserve(chunk.len() + usize::try_from(self.remaining()).unwrap_or(0));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}
