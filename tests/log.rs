//! The log's laws (INTERFACE 5), for every implementation, and what only the durable one promises.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test says what it found, and its tasks end with it"
)]

#[path = "support/job.rs"]
mod job;
#[path = "log/support.rs"]
mod support;

#[path = "log/bench.rs"]
mod bench;
#[path = "log/churn.rs"]
mod churn;
#[path = "log/conformance.rs"]
mod conformance;
#[path = "log/damage.rs"]
mod damage;
#[path = "log/data_folder.rs"]
mod data_folder;
#[path = "log/disk.rs"]
mod disk;
#[path = "log/kill.rs"]
mod kill;
#[path = "log/money.rs"]
mod money;
#[path = "log/outputs.rs"]
mod outputs;
#[path = "log/reopen.rs"]
mod reopen;
#[path = "log/retention.rs"]
mod retention;
#[path = "log/rows.rs"]
mod rows;
#[path = "log/rows_if.rs"]
mod rows_if;
