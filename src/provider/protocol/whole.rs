//! Answers that are one JSON value and become one output: embeddings and rerank.
//!
//! Owns their one decoder, and telling an answer from an error, from a page and from a body that was
//! cut. A protocol gives the function that reads its own answer. Knows no provider's format.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{emit, error};
use crate::job::{Bill, Event, Failure, Usage, UsageSource};
use crate::provider::{Decoder, Finish, Headers, Packet, Step};

/// What was read of an answer.
pub(super) struct WholeAnswer {
    /// The one output event.
    pub(super) output: Event,
    /// Usage as far as the body tells it.
    pub(super) usage: Option<Usage>,
    /// Other facts that the price depends on.
    pub(super) bill: Bill,
}

/// Decodes an answer with a function that reads its body.
pub(super) struct WholeDecoder<R> {
    read: R,
    /// Reads the usage of protocols that tell it in a header; what the body tells counts before it.
    read_headers: fn(&Headers) -> Option<Usage>,
    usage: Option<Usage>,
    bill: Bill,
    is_read: bool,
}

impl<R: Fn(&[u8]) -> Result<WholeAnswer, Failure> + Send> WholeDecoder<R> {
    /// Builds a decoder for one answer, whose body `read` gets without blanks around it.
    pub(super) fn new(read: R) -> WholeDecoder<R> {
        WholeDecoder { read, read_headers: |_| None, usage: None, bill: Bill::default(), is_read: false }
    }

    /// Sets what reads the usage from the headers.
    pub(super) fn with_headers(mut self, read_headers: fn(&Headers) -> Option<Usage>) -> WholeDecoder<R> {
        self.read_headers = read_headers;
        self
    }
}

impl<R: Fn(&[u8]) -> Result<WholeAnswer, Failure> + Send> Decoder for WholeDecoder<R> {
    fn on_headers(&mut self, headers: &Headers) {
        self.usage = (self.read_headers)(headers);
    }

    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure> {
        let answer = (self.read)(body(packet))?;
        self.usage = answer.usage.or_else(|| self.usage.take());
        self.bill = answer.bill;
        self.is_read = true;
        out.push(answer.output);
        Ok(Step::Done)
    }

    fn on_end(&mut self, _out: &mut Vec<Event>) -> Result<Finish, Failure> {
        if !self.is_read {
            return Err(emit::truncated());
        }
        Ok(Finish { reason: "stop".into(), native: None, usage: self.usage.clone() })
    }

    fn usage_so_far(&self) -> Option<Usage> {
        self.usage.clone()
    }

    fn bill(&self) -> Bill {
        self.bill.clone()
    }
}

/// Returns the usage of an answer of which only the input is counted.
pub(super) fn input_usage(tokens: u64) -> Usage {
    Usage { input_tokens: Some(tokens), source: UsageSource::Provider, ..Usage::default() }
}

/// Returns the bytes of an answer, however its framing names them.
fn body(packet: Packet<'_>) -> &[u8] {
    let (Packet::Whole(body) | Packet::Line(body) | Packet::Sse { data: body, .. } | Packet::Frame { data: body, .. }) =
        packet;
    body.trim_ascii()
}

/// Parses the answer in `body`.
///
/// # Errors
/// `provider_truncated` for a body that was cut; what the provider says for one that is JSON of
/// another shape, or a page.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    match serde_json::from_slice(body) {
        Ok(answer) => Ok(answer),
        Err(_) if body.is_empty() => Err(emit::broken("the provider gave an empty answer")),
        Err(_) if body.starts_with(b"<") || serde_json::from_slice::<IgnoredAny>(body).is_ok() => {
            Err(error::in_reply(body))
        }
        Err(_) => Err(emit::broken("the provider's answer is not JSON")),
    }
}
