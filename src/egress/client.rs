//! The HTTP client that providers are called with.
//!
//! Owns the pools of connections and the time-out of connecting. Promises that a dropped
//! `HttpReply` closes its socket, that nothing is redirected, decompressed or sent again on its own
//! account, and that no error holds a URL or a header. Does not know first-token, idle and total
//! time-outs: those belong to the run.
//!
//! The client's time-out of connecting is a property of a pool, and a job may set its own. So there
//! is one pool per step of a fixed ladder of time-outs, made when it is first used; a job's value is
//! rounded up to its step. Loopback addresses never go through a proxy.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Response, redirect};

use super::{HeaderMap, Method, USER_AGENT, Url, install_tls, is_loopback, root_cause};
use crate::job::{Code, Failure};

/// Steps of the ladder, in milliseconds.
const CONNECT_MS: [u64; 12] = [100, 250, 500, 1000, 2000, 3000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000];
/// Step of the default time-out. Its pool is built at the start, so that a broken TLS set-up is found then.
const DEFAULT_STEP: usize = 6;
/// Unused connections kept per host and step.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long an unused connection is kept: below the 60 s after which common servers close theirs.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// HTTP client with one pool of connections per connect time-out. A broker has one.
pub struct HttpClient {
    proxied: [OnceLock<Client>; CONNECT_MS.len()],
    direct: [OnceLock<Client>; CONNECT_MS.len()],
}

/// A request that is complete, its credentials included.
pub struct HttpRequest {
    /// HTTP method of the request.
    pub method: Method,
    /// Address that the request goes to.
    pub url: Url,
    /// Headers of the request, perhaps a key among them.
    pub headers: HeaderMap,
    /// Body of the request.
    pub body: Bytes,
}

/// An answer: its head is there, its body comes piece by piece. Dropping it closes the socket.
pub struct HttpReply {
    response: Response,
}

impl HttpClient {
    /// Builds a client without connections.
    ///
    /// # Errors
    /// `internal` when TLS cannot be set up.
    pub fn new() -> Result<HttpClient, Failure> {
        install_tls();
        let client = HttpClient { proxied: Default::default(), direct: Default::default() };
        client.pool(DEFAULT_STEP, false)?;
        Ok(client)
    }

    /// Sends a request and resolves when the head of the answer is there. Cancel-safe in that a
    /// dropped call closes its socket; the provider may have seen the request.
    ///
    /// # Errors
    /// `provider_unavailable` when there is no connection, `provider_timeout` when there is none
    /// within `connect`, `internal` for a request that cannot be built.
    pub async fn send(&self, request: HttpRequest, connect: Duration) -> Result<HttpReply, Failure> {
        let client = self.pool(step(connect), is_loopback(&request.url))?;
        let builder = client.request(request.method, request.url).headers(request.headers).body(request.body);
        let response = builder.send().await.map_err(|error| unreachable_provider(error, connect))?;
        Ok(HttpReply { response })
    }

    fn pool(&self, step: usize, direct: bool) -> Result<&Client, Failure> {
        let place = if direct { &self.direct[step] } else { &self.proxied[step] };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = build(Duration::from_millis(CONNECT_MS[step]), direct)?;
        Ok(place.get_or_init(|| client))
    }
}

fn build(connect: Duration, direct: bool) -> Result<Client, Failure> {
    // What the client repeats by itself are requests that the other side says it never looked at
    // (HTTP/2 GOAWAY, a pooled connection that had died): the provider bills none of those.
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
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
    builder.build().map_err(|error| Failure::internal(format!("cannot set up the HTTP client: {}", root_cause(&error))))
}

/// Returns the lowest step that is not below the wanted time-out.
fn step(connect: Duration) -> usize {
    let wanted_ms = u64::try_from(connect.as_millis()).unwrap_or(u64::MAX);
    CONNECT_MS.iter().position(|ms| *ms >= wanted_ms).unwrap_or(CONNECT_MS.len() - 1)
}

fn unreachable_provider(error: reqwest::Error, connect: Duration) -> Failure {
    if error.is_connect() && error.is_timeout() {
        let message = format!("no connection to the provider within {} ms", connect.as_millis());
        return Failure::new(Code::ProviderTimeout, message).of_the_target().unsent();
    }
    if error.is_builder() {
        return Failure::internal(format!("cannot build the request: {}", root_cause(&error.without_url())));
    }
    // Names, connections and TLS: all of it comes before the first byte of the request.
    let is_connect = error.is_connect();
    let what = if is_connect { "cannot connect to the provider" } else { "the provider closed the connection" };
    let message = format!("{what}: {}", root_cause(&error.without_url()));
    let failure = Failure::new(Code::ProviderUnavailable, message).of_the_target();
    if is_connect { failure.unsent() } else { failure }
}

impl HttpReply {
    /// HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Takes the headers of the answer out of it.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(self.response.headers_mut())
    }

    /// Reads the next piece of the body; `None` is its clean end. Cancel-safe.
    ///
    /// # Errors
    /// `provider_truncated` when the body breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        self.response.chunk().await.map_err(|error| {
            let message = format!("the provider's answer broke off: {}", root_cause(&error.without_url()));
            Failure::new(Code::ProviderTruncated, message).of_the_target()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_does_not_exist_never_sent_anything() {
        let client = HttpClient::new().unwrap();
        // Past any proxy of this machine, which would have an answer.
        let direct = client.pool(DEFAULT_STEP, true).unwrap();
        let nameless = direct.post("http://somewhere.invalid/v1/chat").send().await.expect_err("has no address");
        let failure = unreachable_provider(nameless, Duration::from_secs(5));
        assert_eq!((failure.code, failure.never_sent), (Code::ProviderUnavailable, true), "{failure}");
    }

    #[test]
    fn a_connect_time_out_is_rounded_up_to_a_step() {
        for (ms, expected) in [(0, 100), (100, 100), (101, 250), (5000, 5000), (5001, 10_000), (86_400_000, 120_000)] {
            assert_eq!(CONNECT_MS[step(Duration::from_millis(ms))], expected, "{ms}");
        }
        assert_eq!(CONNECT_MS[DEFAULT_STEP], 5000);
    }
}
