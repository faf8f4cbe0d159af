//! The whole broker as its users meet it: the real program, a real nats-server, `kill -9`, SIGTERM.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test says what it found, and its tasks end with it"
)]

mod support;

#[path = "support/process.rs"]
mod broker;

#[path = "crash/kill.rs"]
mod kill;

#[path = "crash/line.rs"]
mod line;

#[path = "crash/once.rs"]
mod once;

#[path = "crash/operate.rs"]
mod operate;

#[path = "crash/provider.rs"]
mod provider;

#[path = "crash/stream.rs"]
mod stream;

#[path = "support/receiver.rs"]
mod receiver;

#[path = "crash/resume.rs"]
mod resume;

#[path = "crash/webhook.rs"]
mod webhook;
