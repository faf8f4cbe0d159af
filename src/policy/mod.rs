//! Decisions, pure: each answers one question; time and randomness are passed in.
//!
//! The rules of a job's path meet only in `request/fulfil.rs`; `access` is asked at the doors.

pub mod access;
pub mod health;
pub mod line;
pub mod retry;
pub mod route;
mod strategy;
pub mod terms;
pub mod walk;
