//! Rows written, read and sealed.
//!
//! Owns how the rows in memory and those of the store are one map: a reader holds `rows_gate`, so
//! that no row moves from one to the other under its eyes, and takes what is in memory first.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::queue::Op;
use super::queue::Phase;
use super::schema::Tree;
use super::shared::{Shared, lock};
use crate::job::Failure;
use crate::log::rows;
use crate::log::rows::{Row, RowRange};

/// Rows that are sealed while readers wait.
const PAGE: usize = 64;

/// What tells when a batch is durable.
pub(crate) type RowsResult = oneshot::Receiver<Result<(), Failure>>;

/// Hands a batch to the committer. What only removes is taken on a full disk too.
pub(crate) fn write(shared: &Shared, rows: &[Row]) -> Result<RowsResult, Failure> {
    if rows.iter().any(|row| row.value.is_some()) {
        shared.disk.admit()?;
    }
    let rows = rows::encode(rows)?;
    super::streams::fits(rows.len())?;
    let (done, durable) = oneshot::channel();
    shared.push(Op::Rows { rows, done })?;
    Ok(durable)
}

/// See [`crate::log::Log::row`].
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

/// See [`crate::log::Log::rows`]. Blocks.
pub(crate) fn range(shared: &Shared, wanted: &RowRange) -> Result<Vec<(Bytes, Bytes)>, Failure> {
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
    /// Adds a row if there is room for it. Returns whether there is room for another.
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
