//! The log's laws (INTERFACE 5), for every implementation, and what only the durable one promises.

#[path = "log/support.rs"]
mod support;

#[path = "log/conformance.rs"]
mod conformance;
#[path = "log/money.rs"]
mod money;
