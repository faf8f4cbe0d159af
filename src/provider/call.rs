//! Carries a request to a provider and its reply back.
//!
//! Owns the HTTP client: the pools, the one TLS provider, the time-out of connecting. Promises that
//! a dropped `Reply` closes the provider's socket, that nothing is redirected, decompressed or
//! asked again on its own account, and that no error holds a URL or a header. Does not know
//! first-token, idle and total time-outs: those are the driver's.
//!
//! The client's time-out of connecting is a property of a pool, and a job may ask for its own. So
//! there is one pool per rung of a fixed ladder of time-outs, made when first used; a job's value
//! is rounded up to its rung. Loopback addresses never go through a proxy.

use std::sync::{Once, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, redirect};

use super::script::Player;
use super::tap::{Flow, Tap};
use super::{Headers, Outbound, Route, credential};
use crate::job::caps::ERROR_BODY_BYTES_MAX;
use crate::job::{Code, Failure, Timestamp};

/// The ladder, in milliseconds.
const CONNECT_MS: [u64; 12] = [100, 250, 500, 1000, 2000, 3000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000];
/// The rung of the default time-out, built at the start so that a broken TLS set-up is found then.
const DEFAULT_RUNG: usize = 6;
/// Unused connections kept per provider and rung.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long an unused connection is kept: below the 60 s after which common servers close theirs.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// How long a provider gets to deliver the body of an error.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// The HTTP client. One per broker.
pub struct Caller {
    proxied: [OnceLock<Client>; CONNECT_MS.len()],
    direct: [OnceLock<Client>; CONNECT_MS.len()],
}

/// A provider's answer: its head, and its body as it comes. Dropping it closes the socket.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    body: Body,
    /// Who else gets it, until that is told the end or takes no more.
    flow: Option<Flow>,
}

enum Body {
    Http(reqwest::Response),
    Script(Box<Player>),
}

impl Caller {
    /// A client without connections.
    ///
    /// # Errors
    /// `internal` when TLS cannot be set up.
    pub fn new() -> Result<Caller, Failure> {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            // An error says that a provider is installed already, which is all we want.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let caller = Caller { proxied: Default::default(), direct: Default::default() };
        caller.client(DEFAULT_RUNG, false)?;
        Ok(caller)
    }

    /// Sends a request; resolves when the head of the answer is there. Cancel-safe in that a
    /// dropped call closes its socket; the provider may have seen the request. `now` is what
    /// credentials that run out are measured by.
    ///
    /// # Errors
    /// `provider_unavailable` when there is no connection, `provider_timeout` when there is none
    /// within `connect`, `internal` for a request that cannot be built.
    pub async fn send(&self, outbound: Outbound, connect: Duration, now: Timestamp) -> Result<Reply, Failure> {
        match outbound.route {
            Route::Script(script) => {
                let mut player = Box::new(Player::new(&script, &outbound.body));
                let head = player.head().await?;
                Ok(Reply { status: head.status, headers: head.headers, body: Body::Script(player), flow: None })
            }
            Route::Http { method, url, mut headers, credential } => {
                let url = reqwest::Url::parse(&url).map_err(|_| Failure::internal("the provider's URL is not one"))?;
                let client = self.client(rung(connect), is_loopback(&url))?;
                let request = credential::Request {
                    method: &method,
                    url: &url,
                    headers: &mut headers,
                    body: &outbound.body,
                    now,
                };
                credential.authorize(request).await?;
                let sent = client.request(method, url).headers(headers).body(outbound.body).send().await;
                let mut response = sent.map_err(|error| unreachable_provider(error, connect))?;
                let headers = std::mem::take(response.headers_mut());
                Ok(Reply { status: response.status().as_u16(), headers, body: Body::Http(response), flow: None })
            }
        }
    }

    fn client(&self, rung: usize, direct: bool) -> Result<&Client, Failure> {
        let place = if direct { &self.direct[rung] } else { &self.proxied[rung] };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = build(Duration::from_millis(CONNECT_MS[rung]), direct)?;
        Ok(place.get_or_init(|| client))
    }
}

