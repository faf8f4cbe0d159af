//! Servers that speak OpenAI's protocols: a kind for the configuration, with `api = "responses"` for
//! those who have Responses, and `prefill = "exact"` for those who go on from a last message of the
//! assistant.

use crate::provider::Card;
use crate::provider::protocol::openai_chat::{Rules, Vendor};
use crate::provider::protocol::responses;

static CARD: Card =
    Card { id: "openai-compatible", docs: "https://platform.openai.com/docs/api-reference", ..Card::PLAIN };

/// Rules of a server that an operator may run: it may have every endpoint.
pub(super) const OPEN_SERVER: Rules =
    Rules { responses: Some(&responses::Rules::OPEN_SERVER), has_rerank: true, ..Rules::PLAIN };

pub(super) static OPENAI_COMPATIBLE: Vendor =
    Vendor { card: &CARD, chat: &OPEN_SERVER, embeddings: Some(&Rules::PLAIN) };
