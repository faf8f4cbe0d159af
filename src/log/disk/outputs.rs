//! Files beside the log: outputs too large for a record, and large jobs.
//!
//! Owns their names (content-addressed, below their stream) and that they are on disk before any
//! record names them. Does not know what is in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::journal::sync_dir;
use crate::job::{Code, Failure, StreamId};

/// Bytes of a job's JSON above which it gets a file of its own.
pub(crate) const JOB_INLINE_BYTES_MAX: usize = 32 * 1024;

/// Hexadecimal SHA-256.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn outputs_dir(data: &Path, stream: StreamId) -> PathBuf {
    data.join("outputs").join(hex(&stream.0))
}

fn job_path(data: &Path, stream: StreamId) -> PathBuf {
    data.join("jobs").join(format!("{}.json", hex(&stream.0)))
}

/// Makes the directories.
pub(crate) fn prepare(data: &Path) -> io::Result<()> {
    for name in ["outputs", "jobs", "journal"] {
        fs::create_dir_all(data.join(name))?;
    }
    sync_dir(data)
}

/// Stores an output. Blocks.
pub(crate) fn put(data: &Path, stream: StreamId, bytes: &[u8], sync: bool) -> Result<String, Failure> {
    let name = sha256_hex(bytes);
    let dir = outputs_dir(data, stream);
    let write = || -> io::Result<()> {
        fs::create_dir_all(&dir)?;
        if sync {
            sync_dir(&data.join("outputs"))?;
        }
        write_whole(&dir.join(&name), bytes, sync)
    };
    write().map(|()| name).map_err(|error| refused(&error))
}

/// Reads an output. Blocks.
pub(crate) fn get(data: &Path, stream: StreamId, sha256: &str) -> Result<Bytes, Failure> {
    let none = || Failure::new(Code::NotFound, "no such output");
    // The name comes from outside: anything but a digest could name another file.
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(none());
    }
    match fs::read(outputs_dir(data, stream).join(sha256)) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(none()),
        Err(error) => Err(Failure::internal(format!("an output cannot be read: {error}"))),
    }
}

/// Stores a job. Blocks.
pub(crate) fn put_job(data: &Path, stream: StreamId, json: &[u8], sync: bool) -> Result<(), Failure> {
    write_whole(&job_path(data, stream), json, sync).map_err(|error| refused(&error))
}

/// Reads a job; `None` if it is not kept. Blocks.
pub(crate) fn get_job(data: &Path, stream: StreamId) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(job_path(data, stream)) {
        Ok(json) => Ok(Some(json)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::internal(format!("a job cannot be read: {error}"))),
    }
}

/// Removes a stream's job. Blocks.
pub(crate) fn remove_job(data: &Path, stream: StreamId) -> Result<(), Failure> {
    match fs::remove_file(job_path(data, stream)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(&error)),
        _ => Ok(()),
    }
}

/// Removes all files of a stream. Blocks.
pub(crate) fn remove(data: &Path, stream: StreamId) -> Result<(), Failure> {
    remove_job(data, stream)?;
    match fs::remove_dir_all(outputs_dir(data, stream)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(&error)),
        _ => Ok(()),
    }
}

/// Streams that files are there for: recovery removes those that it does not know.
pub(crate) fn streams(data: &Path) -> io::Result<Vec<StreamId>> {
    let mut streams = Vec::new();
    for dir in ["outputs", "jobs"] {
        for entry in fs::read_dir(data.join(dir))? {
            let name = entry?.file_name();
            streams.extend(name.to_str().and_then(|name| stream_of(name.split('.').next()?)));
        }
    }
    Ok(streams)
}

fn stream_of(hex: &str) -> Option<StreamId> {
    u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32).map(|id| StreamId(id.to_be_bytes()))
}

/// Whole or not there: written beside its place, then renamed.
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

fn refused(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::new(Code::Overloaded, "the disk is full").with_retry_after_ms(5_000)
        }
        _ => Failure::internal(format!("a file of the log cannot be written: {error}")),
    }
}
