//! Gemini at the Developer API, with the key of AI Studio.

use crate::job::{Failure, Task};
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::protocol::gemini;
use crate::provider::{Ask, Auth, Card, Decoder, Headers, Outbound, Provider};

pub(super) struct GoogleAiStudio;

static CARD: Card = Card {
    id: "google-ai-studio",
    base_url: "https://generativelanguage.googleapis.com/v1beta",
    key_variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    // As `?key=` it would stand in logs.
    auth: Auth::Header("x-goog-api-key"),
    docs: "https://ai.google.dev/api/generate-content",
    ..Card::PLAIN
};

/// The fields of the request that a job may use as they are.
const OWN: &[&str] =
    &["safetySettings", "safety_settings", "cachedContent", "cached_content", "serviceTier", "service_tier"];

/// The request of the Developer API.
pub(super) fn encode(ask: Ask<'_>) -> Result<Outbound, Failure> {
    let root = &ask.endpoint.base_url;
    match ask.job.task {
        Task::Embedding => gemini::embed(ask, root),
        _ => gemini::encode(ask, &gemini::Site { root, own: OWN }),
    }
}

impl Provider for GoogleAiStudio {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        encode(ask)
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
