//! The command line.

pub mod nats;
