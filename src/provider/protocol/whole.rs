//! Answers that are one JSON value: how they are read and how they end.
//!
//! Owns what such decoders share: telling an answer from an error, from a page and from a body that
//! was cut. Knows no provider's format.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{emit, error};
use crate::job::{Failure, Usage};
use crate::provider::{Finish, Packet};

/// The bytes of an answer, however its framing names them.
pub(super) fn body(packet: Packet<'_>) -> &[u8] {
    let (Packet::Whole(body) | Packet::Line(body) | Packet::Sse { data: body, .. } | Packet::Frame { data: body, .. }) =
        packet;
    body.trim_ascii()
}

/// The answer in `body`.
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

/// The finish of an answer that was read or not.
///
/// # Errors
/// `provider_truncated` when it was not.
pub(super) fn finish(is_read: bool, usage: Option<&Usage>) -> Result<Finish, Failure> {
    if !is_read {
        return Err(emit::truncated());
    }
    Ok(Finish { reason: "stop".into(), native: None, usage: usage.cloned() })
}
