//! Anybody who speaks the OpenAI dialect: a kind for the configuration, with `api = "responses"` for
//! those who have Responses.

use crate::provider::Card;
use crate::provider::family::openai_chat::{Rules, Vendor};

static CARD: Card =
    Card { id: "openai-compatible", docs: "https://platform.openai.com/docs/api-reference", ..Card::PLAIN };

pub(super) static OPENAI_COMPATIBLE: Vendor =
    Vendor { card: &CARD, chat: &Rules::PLAIN, embeddings: Some(&Rules::PLAIN) };
