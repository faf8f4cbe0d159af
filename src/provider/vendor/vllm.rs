//! A vLLM server on this machine.

use super::openai_compatible::OPEN_SERVER;
use crate::provider::Card;
use crate::provider::protocol::openai_chat::{MessageRules, PrefillRules, Rules, Vendor};

/// Its template closes every message and opens a new answer, unless it is told.
const GOES_ON: &[(&str, &str)] = &[("continue_final_message", "true"), ("add_generation_prompt", "false")];

pub(super) static VLLM: Vendor = Vendor {
    card: &Card {
        id: "vllm",
        base_url: "http://127.0.0.1:8000/v1",
        docs: "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        ..Card::PLAIN
    },
    chat: &Rules {
        messages: MessageRules { keeps: &["reasoning_content"], ..MessageRules::PLAIN },
        prefill: PrefillRules { request: GOES_ON, ..PrefillRules::UNLESS_THINKING },
        ..OPEN_SERVER
    },
    embeddings: Some(&Rules::EMBEDDINGS),
};
