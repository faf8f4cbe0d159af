//! Money: prices, costs of attempts, cost queries.
//!
//! Owns prices, cost queries and the metering actor. Promises decimal money that is rounded once, and that an unknown
//! price is reported as unknown, never as a silent 0. Does not write the ledger: charges become durable in the log, beside
//! their job's terminal.

pub mod price;

mod tariff;

pub mod tokens;

pub mod ledger;

mod labels;

mod actor;

pub use actor::Meter;
pub use ledger::{CostAnswer, CostQuery};
pub use price::{PriceBook, Sale};
