//! The vocabulary: pure data that every other module uses.
//!
//! Owns the types of a job, its events and what they cost. Promises that a value which exists is
//! valid. Does not read clocks, sockets or disks.

mod bill;
pub mod caps;
mod charge;
mod event;
mod failure;
mod fields;
#[cfg(test)]
pub(crate) mod for_tests;
mod id;
mod limits;
mod money;
mod output;
mod spec;
pub mod strict;
mod tags;
mod target;
mod task;
mod time;
mod usage;

pub use bill::Bill;
pub use charge::{AttemptOutcome, Charge, RollupKey, Sums};
pub use event::{
    Accepted, AttemptMode, AttemptStarted, Cancelled, Completed, Delta, Event, Failed, Interrupted, Lost, Part,
    Progress, ProgressState, QueueReason, Queued, Record, Restarted, State, Timing, ToolCall, UpstreamId,
};
pub use failure::{Code, Failure, FailureBody, Fault};
pub use fields::{FieldName, Fields};
pub use id::{Epoch, Gateway, JobId, ModelName, StreamId};
pub use limits::{Limits, Window};
pub use money::{Cost, Usd};
pub use output::{Blob, Output, OutputBody};
pub use spec::{
    Backoff, CacheMode, CacheOptions, CostOverride, Deliver, Job, OnCrash, OnDisconnect, OnStreamFailure, Options,
    ProviderChoice, Retry, Timeouts, Webhook, usd_of_number,
};
pub use tags::{TagValue, Tags};
pub use target::Target;
pub use task::Task;
pub use time::Timestamp;
pub use usage::{Usage, UsageSource};
