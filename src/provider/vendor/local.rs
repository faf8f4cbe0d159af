//! A model server on this machine.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Rules, Vendor};

pub(super) static LOCAL: Vendor = Vendor {
    card: &Card {
        id: "local",
        base_url: "http://127.0.0.1:8080/v1",
        docs: "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        ..Card::PLAIN
    },
    chat: &super::openai_compatible::OPEN_SERVER,
    embeddings: Some(&Rules::PLAIN),
};
