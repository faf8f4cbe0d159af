//! Nothing fails that could have been answered: faults of providers, through every entrance, with
//! clients that disconnect and a broker that crashes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test says what it found, and its tasks end with it"
)]

mod support;

#[path = "faults/act.rs"]
mod act;
#[path = "faults/background.rs"]
mod background;
#[path = "faults/books.rs"]
mod books;
#[path = "support/process.rs"]
#[expect(dead_code, reason = "shared with the tests of crashes, which need more of it")]
mod broker;
#[path = "faults/cancel.rs"]
mod cancel;
#[path = "faults/chaos.rs"]
mod chaos;
#[path = "faults/check.rs"]
mod check;
#[path = "faults/departed.rs"]
mod departed;
#[path = "faults/entrance.rs"]
mod entrance;
#[path = "faults/line.rs"]
mod line;
#[path = "faults/provider.rs"]
mod provider;
#[path = "faults/reply.rs"]
mod reply;
#[path = "faults/scenarios.rs"]
mod scenarios;
#[path = "faults/table.rs"]
mod table;
#[path = "faults/upstream.rs"]
mod upstream;
#[path = "faults/world.rs"]
mod world;
