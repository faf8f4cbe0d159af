//! Forebay: a durable inference layer for agents.
//!
//! A **job** comes in over NATS, HTTP or WebSocket. Its **route** names **targets**, and one **attempt** is one try at
//! one target. A provider's **reply** arrives as **packets**. An adapter turns packets into **events**. The log turns
//! events into **records**: a record is an event with its number and time, and it is durable. Readers get **frames**,
//! and the ledger gets a **charge** for each attempt.
//!
//! *Packet → event → record → frame* are four stages with four words and four types. A *token* is a model's token
//! (credentials are *keys*), a *stream* is a job's durable log (a provider gives a *reply*), and a *cursor* is a
//! position in a stream.
//!
//! The modules below stand in the order in which they can be read. A module may import those above it that its row in
//! `tests/tidy/rules.rs` names, and each library is named in one place; `tests/tidy.rs` checks both. The guide
//! [`guide::architecture`] shows the path of a job through the modules.

// The vocabulary: jobs, events, usage, money, failures. Pure data.
pub mod job;

// Wall time.
pub mod clock;

// Seeded chance.
pub mod random;

// `forebay.toml`: its shape, defaults, checks and reload.
pub mod config;

// Every metric.
pub mod telemetry;

// Models: their abilities, limits and prices.
pub mod catalog;

// The formats of jobs, records, cursors, frames and rows, as clients and the disk see them.
pub mod wire;

// The formats of other APIs, in both directions.
pub mod dialect;

// Decisions, pure: route, retry, failover, breaker, queue order, access.
pub mod policy;

// What leaves over HTTP: clients, the guard of public addresses, file fetch, webhooks.
pub mod egress;

// Adapters to those who serve models.
pub mod provider;

// The configuration in force and what was built from it.
pub mod snapshot;

// The durable log.
pub mod log;

// Durable streams that users write themselves.
pub mod streams;

// Prices, cost queries and cost metrics.
pub mod meter;

// Whether a job may go now, and to which target.
pub mod admission;

// Tells others of a job: webhooks, NATS subjects.
pub mod notify;

// The path of one job.
pub mod run;

// What every entrance calls: submit, cancel, find, drain, list.
pub mod broker;

// Jobs and records over NATS.
pub mod nats;

// Jobs and records over WebSocket.
pub mod ws;

// Jobs and records over HTTP, in Forebay's own format and in those of other APIs.
pub mod http;

// Start and stop, in order.
pub mod app;

// The guides.
pub mod guide;

// Measures the broker on this machine.
pub mod bench;

// The command line.
pub mod cli;
