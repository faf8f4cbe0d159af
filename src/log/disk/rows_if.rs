//! Conditional writes of rows.
//!
//! Owns how conditions are compared: by the committer, which sees every batch in order, with what is on its way,
//! then with what is in memory, then with what the caller read from the store. Promises that this last value is
//! current: the key is watched from before it is read, so that a row which is sealed meanwhile is remembered.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::queue::Op;
use super::rows;
use super::shared::{Shared, lock};
use crate::job::Failure;
use crate::log::rows as batch;
use crate::log::{Row, RowCondition, RowsWritten};

/// A conditional batch on its way to the committer.
pub(crate) struct ConditionalRows {
    /// Conditions, each with what the store held under its key. Taken when they are compared.
    conditions: Vec<(RowCondition, Option<Bytes>)>,
    /// The batch, as [`batch::encode`] made it.
    pub(crate) rows: Bytes,
    /// The result of the comparison.
    pub(crate) outcome: RowsWritten,
    done: oneshot::Sender<Result<RowsWritten, Failure>>,
}

impl ConditionalRows {
    /// Answers the caller, which may be gone.
    pub(crate) fn answer(self, shared: &Shared, result: Result<(), Failure>) {
        unwatch(shared, self.conditions.iter().map(|(condition, _)| &condition.key));
        let _ = self.done.send(result.map(|()| self.outcome));
    }

    /// Returns whether the conditions hold, so that the rows are written.
    pub(crate) fn holds(&self) -> bool {
        self.outcome == RowsWritten::Written
    }
}

/// Writes rows on conditions: see [`crate::log::Rows::write_rows_if`].
pub(crate) async fn write(
    shared: &Arc<Shared>,
    conditions: Vec<RowCondition>,
    rows: Vec<Row>,
) -> Result<RowsWritten, Failure> {
    batch::check_conditions(&conditions, &rows)?;
    let rows = rows::encode_admitted(shared, &rows)?;
    let keys: Vec<Bytes> = conditions.iter().map(|condition| condition.key.clone()).collect();
    let watch = Watch::new(shared, &keys);
    let mut stored = Vec::with_capacity(keys.len());
    for key in keys {
        stored.push(rows::get(shared, key).await?);
    }
    let (done, written) = oneshot::channel();
    let conditions = conditions.into_iter().zip(stored).collect();
    shared.push(Op::RowsIf(Box::new(ConditionalRows { conditions, rows, outcome: RowsWritten::Written, done })))?;
    watch.hand_over();
    written.await.unwrap_or_else(|_| Err(Failure::internal("the log is closed")))
}

/// Keys that are watched for a batch until it is with the committer.
struct Watch<'a> {
    shared: &'a Shared,
    keys: Vec<Bytes>,
}

impl<'a> Watch<'a> {
    fn new(shared: &'a Shared, keys: &[Bytes]) -> Watch<'a> {
        let mut unsealed = lock(&shared.unsealed);
        keys.iter().for_each(|key| unsealed.rows.watch(key));
        Watch { shared, keys: keys.to_vec() }
    }

    fn hand_over(mut self) {
        self.keys.clear();
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        unwatch(self.shared, self.keys.iter());
    }
}

fn unwatch<'a>(shared: &Shared, keys: impl ExactSizeIterator<Item = &'a Bytes>) {
    if keys.len() > 0 {
        let mut unsealed = lock(&shared.unsealed);
        keys.for_each(|key| unsealed.rows.unwatch(key));
    }
}

/// The rows of a commit that is being put together. Gathered only once a conditional batch is in it.
#[derive(Default)]
pub(crate) struct CommitRows(Option<HashMap<Bytes, Option<Bytes>>>);

impl CommitRows {
    /// Compares the conditions of `op` with what is before it: `before` are the operations of this commit.
    pub(crate) fn compare(&mut self, shared: &Shared, op: &mut ConditionalRows, before: &[Op]) {
        let rows = self.0.get_or_insert_with(|| {
            let mut rows = HashMap::new();
            before.iter().for_each(|op| gather(&mut rows, op));
            rows
        });
        let (conditions, stored): (Vec<_>, Vec<_>) = std::mem::take(&mut op.conditions).into_iter().unzip();
        let mut stored = stored.into_iter();
        let mut unsealed = lock(&shared.unsealed);
        op.outcome = batch::compare(&conditions, |RowCondition { key, .. }| {
            let stored = stored.next().flatten();
            rows.get(key).cloned().or_else(|| unsealed.rows.get_watched(key)).unwrap_or(stored)
        });
        conditions.iter().for_each(|condition| unsealed.rows.unwatch(&condition.key));
    }

    /// Takes note of an operation that was put into the commit.
    pub(crate) fn add(&mut self, op: &Op) {
        if let Some(rows) = &mut self.0 {
            gather(rows, op);
        }
    }
}

fn gather(rows: &mut HashMap<Bytes, Option<Bytes>>, op: &Op) {
    let encoded = match op {
        Op::Append { extras: Some(extras), .. } => &extras.rows,
        Op::Rows { rows, .. } => rows,
        Op::RowsIf(conditional) if conditional.holds() => &conditional.rows,
        _ => return,
    };
    rows.extend(batch::decode(encoded).unwrap_or_default().into_iter().map(|row| (row.key, row.value)));
}
