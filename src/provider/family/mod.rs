//! Wire formats that many vendors share.

pub mod anthropic;
pub mod embeddings;
pub mod error;
pub mod openai;
pub mod openai_chat;
pub mod responses;
