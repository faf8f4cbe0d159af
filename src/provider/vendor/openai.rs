//! OpenAI itself: chat completions with next to nothing to translate, Responses where they are asked
//! for or needed, and embeddings.

use crate::provider::Card;
use crate::provider::protocol::openai;
use crate::provider::protocol::openai_chat::{Rules, Vendor};

static CARD: Card = Card {
    id: "openai",
    base_url: "https://api.openai.com/v1",
    base_url_variables: &["OPENAI_BASE_URL"],
    key_variables: &["OPENAI_API_KEY"],
    docs: "https://platform.openai.com/docs/api-reference",
    ..Card::PLAIN
};

pub(super) static OPENAI: Vendor = Vendor { card: &CARD, chat: &openai::CHAT, embeddings: Some(&Rules::PLAIN) };
