//! The error answers of each dialect.
//!
//! Owns which body and status a failure has for the clients of another API. Clients are told not to try
//! again what is not worth it.

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};

use super::response;
use super::response::Reply;
use crate::dialect::{anthropic, cloudflare, openai, responses};
use crate::job::{Code, Failure};

/// Header with which an answer forbids or asks for another try.
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The API in whose form a route answers errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// Our own API.
    Own,
    /// The Durable Streams protocol's: our own body, some other statuses.
    DurableStreams,
    /// OpenAI's API.
    OpenAi,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's API.
    Anthropic,
    /// Cloudflare's API.
    Cloudflare,
}

impl Dialect {
    /// Answers with a failure in the form that this API's clients read.
    pub(super) fn refused(self, failure: &Failure, request_id: &HeaderValue) -> Reply {
        let mut reply = match self {
            Dialect::Own => return response::refused(failure),
            Dialect::DurableStreams => return stream_refused(failure),
            Dialect::OpenAi => response::failed(failure, &openai::Envelope::new(failure)),
            Dialect::Responses => response::failed(failure, &openai::Envelope::new(&responses::as_asked(failure))),
            Dialect::Anthropic => {
                let mut reply = response::failed(failure, &anthropic::Envelope::new(failure, request_id.to_str().ok()));
                *reply.status_mut() = StatusCode::from_u16(anthropic::status(failure)).unwrap_or(reply.status());
                reply
            }
            Dialect::Cloudflare => response::failed(failure, &cloudflare::failure(failure)),
        };
        if !failure.retryable {
            reply.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        reply
    }
}

/// The answer to a failure in the status codes of the Durable Streams protocol.
pub(super) fn stream_refused(failure: &Failure) -> Reply {
    let mut reply = response::refused(failure);
    match failure.code {
        Code::BadCursor | Code::CursorAhead => *reply.status_mut() = StatusCode::BAD_REQUEST,
        // What stood there is gone: begin anew.
        Code::EpochMismatch | Code::CursorTrimmed => *reply.status_mut() = StatusCode::GONE,
        _ => {}
    }
    reply
}
