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
use crate::provider::{Ask, Auth, Card, Decoder, Headers, Outbound, Provider, Route, Setting, Upstream};

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

/// Claude's side of it.
const CLAUDE: Site = super::anthropic::site(CARD.id, Form::Api);

/// Versions that are no date: they name the newer address, `preview` with a parameter.
const UNDATED: &[(&str, &str)] = &[("v1", ""), ("preview", "?api-version=preview"), ("latest", "?api-version=latest")];

impl Provider for AzureOpenAi {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn encode(&self, ask: Ask<'_>) -> Result<Outbound, Failure> {
        if is_claude(ask) {
            return anthropic::encode_at(ask, CLAUDE, claude_address(ask));
        }
        let there = address(ask)?;
        let mut outbound = FORMAT.encode(ask)?;
        if let Route::Http { url, .. } = &mut outbound.route {
            *url = there;
        }
        Ok(outbound)
    }

    fn decoder(&self, ask: Ask<'_>) -> Box<dyn Decoder> {
        if is_claude(ask) { Box::new(MessagesDecoder::new(ask, CLAUDE)) } else { FORMAT.decoder(ask) }
    }

    fn resume(&self, ask: Ask<'_>, upstream: &Upstream) -> Option<Outbound> {
        responses_address(ask).map(|url| responses::resume(ask, &url, upstream))
    }

    fn fetch(&self, ask: Ask<'_>, upstream: &Upstream) -> Option<Outbound> {
        responses_address(ask).map(|url| responses::fetch(ask, &url, upstream))
    }

    fn cancel(&self, ask: Ask<'_>, upstream: &Upstream) -> Option<Outbound> {
        responses_address(ask).map(|url| responses::cancel(ask, &url, upstream))
    }

    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        FORMAT.classify(status, headers, body)
    }
}

fn is_claude(ask: Ask<'_>) -> bool {
    let asked = match ask.endpoint.setting("api") {
        Some(api) => api == "messages",
        None => ask.target.model.starts_with("claude"),
    };
    asked && ask.job.task == Task::Chat
}

/// The resource's own address: people give that, or the one of an API in it.
fn root<'a>(ask: Ask<'a>) -> &'a str {
    let base = ask.endpoint.base_url.trim_end_matches('/').trim_end_matches("/v1");
    base.trim_end_matches("/openai").trim_end_matches("/anthropic")
}

/// Claude is at the resource's other name only.
fn claude_address(ask: Ask<'_>) -> String {
    format!("{}/anthropic/v1/messages", root(ask).replace(".openai.azure.com", ".services.ai.azure.com"))
}

/// Address of the Responses endpoint, if the job goes there.
fn responses_address(ask: Ask<'_>) -> Option<Box<str>> {
    let is_wanted = !is_claude(ask) && FORMAT.responses_site(ask).is_some();
    address(ask).ok().filter(|_| is_wanted)
}

fn address(ask: Ask<'_>) -> Result<Box<str>, Failure> {
    let root = root(ask);
    let has_responses = FORMAT.responses_site(ask).is_some();
    let path = match ask.job.task {
        Task::Embedding => "embeddings",
        _ if has_responses => "responses",
        _ => "chat/completions",
    };
    let version = ask.endpoint.setting("api_version").unwrap_or("v1");
    if let Some((_, query)) = UNDATED.iter().find(|(name, _)| *name == version) {
        return Ok(format!("{root}/openai/v1/{path}{query}").into());
    }
    // The older address of Responses is the same for all deployments.
    if has_responses {
        return Ok(format!("{root}/openai/{path}?api-version={version}").into());
    }
    let deployment = &ask.target.model;
    if !deployment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Failure::invalid("model", "the name of a deployment has only letters, digits, `-`, `_` and `.`"));
    }
    Ok(format!("{root}/openai/deployments/{deployment}/{path}?api-version={version}").into())
}
