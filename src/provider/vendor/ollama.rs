//! Ollama on this machine, in its own format.
//!
//! One elsewhere is `[providers.ollama] base_url = "http://host:11434"`; Ollama's cloud is
//! `base_url = "https://ollama.com"` with `api_key = "env:OLLAMA_API_KEY"`. `OLLAMA_HOST` is not
//! read: it is where a server shall listen (`0.0.0.0`, `:11434`), rarely where a client finds one.
//! The server cuts prompts over its context (4096 tokens by default) without a word: raise it there,
//! or with `options.num_ctx`.

use crate::job::Failure;
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::prefill::Thoughts;
use crate::provider::protocol::ollama;
use crate::provider::{Card, Decoder, Headers, ModelCall, Outbound, Prefill, Provider};

pub(super) struct Ollama;

static CARD: Card =
    Card { id: "ollama", base_url: "http://127.0.0.1:11434", docs: "https://docs.ollama.com/api/chat", ..Card::PLAIN };

impl Provider for Ollama {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        ollama::encode(model_call)
    }

    /// It takes images in base64 and nothing else.
    fn wants_files_inside(&self, _ask: ModelCall<'_>) -> bool {
        true
    }

    /// Most templates leave a last message of the assistant open.
    fn known_prefill(&self, model_call: ModelCall<'_>) -> Prefill {
        Prefill::Exact.only_if(Thoughts::of(&model_call.job.input) != Thoughts::Wanted)
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        ollama::decoder(model_call)
    }

    fn reads(&self, request: &PassthroughRequest<'_>) -> Option<Reading> {
        ollama::reads(request)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        ollama::classify(status, headers, body)
    }
}
