//! The NATS entrance on a real nats-server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "support/harness.rs"]
mod harness;

#[path = "nats/broker.rs"]
mod broker;

#[path = "nats/delivery.rs"]
mod delivery;

#[path = "nats/outage.rs"]
mod outage;

#[path = "nats/queue.rs"]
mod queue;

#[path = "nats/service.rs"]
mod service;

#[path = "nats/silence.rs"]
mod silence;
