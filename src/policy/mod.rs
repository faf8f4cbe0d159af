//! Decisions, pure: each answers one question; time and randomness are passed in.
//!
//! The rules of a job's path meet only in `run/failover.rs`; `access` is asked at the entrances.

pub mod access;
pub mod breaker;
pub mod effective_options;
pub mod failover;
pub mod fair_queue;
pub mod retry;
pub mod route;
mod strategy;
