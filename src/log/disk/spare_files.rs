//! Spare journal files: made and given back by the sealer, taken by the committer.
//!
//! Owns how many are kept ready, so that the committer does not wait for the file system to make one.

use std::time::Duration;

use super::journal::{self, JournalFile};
use super::queue::Phase;
use super::shared::{Shared, lock};
use crate::job::{Code, Failure};

/// Files that wait to be written to: one for the committer, one for terminals on a full disk.
const SPARES: usize = 2;
/// Time that the committer waits for a file before it checks the disk and the phase again.
const SPARE_WAIT: Duration = Duration::from_millis(100);

pub(crate) fn take(shared: &Shared) -> Result<JournalFile, Failure> {
    let mut unsealed = lock(&shared.unsealed);
    loop {
        let refusing = shared.disk.is_refusing();
        // The last spare is for the terminals of running jobs when the disk is full.
        if unsealed.spares.len() > usize::from(!refusing)
            && let Some(file) = unsealed.spares.pop_front()
        {
            return Ok(file);
        }
        if refusing {
            return Err(Failure::new(Code::Overloaded, "the disk is full"));
        }
        if shared.phase() == Phase::Dropped {
            return Err(Failure::internal("the log is closed"));
        }
        shared.sealer_wake.notify_one();
        let waited = shared.spare_ready.wait_timeout(unsealed, SPARE_WAIT);
        unsealed = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
    }
}

pub(crate) fn give_back(shared: &Shared, number: u64, bytes: u64) {
    let dir = shared.journal_dir();
    let wanted = journal::file_bytes(shared.config.journal_bytes_max);
    let reuse = {
        let mut unsealed = lock(&shared.unsealed);
        let reuse = unsealed.spares.len() < SPARES && bytes <= 2 * wanted;
        unsealed.next_number += u64::from(reuse);
        reuse.then_some(unsealed.next_number - 1)
    };
    let done = match reuse {
        Some(next) => JournalFile::recycle(&dir, number, next).map(|file| {
            lock(&shared.unsealed).spares.push_back(file);
            shared.spare_ready.notify_all();
        }),
        None => journal::remove(&dir, number),
    };
    if let Err(error) = done {
        tracing::warn!(target: "forebay::log", "journal file {number:x} cannot be given back: {error}");
    }
}

/// Keeps spare files ready, so that the committer does not wait for the file system to make one.
pub(crate) fn refill(shared: &Shared) {
    let (dir, max) = (shared.journal_dir(), journal::files_max(shared.config.journal_bytes_max));
    loop {
        let number = {
            let mut unsealed = lock(&shared.unsealed);
            if unsealed.spares.len() >= SPARES || unsealed.spares.len() + unsealed.files.len() >= max {
                return;
            }
            unsealed.next_number += 1;
            unsealed.next_number - 1
        };
        match JournalFile::create(&dir, number, journal::file_bytes(shared.config.journal_bytes_max)) {
            Ok(file) => {
                lock(&shared.unsealed).spares.push_back(file);
                shared.spare_ready.notify_all();
            }
            Err(error) => {
                tracing::warn!(target: "forebay::log", "no spare journal file: {error}");
                return;
            }
        }
    }
}
