//! Other systems' request and answer formats, translated in both directions by pure functions.
//!
//! Owns what OpenAI, Anthropic and Cloudflare clients and readers of Durable Streams send and expect.
//! Promises that rendering the same records gives the same bytes. Does not know sockets or handlers.

pub mod anthropic;
pub mod cloudflare;
pub mod durable_streams;
pub mod openai;
pub mod render;
pub mod responses;
