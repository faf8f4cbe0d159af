//! Anthropic's Messages, and every server that speaks that protocol.
//!
//! Owns the request (translated from OpenAI's chat, or taken as it is when it is in this dialect
//! already), the decoder of streamed and whole answers, and what errors mean. `json_object` has no
//! equal here: it is refused, or, with `drop_unsupported`, a wish in the rules. A speaker's `name`
//! and an image's `detail` have none either and are not sent.
//!
//! Usage: `input_tokens` here is the sum of what Anthropic counts apart (new, read from the cache,
//! written to it); output includes thinking. In a stream the last word counts, not the sum.
//!
//! Claude elsewhere (Vertex AI, Bedrock, Azure): [`request`] makes the body for a [`Site`],
//! [`headers`] and [`url`] the rest, [`encode_at`] all of it; the decoder is the same.

mod blocks;
mod decode;
mod encode;
mod extra;
mod failure;
mod finish;
mod model;
mod native;
mod open;
mod own;
mod thinking;
mod tools;
mod turns;
mod usage;
mod wire;

pub use decode::MessagesDecoder;
pub use encode::{Request, encode, encode_at, headers, request, url};
pub use failure::classify;
use model::Model;
pub use model::{OtherModels, Thinking};

use crate::provider::prefill::Thoughts;
use crate::provider::{ModelCall, Prefill};

/// A provider at which the protocol is used.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Kind of the provider, as in its card: the catalog is searched under it.
    pub kind: &'static str,
    /// Kind of the maker of Claude, under which the catalog is searched next.
    pub maker: &'static str,
    /// What the body holds beside the chat.
    pub form: Form,
    /// What models do that are not Claude.
    pub others: &'static OtherModels,
}

/// What a model makes of the beginning of its own answer. While it thinks it takes none.
#[must_use]
pub fn prefill(model_call: ModelCall<'_>, site: Site) -> Prefill {
    let takes = Model::of(site, &model_call.target.model).goes_on();
    Prefill::Exact.only_if(takes && Thoughts::of(&model_call.job.input) != Thoughts::Wanted)
}

/// What the body holds beside the chat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `model` and `stream`: the API itself, Azure, compatible servers.
    Api,
    /// `stream` and Vertex AI's `anthropic_version`; the model is in the address.
    Vertex,
    /// Bedrock's `anthropic_version`, and betas; model and streaming are in the address.
    Bedrock,
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
