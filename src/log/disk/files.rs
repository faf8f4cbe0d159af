//! Files that belong to a stream: its outputs and its job.
//!
//! Owns how they are named after the stream, and that all of them go when the stream is removed.

use std::io;
use std::path::Path;

use super::journal::sync_dir;
use super::{job_files, outputs};
use crate::job::{Code, Failure, StreamId};

/// Makes the directories of the data folder. Blocks.
pub(crate) fn prepare(data: &Path) -> io::Result<()> {
    outputs::prepare(data)?;
    job_files::prepare(data)?;
    std::fs::create_dir_all(data.join("journal"))?;
    sync_dir(data)
}

/// Removes all files of a stream. Blocks.
pub(crate) fn remove(data: &Path, stream: StreamId) -> Result<(), Failure> {
    job_files::remove(data, stream)?;
    outputs::remove(data, stream)
}

/// Lists the streams that have files: the start removes the files of those that it does not know. Blocks.
pub(crate) fn streams(data: &Path) -> io::Result<Vec<StreamId>> {
    let mut streams = outputs::streams(data)?;
    streams.extend(job_files::streams(data)?);
    Ok(streams)
}

/// Writes bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the stream that a file is named after.
pub(crate) fn stream_of(hex: &str) -> Option<StreamId> {
    u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32).map(|id| StreamId(id.to_be_bytes()))
}

/// Makes the failure of a file that cannot be written.
pub(crate) fn write_failed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::new(Code::Overloaded, "the disk is full").with_retry_after_ms(5_000)
        }
        _ => Failure::internal(format!("a file of the log cannot be written: {error}")),
    }
}
