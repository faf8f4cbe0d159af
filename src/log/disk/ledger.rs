//! The ledger and its sums in the store.
//!
//! Owns adding each line exactly once: a sum remembers the last line in it, so adding again after a crash does nothing.
//! Promises that a query sees every durable charge, and that a rebuild which a crash has interrupted is done again by the
//! next start. Does not price anything.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::DiskLog;
use super::schema::{self, RollupRow, Tree};
use super::shared::{Shared, lock};
use super::store::Store;
use crate::job::{Charge, Failure, RollupKey, Sums};
use crate::log::Ledger;
use crate::wire::row;

impl Ledger for DiskLog {
    fn rollups(&self, since_hour: u32, until_hour: u32) -> BoxFuture<'_, Result<Vec<(RollupKey, Sums)>, Failure>> {
        self.shared.blocking(move |shared| rollups(shared, since_hour, until_hour)).boxed()
    }

    fn rebuild_rollups(&self) -> BoxFuture<'_, Result<u64, Failure>> {
        self.shared.blocking(|shared| rebuild(shared)).boxed()
    }
}

/// Adds up the charges that are durable and not in the store yet.
pub(crate) fn apply(shared: &Shared) -> Result<(), Failure> {
    let _ledger = lock(&shared.ledger_lock);
    apply_locked(shared)
}

fn apply_locked(shared: &Shared) -> Result<(), Failure> {
    let charges = lock(&shared.unsealed).take_charges();
    for (done, (line, charge)) in charges.iter().enumerate() {
        let put = shared.store.put(Tree::Ledger, &schema::line_key(*line), &row::encode(charge));
        if let Err(failure) = put.and_then(|()| add(shared, *line, charge)) {
            lock(&shared.unsealed).return_charges(charges[done..].to_vec());
            return Err(failure);
        }
    }
    Ok(())
}

fn add(shared: &Shared, line: u64, charge: &Charge) -> Result<(), Failure> {
    let rollup = charge.rollup_key();
    let row_key = schema::rollup_key(&rollup);
    let row = shared.store.get(Tree::Rollups, &row_key)?.and_then(|row| row::decode::<RollupRow>(&row));
    let known = row.is_some();
    let (last, mut sums) = row.unwrap_or_default();
    if last >= line {
        return Ok(());
    }
    if !known {
        shared.store.put(Tree::RollupKeys, &row_key, &row::encode(&rollup))?;
    }
    sums.charge(charge);
    shared.store.put(Tree::Rollups, &row_key, &row::encode(&(line, sums)))
}

/// Reads sums: see [`Ledger::rollups`]. Blocks.
fn rollups(shared: &Shared, since: u32, until: u32) -> Result<Vec<(RollupKey, Sums)>, Failure> {
    let _ledger = lock(&shared.ledger_lock);
    apply_locked(shared)?;
    let mut rows = Vec::new();
    shared.store.scan(Tree::Rollups, &since.to_be_bytes(), &until.to_be_bytes(), &mut |row_key, row| {
        let (_, sums) = row::decode::<RollupRow>(&row).ok_or_else(damaged)?;
        let rollup = shared.store.get(Tree::RollupKeys, row_key)?.and_then(|row| row::decode(&row));
        rows.push((rollup.ok_or_else(damaged)?, sums));
        Ok(true)
    })?;
    Ok(rows)
}

/// Reads ledger lines: see [`DiskLog::charges`]. Blocks.
pub(crate) fn charges(shared: &Shared, after: u64, limit: usize) -> Result<Vec<(u64, Charge)>, Failure> {
    apply(shared)?;
    lines(shared, after, limit)
}

/// Reads ledger lines after line `after` (0 = from the first), oldest first, with their numbers.
fn lines(shared: &Shared, after: u64, limit: usize) -> Result<Vec<(u64, Charge)>, Failure> {
    let mut lines = Vec::new();
    let from = schema::line_key(after.saturating_add(1));
    shared.store.scan(Tree::Ledger, &from, &[0xff; 9], &mut |line, row| {
        if lines.len() >= limit {
            return Ok(false);
        }
        let line = schema::number_of(line).ok_or_else(damaged)?;
        lines.push((line, row::decode::<Charge>(&row).ok_or_else(damaged)?));
        Ok(lines.len() < limit)
    })?;
    Ok(lines)
}

