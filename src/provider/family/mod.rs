//! Wire formats that many vendors share.

pub mod error;
pub mod openai_chat;
