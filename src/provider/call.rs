//! Sends a request to a provider, or to the player of the built-in `scripted` provider, and reads the reply.
//!
//! Owns the choice between the two, the bound on bodies of errors, and the copy of a reply for a
//! second reader. Promises that a dropped `Reply` closes the provider's socket. Does not know
//! first-token, idle and total time-outs: those belong to the run.

use std::time::Duration;

use bytes::Bytes;

use super::script::Player;
use super::tap::{Flow, Tap};
use super::{Headers, Outbound, Route, credential};
use crate::egress::Url;
use crate::egress::client::{HttpClient, HttpReply, HttpRequest};
use crate::job::caps::ERROR_BODY_BYTES_MAX;
use crate::job::{Failure, Timestamp};

/// How long a provider gets to deliver the body of an error.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// Client of all providers. A broker has one.
pub struct ProviderClient {
    http: HttpClient,
}

/// A provider's answer: its head, and its body as it comes. Dropping it closes the socket.
pub struct Reply {
    /// HTTP status of the answer.
    pub status: u16,
    /// Headers of the answer.
    pub headers: Headers,
    body: Body,
    /// Copy for a second reader, until it has the end or takes no more.
    flow: Option<Flow>,
}

enum Body {
    Http(HttpReply),
    Script(Box<Player>),
}

impl ProviderClient {
    /// Builds a client without connections.
    ///
    /// # Errors
    /// `internal` when TLS cannot be set up.
    pub fn new() -> Result<ProviderClient, Failure> {
        Ok(ProviderClient { http: HttpClient::new()? })
    }

    /// Sends a request and resolves when the head of the answer is there. Cancel-safe in that a
    /// dropped call closes its socket; the provider may have seen the request. `now` is the time
    /// against which the expiry of credentials is checked.
    ///
    /// # Errors
    /// `provider_unavailable` when there is no connection, `provider_timeout` when there is none
    /// within `connect`, `internal` for a request that cannot be built.
    pub async fn send(&self, outbound: Outbound, connect: Duration, now: Timestamp) -> Result<Reply, Failure> {
        let Outbound { route, body, .. } = outbound;
        match route {
            Route::Script(script) => {
                let mut player = Box::new(Player::new(&script, &body));
                let head = player.head().await?;
                Ok(Reply { status: head.status, headers: head.headers, body: Body::Script(player), flow: None })
            }
            Route::Http { method, url, mut headers, credential } => {
                let url = Url::parse(&url).map_err(|_| Failure::internal("the provider's URL is not one"))?;
                let request =
                    credential::Request { method: &method, url: &url, headers: &mut headers, body: &body, now };
                credential.authorize(request).await?;
                let mut reply = self.http.send(HttpRequest { method, url, headers, body }, connect).await?;
                let (status, headers) = (reply.status(), reply.take_headers());
                Ok(Reply { status, headers, body: Body::Http(reply), flow: None })
            }
        }
    }
}

impl Reply {
    /// Reads the next piece of the body; `None` is its clean end. Cancel-safe.
    ///
    /// # Errors
    /// `provider_truncated` when the body breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(flow) = &self.flow else { return self.body.chunk().await };
        let Some(permit) = flow.reserve().await else {
            self.flow = None;
            return self.body.chunk().await;
        };
        let read = self.body.chunk().await;
        let has_ended = !matches!(read, Ok(Some(_)));
        if let Ok(piece) = &read {
            permit.send(piece.clone());
        } else {
            // The copy is not whole either, and so gets no end.
            drop(permit);
        }
        if has_ended {
            self.flow = None;
        }
        read
    }

    /// Copies what is read from now on to the reader of `tap`, beginning with the head.
    pub fn tap(&mut self, tap: Tap) {
        self.flow = Some(tap.send_head(self.status, &self.headers));
    }

    /// Reads on for the reader of a tap, as long as that takes pieces and they come within `idle`.
    pub async fn flow_on(&mut self, idle: Duration) {
        while self.flow.is_some() {
            match tokio::time::timeout(idle, self.chunk()).await {
                Ok(Ok(Some(_))) => {}
                // A copy without an end is broken off.
                _ => self.flow = None,
            }
        }
    }

    /// Reads the body of an error answer: at most 64 KiB of it, as far as it comes within 5 s.
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
            Body::Http(reply) => reply.chunk().await,
            Body::Script(player) => player.chunk().await,
        }
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
