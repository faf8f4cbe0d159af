//! The journal: files of ticks, and the entries in a tick.

pub(crate) mod entry;
mod tick;

pub(crate) use tick::*;
