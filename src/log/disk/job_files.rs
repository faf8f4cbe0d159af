//! Files of jobs whose JSON is too large for a journal entry.
//!
//! Owns their names and that they are on disk before a record names them. Does not know what is in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::{hex, stream_of, write_failed};
use super::journal::sync_dir;
use crate::job::{Failure, StreamId};

/// Bytes of a job's JSON above which it gets a file of its own.
pub(crate) const JOB_INLINE_BYTES_MAX: usize = 32 * 1024;
/// Name of the directory in the data folder.
const DIRECTORY: &str = "jobs";

fn path_of(data: &Path, stream: StreamId) -> PathBuf {
    data.join(DIRECTORY).join(format!("{}.json", hex(&stream.0)))
}

/// Makes the directory for jobs. Blocks.
pub(crate) fn prepare(data: &Path) -> io::Result<()> {
    fs::create_dir_all(data.join(DIRECTORY))
}

/// Stores a job as a file. Blocks.
pub(crate) fn put(data: &Path, stream: StreamId, json: &[u8], sync: bool) -> Result<(), Failure> {
    write_whole(&path_of(data, stream), json, sync).map_err(|error| write_failed(&error))
}

/// Reads a job; `None` if it is not kept. Blocks.
pub(crate) fn get(data: &Path, stream: StreamId) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path_of(data, stream)) {
        Ok(json) => Ok(Some(json)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::internal(format!("a job cannot be read: {error}"))),
    }
}

/// Removes a stream's job. Blocks.
pub(crate) fn remove(data: &Path, stream: StreamId) -> Result<(), Failure> {
    match fs::remove_file(path_of(data, stream)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_failed(&error)),
        _ => Ok(()),
    }
}

/// Lists the streams that have a job's file. Blocks.
pub(crate) fn streams(data: &Path) -> io::Result<Vec<StreamId>> {
    let mut streams = Vec::new();
    for entry in fs::read_dir(data.join(DIRECTORY))? {
        let name = entry?.file_name();
        streams.extend(name.to_str().and_then(|name| stream_of(name.split('.').next()?)));
    }
    Ok(streams)
}

/// Writes a file that is there whole or not at all: beside its place first, then renamed.
fn write_whole(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let beside = path.with_extension("part");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(dir) if sync => sync_dir(dir),
        _ => Ok(()),
    }
}
