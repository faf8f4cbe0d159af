//! Azure OpenAI: OpenAI's formats at addresses of Azure's, where a model is the name of a deployment.
//!
//! With `api_version` the older address is used, which names the deployment and the version; without
//! one (or with `v1`, `preview`, `latest`) the newer one, `/openai/v1`, which has no version. Claude
//! is asked for by Messages: a deployment named `claude…`, or all of them with `api = "messages"`.

use crate::job::{Failure, Task};
use crate::provider::protocol::anthropic;
use crate::provider::protocol::anthropic::{Form, MessagesDecoder, Site};
use crate::provider::protocol::openai_chat::{Rules, Vendor};
use crate::provider::protocol::responses;
use crate::provider::{Auth, Card, Decoder, Headers, ModelCall, Outbound, Provider, Route, Setting, Upstream};

pub(super) struct AzureOpenAi;

static CARD: Card = Card {
    id: "azure-openai",
    base_url: "https://{resource}.openai.azure.com",
    base_url_variables: &["AZURE_OPENAI_ENDPOINT"],
    key_variables: &["AZURE_OPENAI_API_KEY"],
    auth: Auth::Header("api-key"),
    settings: &[
        Setting { name: "resource", variables: &["AZURE_RESOURCE_NAME"], default: "" },
        Setting { name: "api_version", variables: &["OPENAI_API_VERSION"], default: "" },
    ],
    docs: "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
    ..Card::PLAIN
};

/// Only Azure can read its encrypted reasoning.
const RESPONSES: responses::Rules =
    responses::Rules { reasoning_format: "azure-openai-responses-v1", ..responses::Rules::PLAIN };

static FORMAT: Vendor = Vendor {
    card: &CARD,
    chat: &Rules { responses: Some(&RESPONSES), ..super::openai::CHAT },
    embeddings: Some(&Rules::PLAIN),
};

/// The rules of the Claude models that Azure serves.
const CLAUDE: Site = super::anthropic::site(CARD.id, Form::Api);

/// Versions that are no date: they name the newer address, `preview` with a parameter.
const UNDATED: &[(&str, &str)] = &[("v1", ""), ("preview", "?api-version=preview"), ("latest", "?api-version=latest")];

impl Provider for AzureOpenAi {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
        if is_claude(model_call) {
            return anthropic::encode_at(model_call, CLAUDE, claude_address(model_call));
        }
        let there = address(model_call)?;
        let mut outbound = FORMAT.encode(model_call)?;
        if let Route::Http { url, .. } = &mut outbound.route {
            *url = there;
        }
        Ok(outbound)
    }

    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder> {
        if is_claude(model_call) {
            Box::new(MessagesDecoder::new(model_call, CLAUDE))
        } else {
            FORMAT.decoder(model_call)
        }
    }

    fn resume(&self, model_call: ModelCall<'_>, upstream: &Upstream) -> Option<Outbound> {
        responses_address(model_call).map(|url| responses::resume(model_call, &url, upstream))
    }

    fn fetch(&self, model_call: ModelCall<'_>, upstream: &Upstream) -> Option<Outbound> {
        responses_address(model_call).map(|url| responses::fetch(model_call, &url, upstream))
    }

    fn cancel(&self, model_call: ModelCall<'_>, upstream: &Upstream) -> Option<Outbound> {
        responses_address(model_call).map(|url| responses::cancel(model_call, &url, upstream))
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        FORMAT.classify(status, headers, body)
    }
}

fn is_claude(model_call: ModelCall<'_>) -> bool {
    let request = match model_call.endpoint.setting("api") {
        Some(api) => api == "messages",
        None => model_call.target.model.starts_with("claude"),
    };
    request && model_call.job.task == Task::Chat
}

/// The resource's own address: people give that, or the one of an API in it.
fn root<'a>(model_call: ModelCall<'a>) -> &'a str {
    let base = model_call.endpoint.base_url.trim_end_matches('/').trim_end_matches("/v1");
    base.trim_end_matches("/openai").trim_end_matches("/anthropic")
}

/// Claude is at the resource's other name only.
fn claude_address(model_call: ModelCall<'_>) -> String {
    format!("{}/anthropic/v1/messages", root(model_call).replace(".openai.azure.com", ".services.ai.azure.com"))
}

/// Address of the Responses endpoint, if the job goes there.
fn responses_address(model_call: ModelCall<'_>) -> Option<Box<str>> {
    let is_wanted = !is_claude(model_call) && FORMAT.responses_site(model_call).is_some();
    address(model_call).ok().filter(|_| is_wanted)
}

fn address(model_call: ModelCall<'_>) -> Result<Box<str>, Failure> {
    let root = root(model_call);
    let has_responses = FORMAT.responses_site(model_call).is_some();
    let path = match model_call.job.task {
        Task::Embedding => "embeddings",
        _ if has_responses => "responses",
        _ => "chat/completions",
    };
    let version = model_call.endpoint.setting("api_version").unwrap_or("v1");
    if let Some((_, query)) = UNDATED.iter().find(|(name, _)| *name == version) {
        return Ok(format!("{root}/openai/v1/{path}{query}").into());
    }
    // The older address of Responses is the same for all deployments.
    if has_responses {
        return Ok(format!("{root}/openai/{path}?api-version={version}").into());
    }
    let deployment = &model_call.target.model;
    if !deployment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Failure::invalid("model", "the name of a deployment has only letters, digits, `-`, `_` and `.`"));
    }
    Ok(format!("{root}/openai/deployments/{deployment}/{path}?api-version={version}").into())
}
