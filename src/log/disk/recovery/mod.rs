//! Recovery: reading the journal when the log is opened.

mod replay;
mod scan;

pub(crate) use replay::fresh_epoch;
pub(crate) use scan::{Scanned, scan};
