//! Forebay: a durable inference layer for agents.
//!
//! A **job** comes in (NATS, HTTP or WebSocket). Its **route** names **targets**; one **attempt** is
//! one try at one target. A provider's **reply** arrives as **packets**; an adapter turns packets
//! into **events**; the log turns events into **records** (event + `seq` + time, durable); readers
//! get **frames**; the meter gets **charges**.
//!
//! *Packet → event → record → frame*: four stages, four words, four types. A *token* is a model's
//! token (credentials are *keys*); a *stream* is a job's durable log (a provider gives a *reply*);
//! a *feed* is a stream that its users write; a *cursor* is an opaque position in either; a *door* is a protocol by which people come in.
//!
//! Imports point downhill; each library has one door (`tests/tidy.rs` checks both):
//! `job` ← `wire`, `policy`, `provider`, `meter` ← `log` ← `feed` ← `request` ← `intake`, `session`, `front` ← `app`.

pub mod clock;
pub mod config;
pub mod telemetry;

pub mod job;

pub mod catalog;

pub mod wire;

pub mod policy;

pub mod provider;

pub mod log;

pub mod feed;

pub mod meter;

pub mod request;

pub mod intake;

pub mod session;

pub mod front;

pub mod app;

pub mod bench;

pub mod cli;
