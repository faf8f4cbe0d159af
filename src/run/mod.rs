//! The path of one job, from its acceptance to its sealed stream.
//!
//! One actor per job owns its lifetime, one future that reads from top to bottom does the work.
//! Promises that every accepted job ends exactly once, also after a crash of the broker.

pub(crate) mod actor;
mod attempt;
mod attempts;
mod continuation;
mod drive;
mod env;
mod estimate;
mod failover;
mod inline_files;
pub(crate) mod job_run;
pub(crate) mod passthrough;
mod plan;
mod read_ahead;
mod reattach;
pub(crate) mod recovery;
mod relay;
pub(crate) mod running_jobs;

pub use actor::Arbiters;
pub(crate) use drive::Stop;
pub use env::Env;
