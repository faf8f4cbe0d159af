//! Servers that speak Google's `generateContent`: a kind for the configuration.
//!
//! Its base URL is what stands before `/models/…`.

use super::google_ai_studio;
use crate::job::Failure;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::protocol::gemini;
use crate::provider::{Auth, Card, Decoder, Headers, ModelCall, Outbound, Provider};

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

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        google_ai_studio::encode(model_call)
    }

    fn wants_files_inside(&self, model_call: ModelCall<'_>) -> bool {
        gemini::wants_files_inside(model_call)
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        gemini::decoder(model_call)
    }

    fn reads(&self, request: &PassthroughRequest<'_>) -> Option<Reading> {
        gemini::reads(request)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        gemini::classify(status, headers, body)
    }
}
