//! The log's laws (INTERFACE 5), for every implementation, and what only the durable one promises.

#[path = "log/support.rs"]
mod support;

#[path = "log/bench.rs"]
mod bench;
#[path = "log/conformance.rs"]
mod conformance;
#[path = "log/damage.rs"]
mod damage;
#[path = "log/kill.rs"]
mod kill;
#[path = "log/money.rs"]
mod money;
#[path = "log/reopen.rs"]
mod reopen;
#[path = "log/retention.rs"]
mod retention;
