//! Decisions, pure: each answers one question; time and randomness are passed in.

pub mod access;
