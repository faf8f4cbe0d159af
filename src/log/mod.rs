//! The durable log: one append-only stream per job.
//!
//! Owns the order of records and the moment they are durable; beside the streams it keeps large outputs, the ledger
//! of charges, and a map of small rows. Promises: `seq` is dense from 0; a reader sees a record only when it is
//! durable; a batch is there as a whole or not at all, its charges and rows included; a slow reader costs a position,
//! nothing more. Does not know what a job does.

mod traits;
mod types;

mod block;
mod output;
mod reader;
mod rows;
mod status;
mod stream;

pub mod disk;
pub mod memory;

pub use block::{Block, Chunk};
pub use disk::DiskLog;
pub use output::{OutputReader, OutputWriter, StoredOutput};
pub use reader::{Followed, Follower, IdleTimer};
pub use rows::{Row, RowCondition, RowRange, RowsWritten};
pub use status::Status;
pub use stream::{Head, Outcome, Stream, StreamWriter, Tail};
pub use traits::{Ledger, Log, Outputs, Rows, Streams};
pub use types::{Batch, Found, Health, ListQuery, Opened, Tombstone, Unfinished};
