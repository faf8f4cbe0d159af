//! Every adapter against exchanges that we wrote from the documented formats, and, where they are
//! present, against recorded ones.
//!
//! An exchange of ours is `tests/fixtures/text/VENDOR/CASE.json` (`response`: status, headers, body)
//! with what it must be understood as in `CASE.events.json`; `encode.CASE.json` is a job's input and
//! the request that it must become. Recorded ones are read from `$FOREBAY_FIXTURES`, else
//! `../shared/fixtures`; what they must be understood as is in `tests/recorded/`. `UPDATE=1` rewrites
//! what is expected, never an exchange.

#[path = "providers/cost.rs"]
mod cost;
#[path = "providers/dialect/mod.rs"]
mod dialect;
#[path = "providers/hostile.rs"]
mod hostile;
#[path = "support/job.rs"]
mod job;
#[path = "providers/limits.rs"]
mod limits;
#[path = "providers/own.rs"]
mod own;
#[path = "providers/property.rs"]
mod property;
#[path = "providers/recorded.rs"]
mod recorded;
#[path = "providers/replay.rs"]
mod replay;
#[path = "providers/speed.rs"]
mod speed;
