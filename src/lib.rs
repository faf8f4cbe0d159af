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
//! Imports point downhill, and each library may be named in one place (`tests/tidy.rs` checks both):
//! `job` ← `catalog`, `config`, `wire` ← `dialect`, `policy`, `egress` ← `provider`, `log` ← `streams`, `meter`
//! ← `snapshot`, `admission`, `notify` ← `run` ← `broker` ← `nats`, `ws`, `http` ← `app`.

pub mod clock;
pub mod config;
pub mod random;
pub mod telemetry;

pub mod job;

pub mod catalog;

pub mod wire;

pub mod dialect;

pub mod policy;

pub mod egress;

pub mod provider;

pub mod snapshot;

pub mod log;

pub mod streams;

pub mod meter;

pub mod admission;

pub mod notify;

pub mod run;

pub mod broker;

pub mod nats;

pub mod ws;

pub mod http;

pub mod app;

pub mod bench;

pub mod guide;

pub mod cli;
