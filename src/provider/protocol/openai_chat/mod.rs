//! OpenAI chat completions, and every server that speaks that protocol.
//!
//! Owns the request (the job's input as it came, plus `model`, `stream` and the wish for usage) and
//! the decoder of streamed and whole answers. Promises that an unknown field is kept in
//! `Delta.extra` under the level it stood at (`delta`, `choice` or `chunk`), that tool calls are told
//! apart whatever the vendor leaves out, and that no finish is invented: `[DONE]`, or a clean end
//! after a finish reason, is the end. A finish reason that came with `[DONE]` but was never said is
//! `unknown`. Does not read clocks or sockets.

mod answer;
pub(super) mod chunk;
mod decode;
mod details;
mod draft;
mod encode;
mod extra;
mod finish;
mod foreign;
mod messages;
mod money;
mod rules;
mod think;
mod tools;
mod usage;
mod vendor;

pub use chunk::text;
pub use decode::ChatDecoder;
pub use draft::Draft;
pub use encode::{encode, encode_by, fields};
pub use rules::{
    MessageRules, Money, PrefillRules, Reasoning, ReplyRules, RewritePart, Rules, Translate, no_effort_is_no_thinking,
};
pub use usage::{of as usage_of, read as read_usage};
pub use vendor::Vendor;
