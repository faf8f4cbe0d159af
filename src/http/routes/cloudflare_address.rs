//! Cloudflare's addresses, as other names of our own routes. Pure.
//!
//! Owns which row of the table an address of AI Gateway or Workers AI leads to, by their documentation of
//! October 2026. The account in the path may be any text; the gateway is ours.

use super::cloudflare::{AI_RUN, AI_RUN_MODEL, PASSTHROUGH};
use super::spec;
use super::spec::{Matched, RouteSpec, Routes};
use crate::http::cloudflare_names::Via;
use crate::http::context::Params;
use crate::http::errors::Dialect;

/// First segments of our own paths below `/v1/`: never an account.
const OWN: [&str; 17] = [
    "run",
    "chat",
    "completions",
    "responses",
    "messages",
    "embeddings",
    "images",
    "audio",
    "files",
    "batches",
    "models",
    "providers",
    "jobs",
    "costs",
    "stream",
    "ws",
    "g",
];
/// Beginnings of a provider's own path before one of ours without `/v1/`.
const PREFIXES: [&str; 7] =
    ["", "v1/", "api/v1/", "openai/v1/", "inference/v1/", "v1beta/openai/", "compatible-mode/v1/"];

/// The route that one of Cloudflare's addresses names; `own` are the routes with paths of our own.
pub(super) fn find(path: &str, own: Routes) -> Option<Matched<'_>> {
    let account = path.strip_prefix("/client/v4").unwrap_or(path).strip_prefix("/accounts/");
    if let Some(rest) = account {
        return of_account(rest, own);
    }
    let (account, rest) = path.strip_prefix("/v1/")?.split_once('/')?;
    let (gateway, rest) = rest.split_once('/')?;
    if account.is_empty() || gateway.is_empty() || OWN.contains(&account) {
        return None;
    }
    let matched = |(route, params), provider| {
        Some(Matched { route, params, gateway: Some(gateway), via: Via::Cloudflare { provider } })
    };
    if let Some(rest) = rest.strip_prefix("compat/") {
        return matched(in_dialect(rest.strip_prefix("v1/").unwrap_or(rest), own)?, None);
    }
    let (provider, native) = rest.split_once('/')?;
    if provider.is_empty() || native.is_empty() {
        return None;
    }
    let mut known = PREFIXES.iter().filter_map(|prefix| in_dialect(native.strip_prefix(prefix)?, own));
    // A list of models is the provider's own.
    if let Some(found) = known.find(|(route, _)| !route.pattern.starts_with("/v1/models")) {
        return matched(found, Some(provider));
    }
    let is_run = provider == "workers-ai" && native.starts_with('@');
    matched(if is_run { (&AI_RUN_MODEL, [native, ""]) } else { (&PASSTHROUGH, [provider, native]) }, None)
}

/// The route that `{account}/ai/…` names; a header names the gateway.
fn of_account<'a>(rest: &'a str, own: Routes) -> Option<Matched<'a>> {
    let (account, rest) = rest.split_once("/ai/")?;
    if account.is_empty() || account.contains('/') {
        return None;
    }
    let (route, params) = match rest.strip_prefix("v1/") {
        Some(rest) => in_dialect(rest, own)?,
        None if rest == "run" => (&AI_RUN, Params::default()),
        None => (&AI_RUN_MODEL, [rest.strip_prefix("run/").filter(|model| !model.is_empty())?, ""]),
    };
    Some(Matched { route, params, gateway: None, via: Via::Cloudflare { provider: None } })
}

/// The route below `/v1/` that `rest` names, if its clients use the API of OpenAI or Anthropic.
fn in_dialect(rest: &str, own: Routes) -> Option<(&'static RouteSpec, Params<'_>)> {
    let is_foreign = |dialect| matches!(dialect, Dialect::OpenAi | Dialect::Responses | Dialect::Anthropic);
    spec::find(own, "/v1/", rest).filter(|(route, _)| is_foreign(route.dialect))
}
