//! Wire formats that many vendors share.

pub mod converse;
pub mod error;
pub mod openai_chat;
