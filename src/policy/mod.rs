//! Decisions, pure: each answers one question; time and randomness are passed in.
//!
//! They meet only in `request/drive.rs`.

pub mod retry;
pub mod route;
pub mod terms;
