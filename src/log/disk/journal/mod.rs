//! The journal: files of ticks, the entries in a tick, and the mark.

pub(crate) mod entry;
mod file;
mod mark;
mod tick;

pub(crate) use file::{JournalFile, file_bytes, files_max, list, path, remove, sync_dir};
pub(crate) use mark::Mark;
pub(crate) use tick::{HEADER_BYTES, TICK_BYTES_MAX, Tick, close_tick, open_tick, resync, tick_at};
