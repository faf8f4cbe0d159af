//! What the journal still holds when the log is opened, and the streams and rows that come of it.

mod replay;
mod scan;

pub(crate) use replay::fresh_epoch;
pub(crate) use scan::{Scanned, scan};
