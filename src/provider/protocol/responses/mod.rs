//! OpenAI's Responses, and every server that speaks that protocol.
//!
//! Owns the request (a chat written as items, or a native body as it came), the decoder of streamed
//! and whole answers, and the rule when OpenAI's own endpoints are asked in this dialect. Promises
//! that each text comes once, from its deltas or else from its whole item; that a reasoning item
//! goes out as `reasoning_details` when it is complete and goes back as the same item; that items of
//! built-in tools, annotations and log probabilities are kept in `extra`. A blank line is put
//! between parts of a reasoning summary, which are paragraphs. Usage as OpenAI counts: cached tokens
//! are inside the input, reasoning inside the output; searches are billed beside them. An answer
//! ends with `response.completed`, `.incomplete` or `.failed`; `[DONE]` says nothing. Does not keep
//! state at the provider: `store` is false unless the job says otherwise, or wants a response in the
//! background. That one is told of with its id, and can be listened to again and ended.

mod decode;
mod encode;
mod input;
mod item;
mod packet;
mod rule;
mod upstream;

pub use decode::ResponsesDecoder;
pub use encode::encode;
pub use rule::{Rules, Site, is_wanted, takes_newer_limit, thinks};
pub use upstream::{cancel, fetch, resume};