/// Adds everything up again: see [`Ledger::rebuild_rollups`]. Blocks.
fn rebuild(shared: &Shared) -> Result<u64, Failure> {
    /// Number of ledger lines that are in memory at once.
    const PAGE: usize = 1024;
    let _ledger = lock(&shared.ledger_lock);
    apply_locked(shared)?;
    forget_sums(shared)?;
    let (mut last, mut count) = (0, 0);
    loop {
        let page = lines(shared, last, PAGE)?;
        for (line, charge) in &page {
            add(shared, *line, charge)?;
            last = *line;
        }
        count += page.len() as u64;
        if page.len() < PAGE {
            shared.store.remove(Tree::Meta, schema::REBUILDING)?;
            return Ok(count);
        }
    }
}

/// Removes all sums. The store keeps the order of its writes, so a crash that loses sums leaves the mark of the
/// rebuild.
fn forget_sums(shared: &Shared) -> Result<(), Failure> {
    shared.store.put(Tree::Meta, schema::REBUILDING, &[])?;
    shared.store.clear(Tree::Rollups)?;
    shared.store.clear(Tree::RollupKeys)
}

/// Completes a rebuild that a crash has interrupted. Blocks; for the start.
pub(crate) fn resume_rebuild(shared: &Shared) -> Result<(), Failure> {
    if shared.store.get(Tree::Meta, schema::REBUILDING)?.is_some() {
        let lines = rebuild(shared)?;
        tracing::warn!(target: "forebay::log", lines, "the sums were being added up when the broker stopped: done now");
    }
    Ok(())
}

/// Returns the number of the line after the last one in the store.
pub(crate) fn next_line(store: &Store) -> Result<u64, Failure> {
    let mut last = 0;
    store.scan_back(Tree::Ledger, &[0xff; 9], &mut |line| {
        last = schema::number_of(line).unwrap_or(0);
        Ok(false)
    })?;
    Ok(last + 1)
}

fn damaged() -> Failure {
    Failure::internal("a row of the ledger is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::LogConfig;
    use crate::job::{AttemptOutcome, Cost, Timestamp, Usage};

    fn charge() -> Charge {
        Charge {
            job: "j".parse().expect("a token"),
            attempt: 1,
            at: Timestamp(0),
            gateway: "default".parse().expect("a token"),
            model: "m/m".parse().expect("a name"),
            provider: "m".into(),
            provider_model: "m".into(),
            metadata: crate::job::Tags::default(),
            outcome: AttemptOutcome::Completed,
            usage: Usage::default(),
            cost: Cost::FREE,
            closes_job: true,
            unpriced_job: false,
        }
    }

    #[test]
    fn a_rebuild_that_a_crash_cut_short_is_done_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { path: dir.path().into(), free_bytes_min: 0, ..LogConfig::default() };
        let open = || DiskLog::open(&config, Clock::System).unwrap();
        let jobs = |log: &DiskLog| -> Vec<u64> {
            rollups(&log.shared, 0, u32::MAX).unwrap().iter().map(|(_, sums)| sums.jobs).collect()
        };
        let log = open();
        for line in 1..=3 {
            log.shared.store.put(Tree::Ledger, &schema::line_key(line), &row::encode(&charge())).unwrap();
            add(&log.shared, line, &charge()).unwrap();
        }
        assert_eq!(jobs(&log), [3]);
        forget_sums(&log.shared).unwrap();
        add(&log.shared, 1, &charge()).unwrap();
        assert_eq!(jobs(&log), [1], "it was under way");
        drop(log);
        let log = open();
        assert_eq!(jobs(&log), [3]);
        assert_eq!(log.shared.store.get(Tree::Meta, schema::REBUILDING).unwrap(), None);
    }
}
