//! Everything that leaves over HTTP apart from calls to providers: files, webhooks, the command line.
//!
//! Owns the guard that lets only public addresses be asked. Does not know jobs.

pub mod broker_client;
pub mod files;
pub mod webhook;
