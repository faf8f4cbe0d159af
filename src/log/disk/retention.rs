//! Retention: how long jobs are kept, and what is left of them afterwards.
//!
//! Owns removal: by age, by size (oldest finished first), and by `forget`. An expired job leaves a tombstone for a while,
//! a forgotten one nothing. Rows are removed in an order that can be repeated after a crash. Runs on the sealer's thread.

use super::files;
use super::schema::{self, StreamRow, Tree};
use super::sealer::Sealing;
use super::shared::{Shared, lock};
use super::store::Store;
use super::unsealed::Forgotten;
use crate::job::{Failure, JobId, StreamId, Timestamp};
use crate::log::{Head, Tombstone};
use crate::wire::row;

/// Streams removed in one pass, so that sealing does not wait long.
const REMOVALS_MAX: usize = 1000;

/// Adds a finished stream to the order of removal.
pub(crate) fn enter(store: &Store, head: &Head, at: Timestamp, bytes: u64) -> Result<(), Failure> {
    match head.retention_s {
        None => store.put(Tree::Expiry, &schema::time_key(at, head.stream), &bytes.to_be_bytes()),
        Some(_) => store.put(Tree::ExpiryOwn, &due_key(head, at), &row::encode(&(at, bytes))),
    }
}

fn due_key(head: &Head, at: Timestamp) -> [u8; 24] {
    schema::time_key(at.plus_ms(head.retention_s.unwrap_or(0).saturating_mul(1000)), head.stream)
}

/// A candidate for removal.
struct Oldest {
    tree: Tree,
    row: Vec<u8>,
    stream: StreamId,
    finished_at: Timestamp,
    bytes: u64,
    due: bool,
}

/// Removes streams that are over age or over size, and old tombstones. Returns whether something was removed.
pub(crate) fn expire(shared: &Shared, sealing: &mut Sealing) -> Result<bool, Failure> {
    let now = shared.clock.now();
    let mut total = match sealing.finished_bytes {
        Some(bytes) => bytes,
        None => count(&shared.store)?,
    };
    let mut removed = 0;
    while removed < REMOVALS_MAX {
        let over = total > shared.config.retention_bytes;
        let aged = oldest(shared, Tree::Expiry, now)?;
        let due = oldest(shared, Tree::ExpiryOwn, now)?;
        let next = match (aged, due) {
            (Some(aged), _) if aged.due => aged,
            (_, Some(due)) if due.due => due,
            (Some(aged), Some(due)) if over => {
                if aged.finished_at <= due.finished_at {
                    aged
                } else {
                    due
                }
            }
            (Some(one), None) | (None, Some(one)) if over => one,
            _ => break,
        };
        remove(shared, next.stream, Some(now))?;
        shared.store.remove(next.tree, &next.row)?;
        total = total.saturating_sub(next.bytes);
        removed += 1;
    }
    sealing.finished_bytes = Some(total);
    Ok(forget_tombstones(shared, now)? || removed > 0)
}

fn oldest(shared: &Shared, tree: Tree, now: Timestamp) -> Result<Option<Oldest>, Failure> {
    let mut found = None;
    shared.store.scan(tree, &[], &[0xff; 25], &mut |row_key, row| {
        found = row_of(tree, row_key, &row).map(|(at, stream, finished_at, bytes)| {
            let kept_ms = if tree == Tree::Expiry { shared.config.retention_s.saturating_mul(1000) } else { 0 };
            let due = at.plus_ms(kept_ms) <= now;
            Oldest { tree, row: row_key.to_vec(), stream, finished_at, bytes, due }
        });
        Ok(false)
    })?;
    Ok(found)
}

fn row_of(tree: Tree, row_key: &[u8], row: &[u8]) -> Option<(Timestamp, StreamId, Timestamp, u64)> {
    let (at, stream) = schema::parse_time_key(row_key)?;
    let (finished_at, bytes) =
        if tree == Tree::Expiry { (at, schema::number_of(row)?) } else { row::decode::<(Timestamp, u64)>(row)? };
    Some((at, stream, finished_at, bytes))
}

fn count(store: &Store) -> Result<u64, Failure> {
    let mut total = 0;
    for tree in [Tree::Expiry, Tree::ExpiryOwn] {
        store.scan(tree, &[], &[0xff; 25], &mut |row_key, row| {
            total += row_of(tree, row_key, &row).map_or(0, |(.., bytes)| bytes);
            Ok(true)
        })?;
    }
    Ok(total)
}

fn forget_tombstones(shared: &Shared, now: Timestamp) -> Result<bool, Failure> {
    let mut past: Vec<(Vec<u8>, StreamId, String)> = Vec::new();
    let until = now.0.saturating_sub(shared.config.tombstone_s.saturating_mul(1000)).saturating_add(1);
    shared.store.scan(Tree::TombstonesDue, &[], &until.to_be_bytes(), &mut |row_key, row| {
        if let (Some((_, stream)), Ok(id)) = (schema::parse_time_key(row_key), String::from_utf8(row)) {
            past.push((row_key.to_vec(), stream, id));
        }
        Ok(past.len() < REMOVALS_MAX)
    })?;
    for (row_key, stream, id) in &past {
        if stored_tombstone(&shared.store, id)?.is_some_and(|(known, _)| known == *stream) {
            shared.store.remove(Tree::Tombstones, id.as_bytes())?;
        }
        shared.store.remove(Tree::TombstonesDue, row_key)?;
    }
    Ok(!past.is_empty())
}

