//! Carries a request to a provider as its client wrote it, and the answer back.
//!
//! Promises time-outs at every wait and nothing held beyond one piece of the answer. This is no job:
//! nothing of it is in the log, nothing is tried twice, nothing is priced.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::Services;
use crate::job::{Code, Failure, Gateway, Timeouts};
use crate::policy::terms;
use crate::provider::call::Reply;
use crate::provider::{Headers, passing};
use crate::telemetry;

pub use crate::provider::passing::Asked;

/// A provider's answer: its head, and its body as it comes. Dropping it closes the socket.
pub struct Passed {
    /// The HTTP status.
    pub status: u16,
    /// The headers that its client reads.
    pub headers: Headers,
    reply: Reply,
    idle: Duration,
    end: Instant,
}

impl Services {
    /// Asks a provider as the client does; resolves with the head of its answer. `own` are the
    /// time-outs that the request names, over those of its gateway. Cancel-safe.
    ///
    /// # Errors
    /// `overloaded` while going down, `unknown_model`, `invalid`, `unsupported`, and what happens on
    /// the way to a provider.
    pub async fn pass_on(&self, asked: Asked<'_>, own: Timeouts, gateway: &Gateway) -> Result<Passed, Failure> {
        if self.is_draining() {
            return Err(Failure::new(Code::Overloaded, "the broker is going down"));
        }
        let live = self.live.load_full();
        let timeouts = terms::timeouts(own, gateway, &live.config);
        let ms = |value: Option<u64>| Duration::from_millis(value.unwrap_or_default());
        let provider = asked.provider.to_owned();
        let outbound = passing::outbound(asked, &live.registry)?;
        let end = Instant::now() + ms(timeouts.total_ms);
        let sent = self.caller.send(outbound, ms(timeouts.connect_ms), self.clock.now());
        let sent = timeout_at(end, timeout(ms(timeouts.first_token_ms), sent)).await;
        let reply = match sent {
            Ok(Ok(reply)) => reply.map_err(|failure| failure.with_provider(&provider)),
            _ => Err(late("nothing came within the time-out").with_provider(&provider)),
        };
        telemetry::passed_on(&provider, reply.as_ref().map_or(0, |reply| reply.status));
        let reply = reply?;
        let headers = passing::answered(&reply.headers);
        Ok(Passed { status: reply.status, headers, reply, idle: ms(timeouts.idle_ms), end })
    }
}

impl Passed {
    /// The next piece of the body, or `None` at its clean end. Cancel-safe.
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

fn late(message: &'static str) -> Failure {
    Failure::new(Code::ProviderTimeout, message)
}
