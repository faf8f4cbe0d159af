//! Anybody who speaks the OpenAI dialect: a kind for the configuration, with `api = "responses"` for
//! those who have Responses, and `prefill = "exact"` for those who go on from a last message of the
//! assistant.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Rules, Vendor};

static CARD: Card =
    Card { id: "openai-compatible", docs: "https://platform.openai.com/docs/api-reference", ..Card::PLAIN };

pub(super) static OPENAI_COMPATIBLE: Vendor =
    Vendor { card: &CARD, chat: &Rules::PLAIN, embeddings: Some(&Rules::PLAIN) };