fn stored_tombstone(store: &Store, id: &str) -> Result<Option<(StreamId, Tombstone)>, Failure> {
    Ok(store.get(Tree::Tombstones, id.as_bytes())?.and_then(|row| row::decode(&row)))
}

/// Returns the tombstone of a job and its stream, if the tombstone has not expired.
pub(crate) fn tombstone(shared: &Shared, id: &JobId) -> Result<Option<(StreamId, Tombstone)>, Failure> {
    let now = shared.clock.now();
    let kept_ms = shared.config.tombstone_s.saturating_mul(1000);
    Ok(stored_tombstone(&shared.store, id.as_str())?
        .filter(|(_, tombstone)| tombstone.expired_at.plus_ms(kept_ms) > now))
}

/// Removes a stream for which a client called `forget`.
pub(crate) fn forget(shared: &Shared, sealing: &mut Sealing, forgotten: &Forgotten) -> Result<(), Failure> {
    let id = forgotten.stream;
    lock(&shared.unsealed).remove(id);
    let head: Option<Head> = shared.store.get(Tree::Heads, &id.0)?.and_then(|row| row::decode(&row));
    let row: Option<StreamRow> = shared.store.get(Tree::Streams, &id.0)?.and_then(|row| row::decode(&row));
    remove(shared, id, None)?;
    if let (Some(head), Some(StreamRow { bytes, outcome: Some(outcome), .. })) = (head, row) {
        shared.store.remove(Tree::Expiry, &schema::time_key(outcome.at, id))?;
        shared.store.remove(Tree::ExpiryOwn, &due_key(&head, outcome.at))?;
        sealing.finished_bytes = sealing.finished_bytes.map(|total| total.saturating_sub(bytes));
    }
    Ok(())
}

/// Removes all rows and files of a stream but its place in the order of removal; leaves a tombstone
/// of `expired_at`.
fn remove(shared: &Shared, id: StreamId, expired_at: Option<Timestamp>) -> Result<(), Failure> {
    let store = &shared.store;
    files::remove(&shared.config.path, id)?;
    let head: Option<Head> = store.get(Tree::Heads, &id.0)?.and_then(|row| row::decode(&row));
    if let Some(head) = head {
        let row: Option<StreamRow> = store.get(Tree::Streams, &id.0)?.and_then(|row| row::decode(&row));
        if let (Some(at), Some(outcome)) = (expired_at, row.and_then(|row| row.outcome)) {
            let tombstone = Tombstone {
                id: head.id.clone(),
                gateway: head.gateway.clone(),
                state: outcome.state,
                usage: outcome.usage,
                expired_at: at,
            };
            store.put(Tree::Tombstones, head.id.as_str().as_bytes(), &row::encode(&(id, tombstone)))?;
            store.put(Tree::TombstonesDue, &schema::time_key(at, id), head.id.as_str().as_bytes())?;
        }
        remove_if_of(store, Tree::Ids, head.id.as_str().as_bytes(), id)?;
        if let Some(idempotency) = &head.idempotency_key {
            remove_if_of(store, Tree::Keys, &schema::idempotency_key(&head.gateway, idempotency), id)?;
        }
    }
    remove_packs(store, id, 0)?;
    for tree in [Tree::Streams, Tree::Open, Tree::Jobs, Tree::Heads] {
        store.remove(tree, &id.0)?;
    }
    lock(&shared.index).removed(id);
    Ok(())
}

/// Removes an id or key if it still names this stream: it may name a newer one by now.
fn remove_if_of(store: &Store, tree: Tree, row_key: &[u8], id: StreamId) -> Result<(), Failure> {
    if store.get(tree, row_key)?.as_deref() == Some(&id.0) {
        store.remove(tree, row_key)?;
    }
    Ok(())
}

/// Removes a stream's packs from record `from` on.
pub(crate) fn remove_packs(store: &Store, id: StreamId, from: u64) -> Result<(), Failure> {
    let mut keys = Vec::new();
    let last = [&schema::pack_key(id, u64::MAX)[..], &[0xff]].concat();
    store.scan_back(Tree::Packs, &last, &mut |pack| {
        let ours = schema::parse_pack_key(pack).is_some_and(|(stream, first_seq)| stream == id && first_seq >= from);
        if ours {
            keys.push(pack.to_vec());
        }
        Ok(ours)
    })?;
    // From the front: a reader in the middle meets a clear end, not a hole.
    keys.reverse();
    keys.iter().try_for_each(|pack| store.remove(Tree::Packs, pack))
}
