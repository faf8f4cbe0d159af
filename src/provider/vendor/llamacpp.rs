//! A llama.cpp server on this machine.

use super::openai_compatible::OPEN_SERVER;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{MessageRules, PrefillRules, Rules, Vendor};

pub(super) static LLAMACPP: Vendor = Vendor {
    card: &Card {
        id: "llamacpp",
        base_url: "http://127.0.0.1:8080/v1",
        docs: "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        ..Card::PLAIN
    },
    // It goes on from a last message of the assistant by itself, in every format that it speaks.
    chat: &Rules {
        messages: MessageRules { keeps: &["reasoning_content"], ..MessageRules::PLAIN },
        prefill: PrefillRules { in_responses: true, ..PrefillRules::UNLESS_THINKING },
        ..OPEN_SERVER
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
