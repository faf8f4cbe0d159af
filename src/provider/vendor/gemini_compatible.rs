//! Anybody who speaks Google's `generateContent`: a kind for the configuration.
//!
//! Its base URL is what stands before `/models/…`.

use super::google_ai_studio;
use crate::job::Failure;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::protocol::gemini;
use crate::provider::{Ask, Auth, Card, Decoder, Headers, Outbound, Provider};

pub(super) struct GeminiCompatible;

static CARD: Card = Card {
    id: "gemini-compatible",
    auth: Auth::Header("x-goog-api-key"),
    docs: "https://ai.google.dev/api/generate-content",
    ..Card::PLAIN
};

impl Provider for GeminiCompatible {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        google_ai_studio::encode(ask)
    }

    fn wants_files_inside(&self, ask: Ask<'_>) -> bool {
        gemini::wants_files_inside(ask)
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        gemini::decoder(ask)
    }

    fn reads(&self, asked: &PassthroughRequest<'_>) -> Option<Reading> {
        gemini::reads(asked)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        gemini::classify(status, headers, body)
    }
}
