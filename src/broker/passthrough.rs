//! Carries a request to a provider as its client wrote it, and the answer back.
//!
//! Promises a time-out at every wait, no second try, and the provider's own bytes. A request whose answer
//! a decoder of ours can read becomes a job: its events are in the log and its attempt is charged, while
//! the client receives the bytes as they come. Any other request becomes no job: it is not in the log and
//! not priced, and at most one piece of its answer is held in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Broker, Submitted};
use crate::job::{Code, Failure, Gateway, Job, Target, Timeouts};
use crate::policy::effective_options;
use crate::policy::effective_options::EffectiveOptions;
use crate::provider::call::Reply;
use crate::provider::tap::Tap;
use crate::provider::{Headers, Outbound, passthrough};
use crate::run::passthrough::Passthrough;
use crate::telemetry;

pub use crate::provider::passthrough::{PassthroughRequest, Reading};
pub use crate::provider::tap::{TeeItem, TeeReader};

/// A provider's answer: its head, and its body as it comes. Dropping it closes the socket.
pub struct PassthroughReply {
    /// The HTTP status that the provider answered with.
    pub status: u16,
    /// The headers that the client gets.
    pub headers: Headers,
    reply: Reply,
    idle: Duration,
    end: Instant,
}

impl Broker {
    /// Sends a client's request to a provider; resolves with the head of the answer. `own` are the
    /// time-outs that the request names, over those of its gateway. Cancel-safe.
    ///
    /// # Errors
    /// `overloaded` while the broker goes down, `unknown_model`, `invalid`, `unsupported`, and the failures
    /// of a call to a provider.
    pub async fn pass_on(
        &self,
        request: PassthroughRequest<'_>,
        own: Timeouts,
        gateway: &Gateway,
    ) -> Result<PassthroughReply, Failure> {
        if self.is_draining() {
            return Err(Failure::new(Code::Overloaded, "the broker is going down"));
        }
        let snapshot = self.snapshot.load_full();
        let timeouts = effective_options::timeouts(own, gateway, &snapshot.config);
        let ms = |value: Option<u64>| Duration::from_millis(value.unwrap_or_default());
        let provider = request.provider.to_owned();
        let outbound = passthrough::outbound(request, &snapshot.registry)?;
        let end = Instant::now() + ms(timeouts.total_ms);
        let sent = self.env.provider_client.send(outbound, ms(timeouts.connect_ms), self.env.clock.now());
        let sent = timeout_at(end, timeout(ms(timeouts.first_token_ms), sent)).await;
        let reply = match sent {
            Ok(Ok(reply)) => reply.map_err(|failure| failure.with_provider(&provider)),
            _ => Err(late("nothing came within the time-out").with_provider(&provider)),
        };
        telemetry::passed_on(&provider, reply.as_ref().map_or(0, |reply| reply.status));
        let reply = reply?;
        let headers = passthrough::answered(&reply.headers);
        Ok(PassthroughReply { status: reply.status, headers, reply, idle: ms(timeouts.idle_ms), end })
    }
}

impl PassthroughReply {
    /// Returns the next piece of the body, or `None` at its clean end. Cancel-safe.
    ///
    /// # Errors
    /// `provider_timeout`, `provider_truncated`.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match timeout_at(self.end, timeout(self.idle, self.reply.chunk())).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(_)) => Err(late("the answer stalled")),
            Err(_) => Err(late("the answer took too long")),
        }
    }
}

impl Broker {
    /// Returns what a request asks, if a decoder of ours can read its answer: then [`Broker::pass_on_job`]
    /// takes it.
    #[must_use]
    pub fn reading(&self, request: &PassthroughRequest<'_>) -> Option<Reading> {
        self.snapshot.load().registry.get(request.provider)?.provider.reads(request)
    }

    /// Submits `job`, which is that request, as [`Broker::submit_then`] does. The provider's bytes come out
    /// of the second half of the result.
    ///
    /// # Errors
    /// As [`Broker::pass_on`] before anything is sent, and as [`Broker::submit`].
    pub async fn pass_on_job<T: Send + 'static>(
        self: &Arc<Self>,
        job: Job,
        (request, reading): (PassthroughRequest<'_>, Reading),
        then: impl FnOnce(Submitted) -> T + Send + 'static,
    ) -> Result<(T, TeeReader), Failure> {
        let snapshot = self.snapshot.load_full();
        let target = Target { provider: request.provider.into(), model: reading.model };
        let brings_key = request.brings_key();
        let outbound = Outbound { framing: reading.framing, ..passthrough::outbound(request, &snapshot.registry)? };
        // A client that reads nothing must not look like a provider that sends nothing.
        let (tap, reader) = Tap::new(EffectiveOptions::of(&job, &snapshot.config).idle / 2);
        let job = Job { is_passed_on: true, ..job };
        let passthrough_request = Passthrough { target, outbound, brings_key, tap };
        Ok((self.submit_with(job, Some(passthrough_request), then).await?, reader))
    }
}

fn late(message: &'static str) -> Failure {
    Failure::new(Code::ProviderTimeout, message)
}
