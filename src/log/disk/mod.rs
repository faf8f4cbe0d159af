//! The log on disk: journal files for the last seconds, sled for everything before.

mod boot;
mod committer;
mod directory;
mod entry;
mod journal;
mod key;
mod ledger;
mod lookup;
mod opening;
mod outputs;
mod recovery;
mod replay;
mod retention;
mod row_calls;
mod sealer;
mod shared;
mod sled_calls;
pub mod sled_log;
mod unsealed;
