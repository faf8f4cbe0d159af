//! A vLLM server on this machine.

use crate::provider::Card;
use crate::provider::family::openai_chat::{Rules, Vendor};

pub(super) static VLLM: Vendor = Vendor {
    card: &Card {
        id: "vllm",
        base_url: "http://127.0.0.1:8000/v1",
        docs: "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        ..Card::PLAIN
    },
    chat: &Rules::PLAIN,
    embeddings: Some(&Rules::EMBEDDINGS),
};
