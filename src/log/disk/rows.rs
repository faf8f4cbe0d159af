//! Rows: writing, reading and sealing them.
//!
//! Owns how the rows in memory and those of the store are one map: a reader holds `rows_gate`, so that no row moves from
//! one to the other while it reads, and looks in memory first.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::DiskLog;
use super::queue::Phase;
use super::queue::{Op, check_append_size};
use super::rows_if;
use super::schema::Tree;
use super::shared::{Shared, lock};
use crate::job::Failure;
use crate::log::rows;
use crate::log::{Row, RowCondition, RowRange, Rows, RowsWritten};

/// Rows that are sealed while readers wait for the gate.
const PAGE: usize = 64;

/// Resolves when a batch is durable.
type RowsResult = oneshot::Receiver<Result<(), Failure>>;

impl Rows for DiskLog {
    fn write_rows(&self, rows: Vec<Row>) -> BoxFuture<'static, Result<(), Failure>> {
        let durable = write(&self.shared, &rows);
        async move { durable?.await.unwrap_or_else(|_| Err(Failure::internal("the log is closed"))) }.boxed()
    }

    fn write_rows_if(
        &self,
        conditions: Vec<RowCondition>,
        rows: Vec<Row>,
    ) -> BoxFuture<'_, Result<RowsWritten, Failure>> {
        rows_if::write(&self.shared, conditions, rows).boxed()
    }

    fn row(&self, key: Bytes) -> BoxFuture<'_, Result<Option<Bytes>, Failure>> {
        get(&self.shared, key).boxed()
    }

    fn rows(&self, range: RowRange) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>, Failure>> {
        self.shared.blocking(move |shared| page(shared, &range)).boxed()
    }
}

/// Encodes a batch that the log takes now. A batch that only removes rows is taken on a full disk too.
pub(crate) fn encode_admitted(shared: &Shared, rows: &[Row]) -> Result<Bytes, Failure> {
    if rows.iter().any(|row| row.value.is_some()) {
        shared.disk.admit()?;
    }
    let rows = rows::encode(rows)?;
    check_append_size(rows.len())?;
    Ok(rows)
}

/// Hands a batch to the committer.
fn write(shared: &Shared, rows: &[Row]) -> Result<RowsResult, Failure> {
    let rows = encode_admitted(shared, rows)?;
    let (done, durable) = oneshot::channel();
    shared.push(Op::Rows { rows, done })?;
    Ok(durable)
}

/// Reads one row: see [`Rows::row`].
pub(crate) async fn get(shared: &Arc<Shared>, key: Bytes) -> Result<Option<Bytes>, Failure> {
    let fresh = lock(&shared.unsealed).rows.get(&key);
    if let Some(value) = fresh {
        return Ok(value);
    }
    let look = move |shared: &Arc<Shared>| {
        let _gate = shared.rows_gate.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = lock(&shared.unsealed).rows.get(&key);
        match fresh {
            Some(value) => Ok(value),
            None => Ok(shared.store.get(Tree::Rows, &key)?.map(Bytes::from)),
        }
    };
    shared.blocking(look).await
}

/// Reads a page of rows: see [`Rows::rows`]. Blocks.
fn page(shared: &Shared, wanted: &RowRange) -> Result<Vec<(Bytes, Bytes)>, Failure> {
    let (from, to) = (wanted.from(), wanted.to());
    let _gate = shared.rows_gate.read().unwrap_or_else(PoisonError::into_inner);
    let fresh = lock(&shared.unsealed).rows.range(&from, &to, wanted.limit);
    let known = |key: &[u8]| fresh.binary_search_by(|(fresh, _)| fresh[..].cmp(key)).is_ok();
    let mut page = Page { wanted, rows: Vec::new(), bytes: 0 };
    let mut next = fresh.iter();
    // The store's keys have a byte more than ours, so `from` as it is would include `after`.
    let first = [&from[..], if wanted.after.is_some() { &[0][..] } else { &[] }].concat();
    shared.store.scan_unknown(Tree::Rows, (&first, &to), &known, &mut |key, value| {
        while let Some((fresh, value)) = next.as_slice().first().filter(|(fresh, _)| fresh[..] < *key) {
            next.next();
            page.push(fresh, value.as_ref());
        }
        Ok(page.push(&Bytes::copy_from_slice(key), Some(&value.into())))
    })?;
    next.for_each(|(key, value)| {
        page.push(key, value.as_ref());
    });
    Ok(page.rows)
}

struct Page<'a> {
    wanted: &'a RowRange,
    rows: Vec<(Bytes, Bytes)>,
    bytes: usize,
}

impl Page<'_> {
    /// Adds a row if the page has space for it. Returns whether it has space for another.
    fn push(&mut self, key: &Bytes, value: Option<&Bytes>) -> bool {
        if let Some(value) = value
            && self.wanted.takes(self.rows.len(), self.bytes)
        {
            self.bytes += value.len();
            self.rows.push((key.clone(), value.clone()));
        }
        self.wanted.takes(self.rows.len(), self.bytes)
    }
}

/// Moves every row that is durable by now into the store. Blocks.
pub(crate) fn seal(shared: &Shared) -> Result<(), Failure> {
    let version = lock(&shared.unsealed).rows.version();
    let mut after: Option<Bytes> = None;
    while shared.phase() != Phase::Dropped {
        let page = lock(&shared.unsealed).rows.page(after.as_ref(), version, PAGE);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        let _gate = shared.rows_gate.write().unwrap_or_else(PoisonError::into_inner);
        for (key, held) in &page {
            shared.store.replace(Tree::Rows, key, held.value.as_deref())?;
        }
        let mut unsealed = lock(&shared.unsealed);
        for (key, held) in &page {
            unsealed.rows.sealed(key, held.version);
        }
    }
    Ok(())
}
