//! The WebSocket entrance over real sockets: laws, errors, close codes, bad clients, many readers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/job.rs"]
mod job;
#[path = "ws/support.rs"]
mod support;

#[path = "ws/laws.rs"]
mod laws;

#[path = "ws/errors.rs"]
mod errors;

#[path = "ws/load.rs"]
mod load;

#[path = "ws/jobs.rs"]
mod jobs;
