//! The error answers of each dialect.
//!
//! Owns which body and status a failure has for the clients of another API. `x-should-retry` keeps them
//! from requests that would fail again.

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
    /// This broker's own API.
    Own,
    /// The Durable Streams protocol's: our own body, some other statuses.
    DurableStreams,
    /// OpenAI's chat, completions, embeddings and models.
    OpenAi,
    /// The Responses API of OpenAI.
    Responses,
    /// The Messages API of Anthropic.
    Anthropic,
    /// Cloudflare's AI Gateway and Workers AI.
    Cloudflare,
}

impl Dialect {
    /// Answers with a failure in the form that this API's clients read.
    pub(super) fn failure_reply(self, failure: &Failure, request_id: &HeaderValue) -> Reply {
        let mut reply = match self {
            Dialect::Own => return response::failure_reply(failure),
            Dialect::DurableStreams => return stream_failure_reply(failure),
            Dialect::OpenAi => response::failure_reply_with(failure, &openai::Envelope::new(failure)),
            Dialect::Responses => {
                response::failure_reply_with(failure, &openai::Envelope::new(&responses::in_request_terms(failure)))
            }
            Dialect::Anthropic => {
                let mut reply =
                    response::failure_reply_with(failure, &anthropic::Envelope::new(failure, request_id.to_str().ok()));
                *reply.status_mut() = StatusCode::from_u16(anthropic::status(failure)).unwrap_or(reply.status());
                reply
            }
            Dialect::Cloudflare => response::failure_reply_with(failure, &cloudflare::failure(failure)),
        };
        if !failure.retryable {
            reply.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        reply
    }
}

/// The answer to a failure in the status codes of the Durable Streams protocol.
pub(super) fn stream_failure_reply(failure: &Failure) -> Reply {
    let mut reply = response::failure_reply(failure);
    match failure.code {
        Code::BadCursor | Code::CursorAhead => *reply.status_mut() = StatusCode::BAD_REQUEST,
        // What stood there is gone: begin anew.
        Code::EpochMismatch | Code::CursorTrimmed => *reply.status_mut() = StatusCode::GONE,
        _ => {}
    }
    reply
}
