//! The WebSocket entrance: jobs in, records out, over one socket per client.
//!
//! Owns the conversation (INTERFACE 5). `serve` is one task per socket that moves data: it reads
//! streams and writes frames. Beside it one actor owns the socket's lifetime: timers, submitted
//! jobs, the decision to close. Promises: a slow reader costs a cursor and one frame and delays no
//! other; a disconnect never cancels by itself; replay and live are one loop. Does not know HTTP:
//! the module `http` does the handshake and hands the socket over.

pub mod actor;
pub mod client;
mod client_messages;
mod connection;

mod heartbeat;
mod resume;
pub mod socket;
mod subscription;

pub use connection::serve;

use crate::policy::access::Access;
use crate::wire::frame::{Close, Protocol};

/// Result of the handshake of a socket.
#[derive(Debug)]
pub struct Handshake {
    /// Access of the client, if the handshake had a key or none is configured; else `hello` must bring one.
    pub access: Option<Access>,
    /// Protocol that was agreed on ([`socket::choose_protocol`]).
    pub protocol: Protocol,
    /// `/v1/jobs/{id}/ws?cursor=`: the job and the cursor as they came. Subscribed at once, with
    /// unlimited credit; the socket closes after its `end`.
    pub implicit: Option<(Box<str>, Option<Box<str>>)>,
    /// Arbiter that runs the socket's actor.
    pub arbiter: actor::SocketArbiter,
}

/// End of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketOutcome {
    /// Reason for which the broker closed it; `None` if the client did.
    pub close: Option<Close>,
    /// The most bytes that were held for it while it took none.
    pub held_bytes_max: usize,
}
