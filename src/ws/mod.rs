//! The WebSocket door: jobs in, records out, over one socket per client.
//!
//! Owns the conversation (INTERFACE 5). `serve` is one task per socket that moves data: it reads
//! streams and writes frames. Beside it one actor owns the socket's lifetime: timers, submitted
//! jobs, the decision to close. Promises: a slow reader costs a cursor and one frame and delays
//! nobody; a disconnect never cancels by itself; replay and live are one loop. Does not know HTTP:
//! the door on the port does the handshake and hands the socket over.

pub mod actor;
pub mod client;
mod connection;
mod dialogue;
mod heartbeat;
mod resume;
pub mod socket;
mod subscription;

use crate::policy::access::Access;
use crate::wire::frame::{Close, Protocol};

/// How a socket was opened.
#[derive(Debug)]
pub struct Opening {
    /// Who came, if the request said so or no keys are configured; else `hello` must.
    pub access: Option<Access>,
    /// What was agreed ([`socket::choose_protocol`]).
    pub protocol: Protocol,
    /// `/v1/jobs/{id}/ws?cursor=`: the job and the cursor as they came. Subscribed at once, with
    /// unlimited credit; the socket closes after its `end`.
    pub implicit: Option<(Box<str>, Option<Box<str>>)>,
    /// Where the socket's actor lives.
    pub place: actor::Place,
}

/// How a socket ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Why we closed it; `None` when the client did.
    pub close: Option<Close>,
    /// The most bytes that were held for it while it took none.
    pub held_bytes_max: usize,
}
