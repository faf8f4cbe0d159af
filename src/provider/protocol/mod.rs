//! Wire formats that many vendors share.

pub mod anthropic;
pub mod cohere;
pub mod converse;
pub mod embeddings;
mod emit;
pub mod error;
pub mod gemini;
pub mod ollama;
pub mod openai_chat;
pub mod rerank;
pub mod responses;
pub(crate) mod send;
mod whole;
pub mod workers_ai;
