//! Gemini and Claude at Vertex AI, in a project and a region of Google Cloud.
//!
//! Models named `claude-…` speak Anthropic's protocol there, all others Google's.
//! Proves itself by a token (`credential/google.rs`), or by an API key or a bearer token that the
//! configuration gives. An API key without a project ("express mode") needs
//! `base_url = "https://aiplatform.googleapis.com/v1"`.

use std::borrow::Cow;

use serde::Deserialize;

use crate::job::{Failure, Task};
use crate::provider::passthrough::{PassthroughRequest, Reading};
use crate::provider::protocol::anthropic;
use crate::provider::protocol::anthropic::{Form, MessagesDecoder};
use crate::provider::protocol::gemini;
use crate::provider::{Auth, Card, Decoder, Headers, ModelCall, Outbound, Prefill, Provider, Setting};

pub(super) struct GoogleVertexAi;

static CARD: Card = Card {
    id: "google-vertex-ai",
    base_url: "https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}",
    auth: Auth::Google,
    settings: &[
        Setting {
            name: "region",
            variables: &["GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION", "CLOUD_ML_REGION"],
            default: "global",
        },
        Setting {
            name: "project",
            variables: &["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT_ID"],
            default: "",
        },
        Setting { name: "credentials", variables: &["GOOGLE_APPLICATION_CREDENTIALS"], default: "" },
    ],
    docs: "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
    ..Card::PLAIN
};

/// Regions whose host is not `{region}-aiplatform.googleapis.com`.
const HOSTS: &[(&str, &str)] = &[
    ("https://global-aiplatform.googleapis.com/", "https://aiplatform.googleapis.com/"),
    ("https://us-aiplatform.googleapis.com/", "https://aiplatform.us.rep.googleapis.com/"),
    ("https://eu-aiplatform.googleapis.com/", "https://aiplatform.eu.rep.googleapis.com/"),
];

/// The fields of the request that a job may use as they are.
const OWN: &[&str] = &[
    "safetySettings",
    "safety_settings",
    "cachedContent",
    "cached_content",
    "labels",
    "modelArmorConfig",
    "model_armor_config",
];

/// Site of Anthropic's models.
const CLAUDE: anthropic::Site = super::anthropic::site(CARD.id, Form::Vertex);

/// Whether a model is one of Anthropic's.
fn is_claude(model: &str) -> bool {
    model.starts_with("claude-")
}

/// The address of a project and region, with the host that the region really has.
fn address(base_url: &str) -> Cow<'_, str> {
    match HOSTS.iter().find_map(|(usual, host)| Some((host, base_url.strip_prefix(usual)?))) {
        Some((host, path)) => format!("{host}{path}").into(),
        None => base_url.into(),
    }
}

/// The address of the publisher of a model. One that was tuned or deployed by the project itself
/// (`endpoints/123`) has none.
fn root(model_call: ModelCall<'_>, publisher: &str) -> String {
    let address = address(&model_call.endpoint.base_url);
    if model_call.target.model.starts_with("endpoints/") {
        return address.into_owned();
    }
    format!("{address}/publishers/{publisher}")
}

/// Anthropic's errors say at the top that they are.
#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

impl Provider for GoogleVertexAi {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        if is_claude(&model_call.target.model) {
            let url = format!(
                "{}/{}:streamRawPredict",
                root(model_call, "anthropic"),
                gemini::path(&model_call.target.model)?
            );
            return anthropic::encode_at(model_call, CLAUDE, url);
        }
        let root = root(model_call, "google");
        match model_call.job.task {
            Task::Embedding => gemini::predict(model_call, &root),
            _ => gemini::encode(model_call, &gemini::Site { root: &root, own: OWN }),
        }
    }

    fn wants_files_inside(&self, model_call: ModelCall<'_>) -> bool {
        // Claude fetches nothing there.
        is_claude(&model_call.target.model) || gemini::wants_files_inside(model_call)
    }

    fn known_prefill(&self, model_call: ModelCall<'_>) -> Prefill {
        if is_claude(&model_call.target.model) { anthropic::prefill(model_call, CLAUDE) } else { Prefill::No }
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        if is_claude(&model_call.target.model) {
            return Box::new(MessagesDecoder::new(model_call, CLAUDE));
        }
        gemini::decoder(model_call)
    }

    fn reads(&self, request: &PassthroughRequest<'_>) -> Option<Reading> {
        gemini::reads(request)
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        // Who answers is told by the shape: Google's gate in front of Claude speaks as Google.
        let is_anthropics = serde_json::from_slice::<Typed>(body).is_ok_and(|body| body.kind == "error");
        if is_anthropics {
            return anthropic::classify(status, headers, body);
        }
        gemini::classify(status, headers, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_its_host() {
        for (region, host) in [
            ("global", "aiplatform.googleapis.com"),
            ("us-central1", "us-central1-aiplatform.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
        ] {
            let usual = format!("https://{region}-aiplatform.googleapis.com/v1/projects/p/locations/{region}");
            assert_eq!(address(&usual), format!("https://{host}/v1/projects/p/locations/{region}"));
        }
        assert_eq!(address("http://127.0.0.1:9/v1"), "http://127.0.0.1:9/v1");
    }
}
