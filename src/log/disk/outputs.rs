//! Outputs as files: written and read chunk by chunk.
//!
//! Owns their names (content-addressed, in the directory of their stream) and that an output is on disk before any
//! record names it: written to a part file, synced, renamed. The start removes part files that a crash left.
//! Does not know what is in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};

use super::DiskLog;
use super::files::{hex, stream_of, write_failed};
use super::journal::sync_dir;
use super::shared::Shared;
use crate::config::Durability;
use crate::job::{Code, Failure, StreamId};
use crate::log::output::{ReadOutput, WriteOutput};
use crate::log::{OutputReader, OutputWriter, Outputs, StoredOutput, Stream};

/// Name of the directory in the data folder.
const DIRECTORY: &str = "outputs";
/// Name of the directory in [`DIRECTORY`] for files that are being written. It is no stream's name.
const PARTS: &str = "parts";

impl Outputs for DiskLog {
    fn begin_output(&self, stream: &Arc<Stream>) -> Result<OutputWriter, Failure> {
        self.shared.disk.admit()?;
        let (shared, stream) = (Arc::clone(&self.shared), stream.head().stream);
        Ok(OutputWriter::new(FileWriter { shared, stream, part: None }))
    }

    fn get_output<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        sha256: &'a str,
    ) -> BoxFuture<'a, Result<OutputReader, Failure>> {
        let (id, sha256) = (stream.head().stream, sha256.to_owned());
        async move {
            let (file, len) = self.shared.blocking(move |shared| open(&shared.config.path, id, &sha256)).await?;
            Ok(OutputReader::new(FileReader { shared: Arc::clone(&self.shared), file: Arc::new(file) }, len))
        }
        .boxed()
    }
}

/// An output that is being written to a file.
struct FileWriter {
    shared: Arc<Shared>,
    stream: StreamId,
    /// The file; `None` before the first bytes, and while a thread that may block has it.
    part: Option<Part>,
}

impl WriteOutput for FileWriter {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            self.shared.disk.admit()?;
            let part = self.part.take();
            let write = move |shared: &Arc<Shared>| {
                let mut part = part.map_or_else(|| Part::create(&shared.config.path), Ok)?;
                part.write(&bytes)?;
                Ok(part)
            };
            self.part = Some(self.shared.blocking(write).await?);
            Ok(())
        }
        .boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<StoredOutput, Failure>> {
        async move {
            let FileWriter { shared, stream, part } = *self;
            let store = move |shared: &Arc<Shared>| {
                let part = part.map_or_else(|| Part::create(&shared.config.path), Ok)?;
                let sync = shared.config.durability == Durability::Power;
                part.store(&shared.config.path, stream, sync)
            };
            shared.blocking(store).await
        }
        .boxed()
    }
}

/// A part file: what was written so far, and its digest. The file is removed when this is dropped.
struct Part {
    file: File,
    path: PathBuf,
    sha256: Sha256,
    bytes: u64,
}

impl Part {
    /// Makes an empty part file. Blocks.
    fn create(data: &Path) -> Result<Part, Failure> {
        /// Numbers the part files of this process; files of an earlier one were removed at the start.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let path = parts_dir(data).join(name);
        let file = File::create(&path).map_err(|error| write_failed(&error))?;
        Ok(Part { file, path, sha256: Sha256::new(), bytes: 0 })
    }

    /// Appends bytes to the file. Blocks.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| write_failed(&error))?;
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Moves the file to its place: whole or not there. Blocks.
    fn store(mut self, data: &Path, stream: StreamId, sync: bool) -> Result<StoredOutput, Failure> {
        let sha256 = hex(&self.sha256.finalize_reset());
        let dir = stream_dir(data, stream);
        let moved = || -> io::Result<()> {
            if sync {
                self.file.sync_all()?;
            }
            fs::create_dir_all(&dir)?;
            if sync {
                sync_dir(&data.join(DIRECTORY))?;
            }
            fs::rename(&self.path, dir.join(&sha256))?;
            if sync { sync_dir(&dir) } else { Ok(()) }
        };
        moved().map_err(|error| write_failed(&error))?;
        Ok(StoredOutput { sha256, bytes: self.bytes })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It is gone already if it was stored; what cannot be removed now is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// The file of an output. It stays readable after its name is removed.
struct FileReader {
    shared: Arc<Shared>,
    file: Arc<File>,
}

impl ReadOutput for FileReader {
    fn read(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Bytes, Failure>> {
        let file = Arc::clone(&self.file);
        let read = move |_: &Arc<Shared>| {
            let mut bytes = BytesMut::zeroed(len);
            let mut filled = 0;
            while filled < len {
                match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(read_failed(&error)),
                }
            }
            bytes.truncate(filled);
            Ok(bytes.freeze())
        };
        self.shared.blocking(read).boxed()
    }
}

fn stream_dir(data: &Path, stream: StreamId) -> PathBuf {
    data.join(DIRECTORY).join(hex(&stream.0))
}

fn parts_dir(data: &Path) -> PathBuf {
    data.join(DIRECTORY).join(PARTS)
}

/// Makes the directories, and removes part files that a crash left. Blocks.
pub(crate) fn prepare(data: &Path) -> io::Result<()> {
    fs::create_dir_all(parts_dir(data))?;
    for entry in fs::read_dir(parts_dir(data))? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

/// Opens an output; also returns its length. Blocks.
fn open(data: &Path, stream: StreamId, sha256: &str) -> Result<(File, u64), Failure> {
    let none = || Failure::new(Code::NotFound, "no such output");
    // The name comes from outside: anything but a digest could name another file.
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(none());
    }
    let opened = File::open(stream_dir(data, stream).join(sha256)).and_then(|file| {
        let len = file.metadata()?.len();
        Ok((file, len))
    });
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(none()),
        opened => opened.map_err(|error| read_failed(&error)),
    }
}

/// Removes the outputs of a stream. Blocks.
pub(crate) fn remove(data: &Path, stream: StreamId) -> Result<(), Failure> {
    match fs::remove_dir_all(stream_dir(data, stream)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_failed(&error)),
        _ => Ok(()),
    }
}

/// Lists the streams that have outputs. Blocks.
pub(crate) fn streams(data: &Path) -> io::Result<Vec<StreamId>> {
    let mut streams = Vec::new();
    for entry in fs::read_dir(data.join(DIRECTORY))? {
        streams.extend(entry?.file_name().to_str().and_then(stream_of));
    }
    Ok(streams)
}

fn read_failed(error: &io::Error) -> Failure {
    Failure::internal(format!("an output cannot be read: {error}"))
}
