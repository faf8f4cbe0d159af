//! The WebSocket door over real sockets: laws, errors, close codes, bad clients, many readers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/job.rs"]
mod job;
#[path = "session/support.rs"]
mod support;

#[path = "session/laws.rs"]
mod laws;

#[path = "session/errors.rs"]
mod errors;

#[path = "session/load.rs"]
mod load;

#[path = "session/jobs.rs"]
mod jobs;
