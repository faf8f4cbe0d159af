//! Expiry of users' streams: they end, their rows are removed, their memory is given back.
//!
//! Owns removal in small batches. A row marks each removed stream until all its rows are gone, so that a crash only delays
//! the removal. Another row holds the time at which to check a stream that may expire; it is moved on if the stream has
//! been used since.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::{UserStreams, row};
use crate::job::{Failure, StreamId};
use crate::log::{Row, RowRange};

/// Time between two searches for streams that have expired.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Number of searches after which a stream that is not used leaves memory.
const FORGET_EVERY: u32 = 30;
/// Number of rows that are removed at once.
const REMOVE_ROWS: usize = 256;
/// Bytes of the values that are read for one removal.
const REMOVE_BYTES: usize = 1024 * 1024;
/// Number of streams that one round looks at.
const LOOK_ROWS: usize = 64;

impl UserStreams {
    /// Removes streams that have expired and the rows of removed ones, until it is dropped.
    pub async fn expire_loop(self: Arc<Self>) {
        for round in 1_u32.. {
            if let Err(failure) = self.tend_once().await {
                tracing::warn!(target: "forebay::feed", %failure, "streams could not be tidied up; trying again");
            }
            if round.is_multiple_of(FORGET_EVERY) {
                self.places().forget_unused(|place| !place.used.swap(false, Ordering::Relaxed));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.to_delete.notified() => {}
            }
        }
    }

    async fn tend_once(&self) -> Result<(), Failure> {
        self.end_due().await?;
        for (key, _) in self.page(row::all_doomed(), LOOK_ROWS).await? {
            if let Some(id) = row::doomed_of(&key) {
                self.clear(id).await?;
            }
        }
        Ok(())
    }

    async fn page(&self, prefix: Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.log.rows(RowRange { prefix, after: None, limit, budget_bytes: REMOVE_BYTES }).await
    }

    async fn end_due(&self) -> Result<(), Failure> {
        let now = self.clock.now();
        for (due, place) in self.page(row::all_due(), LOOK_ROWS).await? {
            let Some((at, id, key)) = row::due_of(&due, &place) else {
                self.log.write_rows(vec![Row::remove(due)]).await?;
                continue;
            };
            if at > now {
                break;
            }
            let mut rows = vec![Row::remove(due)];
            if let Some(stream) = self.find(&key).await?.filter(|stream| stream.head.id == id) {
                // It was used in the meantime.
                rows.extend(stream.ends().map(|end| Row::put(row::due(end.max(now.plus_ms(1)), id), place)));
            } else {
                self.remove(&key, |stream| stream.head.id == id).await?;
            }
            self.log.write_rows(rows).await?;
        }
        Ok(())
    }

    /// Removes all rows of a stream that was removed.
    async fn clear(&self, id: StreamId) -> Result<(), Failure> {
        for prefix in [row::contents(id), row::producers(id)] {
            loop {
                let page = self.page(prefix.clone(), REMOVE_ROWS).await?;
                if page.is_empty() {
                    break;
                }
                self.log.write_rows(page.into_iter().map(|(key, _)| Row::remove(key)).collect()).await?;
            }
        }
        self.log.write_rows(vec![Row::remove(row::mark(id)), Row::remove(row::to_delete(id))]).await
    }
}
