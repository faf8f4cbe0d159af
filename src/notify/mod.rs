//! Tells others about jobs: webhooks when a job has ended, NATS subjects as its records come.
//!
//! Owns who is still to be told. Promises that a webhook is delivered at least once, also after a crash
//! of the broker. Does not know how a job runs.

pub mod nats;
pub mod webhooks;
