//! What the handlers of a request are given: the request, its authentication and the broker.
//!
//! Owns the state that all connections share. Handlers import this module; it imports no handler.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;

use super::auth::RequestAuth;
use super::cloudflare_names::Via;
use super::upgrade::Upgrade;
use crate::broker::Broker;

/// Times that clients may take. Sizes and counts are in the configuration (`[server]`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the head of a request, counted from the connection's last answer: also how long an idle
    /// connection is kept.
    pub head: Duration,
    /// For a whole body.
    pub body: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// For connections to end after `shutdown`; what is left is cut.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: Duration::from_secs(75),
            body: Duration::from_secs(120),
            body_idle: Duration::from_secs(20),
            linger: Duration::from_secs(5),
        }
    }
}

/// State that all connections of the port share.
pub(super) struct ServerState {
    pub(super) broker: Arc<Broker>,
    pub(super) limits: Limits,
    /// Bytes of the bodies that are being received.
    pub(super) body_bytes: AtomicUsize,
}

/// State that the requests of one connection share.
pub(super) struct Connection {
    pub(super) server: Arc<ServerState>,
    /// Set by the request that makes this connection a WebSocket.
    pub(super) upgrade: Mutex<Option<Upgrade>>,
}

/// Parameters of a path at most.
const PARAMS_MAX: usize = 2;

/// Values of the parameters of a path, in order; empty where there are fewer.
pub(super) type Params<'a> = [&'a str; PARAMS_MAX];

/// A request whose route and authentication are known.
pub(super) struct RequestContext<'a> {
    pub(super) connection: &'a Arc<Connection>,
    pub(super) parts: &'a Parts,
    pub(super) auth: RequestAuth,
    /// Parameters of its path.
    pub(super) params: Params<'a>,
    /// The body, until a handler takes it.
    pub(super) body: Mutex<Option<Incoming>>,
    /// Whether the path is one of ours or one of Cloudflare's.
    pub(super) via: Via<'a>,
    /// Time at which the head was received.
    pub(super) arrived: Instant,
    /// Time at which the body was received.
    pub(super) body_read: OnceLock<Instant>,
    /// The client's own id of the request, else a generated one.
    pub(super) request_id: HeaderValue,
}

impl RequestContext<'_> {
    /// The broker that carries out what the request wants.
    pub(super) fn broker(&self) -> &Arc<Broker> {
        &self.connection.server.broker
    }

    /// Time that this process has spent on the request, without the time in which the client sent its body.
    pub(super) fn overhead(&self) -> Duration {
        self.body_read.get().unwrap_or(&self.arrived).elapsed()
    }

    pub(super) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}
