//! The log on disk: journal files for the last seconds, sled for everything before.

mod committer;
mod create;
mod index;
mod journal;
mod ledger;
mod outputs;
mod read;
mod recovery;
mod retention;
mod rows;
mod schema;
mod sealer;
mod shared;
mod start;
pub mod store;
mod streams;
mod unsealed;

pub use store::SledLog;
