//! Gemini at the Developer API, with the key of AI Studio.

use crate::job::{Failure, Task};
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::protocol::gemini;
use crate::provider::{Auth, Card, Decoder, Headers, ModelCall, Outbound, Provider};

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
pub(super) fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let root = &model_call.endpoint.base_url;
    match model_call.job.task {
        Task::Embedding => gemini::embed(model_call, root),
        _ => gemini::encode(model_call, &gemini::Site { root, own: OWN }),
    }
}

impl Provider for GoogleAiStudio {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        encode(model_call)
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
