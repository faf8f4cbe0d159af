//! Tells others that a job has ended.
//!
//! Owns the outbox of webhooks. Promises that a receiver is told at least once, also after a crash.

pub(crate) mod webhooks;
