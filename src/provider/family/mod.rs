//! Wire formats that many vendors share.

pub mod embeddings;
pub mod error;
pub mod gemini;
pub mod openai_chat;
