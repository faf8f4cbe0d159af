//! What follows a commit: readers see the batch, queries see its charges and rows, callers get their answers.
//!
//! Owns the order of these. Runs on the committer's thread; does no IO.

use std::sync::Arc;

use super::queue::Op;
use super::shared::{Shared, lock};
use super::unsealed::{Forgotten, Slot};
use crate::job::Failure;
use crate::log::rows;

/// Shows a durable batch to readers, then notes the sealer's work.
pub(crate) fn publish(shared: &Shared, file: u64, tick: u64, line: u64, mut batch: Vec<Op>) {
    index_batch(shared, (file, line), &mut batch);
    let mut forgotten = Vec::new();
    for op in &batch {
        match op {
            Op::Create { stream, block, .. } => stream.publish(Arc::clone(block), false, None),
            Op::Append { stream, block, streaming, extras } => {
                let outcome = extras.as_ref().and_then(|extras| extras.outcome.clone());
                stream.publish(Arc::clone(block), *streaming, outcome);
            }
            Op::Forget { stream, .. } => forgotten.push(*stream),
            Op::Rows { .. } | Op::RowsIf(_) => {}
        }
    }
    if !forgotten.is_empty() {
        let mut index = lock(&shared.index);
        for stream in forgotten {
            index.forget(stream);
        }
    }
    let (mut answers, mut conditional_answers) = (Vec::new(), Vec::new());
    let mut unsealed = lock(&shared.unsealed);
    for op in batch {
        match op {
            Op::Create { stream, block, .. } | Op::Append { stream, block, .. } => {
                unsealed.committed(stream.head().stream, file, block.next_seq(), block.weight());
            }
            Op::Forget { stream, id, done } => {
                unsealed.forget(file, Forgotten { stream, id });
                answers.push(done);
            }
            Op::Rows { done, .. } => answers.push(done),
            Op::RowsIf(conditional) => conditional_answers.push(conditional),
        }
    }
    if let Some(current) = unsealed.files.back_mut() {
        current.last_tick = tick;
    }
    drop(unsealed);
    for done in answers {
        // The caller may be gone; the operation is done all the same.
        let _ = done.send(Ok(()));
    }
    for conditional in conditional_answers {
        conditional.answer(shared, Ok(()));
    }
}

/// Puts jobs, charges and rows of a batch where readers and queries look, before a reader can see the batch's streams
/// and terminals.
fn index_batch(shared: &Shared, (file, mut line): (u64, u64), batch: &mut [Op]) {
    let (mut lines, mut slots, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for op in batch {
        match op {
            Op::Create { stream, job, .. } => slots.push(Slot::new(Arc::clone(stream), Some(job.clone()), None)),
            Op::Append { extras: Some(extras), .. } => {
                let charges = std::mem::take(&mut extras.charges);
                let count = charges.len() as u64;
                lines.extend((line..).zip(charges));
                line += count;
                rows.extend(rows::decode(&extras.rows).unwrap_or_default());
            }
            Op::Rows { rows: batch, .. } => rows.extend(rows::decode(batch).unwrap_or_default()),
            Op::RowsIf(conditional) if conditional.holds() => {
                rows.extend(rows::decode(&conditional.rows).unwrap_or_default());
            }
            _ => {}
        }
    }
    if !lines.is_empty() || !slots.is_empty() || !rows.is_empty() {
        let mut unsealed = lock(&shared.unsealed);
        unsealed.charge(lines);
        unsealed.rows.put(file, rows);
        unsealed.slots.extend(slots.into_iter().map(|slot| (slot.stream.head().stream, slot)));
    }
}

pub(crate) fn fail(shared: &Shared, ops: Vec<Op>, failure: &Failure) {
    for op in ops {
        match op {
            Op::Create { stream, .. } => {
                lock(&shared.index).remove(stream.head());
                stream.fail_creation();
            }
            Op::Append { stream, .. } => stream.fail_pending(),
            Op::Forget { done, .. } | Op::Rows { done, .. } => {
                let _ = done.send(Err(failure.clone()));
            }
            Op::RowsIf(conditional) => conditional.answer(shared, Err(failure.clone())),
        }
    }
}