fn build(connect: Duration, direct: bool) -> Result<Client, Failure> {
    // What the client repeats by itself are requests that the other side says it never looked at
    // (HTTP/2 GOAWAY, a pooled connection that had died): nobody can be billed for those.
    let mut builder = Client::builder()
        .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        .redirect(redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_CONNECTION);
    if direct {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Failure::internal(format!("cannot set up the HTTP client: {}", cause(&error))))
}

/// The lowest rung that is not below what was asked for.
fn rung(connect: Duration) -> usize {
    let asked = u64::try_from(connect.as_millis()).unwrap_or(u64::MAX);
    CONNECT_MS.iter().position(|ms| *ms >= asked).unwrap_or(CONNECT_MS.len() - 1)
}

pub(super) fn is_loopback(url: &reqwest::Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

fn unreachable_provider(error: reqwest::Error, connect: Duration) -> Failure {
    if error.is_connect() && error.is_timeout() {
        let message = format!("no connection to the provider within {} ms", connect.as_millis());
        return Failure::new(Code::ProviderTimeout, message).of_the_target().unsent();
    }
    if error.is_builder() {
        return Failure::internal(format!("cannot build the request: {}", cause(&error.without_url())));
    }
    // Names, connections and TLS: all of it comes before the first byte of the request.
    let is_connect = error.is_connect();
    let what = if is_connect { "cannot connect to the provider" } else { "the provider closed the connection" };
    let failure = Failure::new(Code::ProviderUnavailable, format!("{what}: {}", cause(&error.without_url())));
    if is_connect { failure.of_the_target().unsent() } else { failure.of_the_target() }
}

/// The innermost reason: the outer ones only repeat where it happened.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

impl Reply {
    /// The next piece of the body, or `None` at its clean end. Cancel-safe.
    ///
    /// # Errors
    /// `provider_truncated` when the body breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(flow) = &self.flow else { return self.body.chunk().await };
        let Some(room) = flow.room().await else {
            self.flow = None;
            return self.body.chunk().await;
        };
        let read = self.body.chunk().await;
        let has_ended = !matches!(read, Ok(Some(_)));
        if let Ok(piece) = &read {
            room.send(piece.clone());
        } else {
            // It is not whole, and so gets no end.
            drop(room);
        }
        if has_ended {
            self.flow = None;
        }
        read
    }

    /// From now on whoever holds the other end of `tap` gets what is read, beginning with the head.
    pub fn tap(&mut self, tap: Tap) {
        self.flow = Some(tap.told(self.status, &self.headers));
    }

    /// Reads on for the other end of a tap, as long as somebody takes it and pieces come within `idle`.
    pub async fn flow_on(&mut self, idle: Duration) {
        while self.flow.is_some() {
            match tokio::time::timeout(idle, self.chunk()).await {
                Ok(Ok(Some(_))) => {}
                // What was not told its end is broken off.
                _ => self.flow = None,
            }
        }
    }

    /// The body of an error answer: at most 64 KiB of it, as far as it comes within 5 s.
    pub async fn error_body(&mut self) -> Vec<u8> {
        let deadline = tokio::time::Instant::now() + ERROR_BODY_WAIT;
        let mut body = Vec::new();
        while let Ok(Ok(Some(bytes))) = tokio::time::timeout_at(deadline, self.chunk()).await {
            let room = ERROR_BODY_BYTES_MAX - body.len();
            body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if body.len() == ERROR_BODY_BYTES_MAX {
                break;
            }
        }
        body
    }
}

impl Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Body::Http(response) => response.chunk().await.map_err(|error| {
                let message = format!("the provider's answer broke off: {}", cause(&error.without_url()));
                Failure::new(Code::ProviderTruncated, message).of_the_target()
            }),
            Body::Script(player) => player.chunk().await,
        }
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
