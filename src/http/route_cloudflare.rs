//! Cloudflare's addresses, as other names of our own doors. Pure.
//!
//! Owns what their paths and their names of providers and models mean here. The account in the path
//! is whatever the client has; the gateway is ours. Their shapes are those of the documentation of AI
//! Gateway and Workers AI, as of October 2026.

use super::cloudflare_names::Via;
use super::route::{Place, Route, versioned};

/// First words of our own paths: never an account.
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
/// What may stand before the door in a provider's own path.
const BEFORE_DOORS: [&str; 7] =
    ["", "v1/", "api/v1/", "openai/v1/", "inference/v1/", "v1beta/openai/", "compatible-mode/v1/"];

/// The place that one of Cloudflare's addresses names.
pub(super) fn of(path: &str) -> Option<Place<'_>> {
    let account = path.strip_prefix("/client/v4").unwrap_or(path).strip_prefix("/accounts/");
    if let Some(rest) = account {
        return of_account(rest);
    }
    let (account, rest) = path.strip_prefix("/v1/")?.split_once('/')?;
    let (gateway, rest) = rest.split_once('/')?;
    if account.is_empty() || gateway.is_empty() || OWN.contains(&account) {
        return None;
    }
    let place = |route, provider| Place { gateway: Some(gateway), route, via: Via::Cloudflare { provider } };
    if let Some(rest) = rest.strip_prefix("compat/") {
        return Some(place(versioned(rest.strip_prefix("v1/").unwrap_or(rest)).filter(is_door)?, None));
    }
    let (provider, native) = rest.split_once('/')?;
    if provider.is_empty() || native.is_empty() {
        return None;
    }
    let mut doors = BEFORE_DOORS.iter().filter_map(|before| versioned(native.strip_prefix(before)?));
    if let Some(door) = doors.find(|door| is_door(door) && !matches!(door, Route::Models | Route::Model(_))) {
        return Some(place(door, Some(provider)));
    }
    let is_run = provider == "workers-ai" && native.starts_with('@');
    let route = if is_run { Route::AiRun(Some(native)) } else { Route::PassedOn { provider, path: native } };
    Some(place(route, None))
}

/// `{account}/ai/…`, where a header names the gateway.
fn of_account(rest: &str) -> Option<Place<'_>> {
    let (account, rest) = rest.split_once("/ai/")?;
    if account.is_empty() || account.contains('/') {
        return None;
    }
    let route = match rest.strip_prefix("v1/") {
        Some(door) => versioned(door).filter(is_door)?,
        None if rest == "run" => Route::AiRun(None),
        None => Route::AiRun(Some(rest.strip_prefix("run/").filter(|model| !model.is_empty())?)),
    };
    Some(Place { gateway: None, route, via: Via::Cloudflare { provider: None } })
}

/// Whether it is one of those that speak another's dialect.
fn is_door(route: &Route<'_>) -> bool {
    route.dialect().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_theirs_names_a_door_of_ours() {
        let chat = Route::ChatCompletions;
        for (path, gateway, route, provider) in [
            ("/v1/acc/gw/compat/chat/completions", Some("gw"), Some(chat), None),
            ("/v1/acc/gw/compat/v1/chat/completions", Some("gw"), Some(chat), None),
            ("/v1/acc/gw/compat/embeddings", Some("gw"), Some(Route::Embeddings), None),
            ("/v1/acc/gw/compat/jobs", None, None, None),
            ("/v1/acc/gw/openai/chat/completions", Some("gw"), Some(chat), Some("openai")),
            ("/v1/acc/gw/openai/v1/embeddings", Some("gw"), Some(Route::Embeddings), Some("openai")),
            ("/v1/acc/gw/openrouter/api/v1/chat/completions", Some("gw"), Some(chat), Some("openrouter")),
            (
                "/v1/acc/gw/google-ai-studio/v1beta/openai/chat/completions",
                Some("gw"),
                Some(chat),
                Some("google-ai-studio"),
            ),
            (
                "/v1/acc/gw/openai/v1/models",
                Some("gw"),
                Some(Route::PassedOn { provider: "openai", path: "v1/models" }),
                None,
            ),
            (
                "/v1/acc/gw/google-ai-studio/v1beta/models/gemini:generateContent",
                Some("gw"),
                Some(Route::PassedOn { provider: "google-ai-studio", path: "v1beta/models/gemini:generateContent" }),
                None,
            ),
            ("/v1/acc/gw/workers-ai/@cf/meta/llama", Some("gw"), Some(Route::AiRun(Some("@cf/meta/llama"))), None),
            ("/v1/acc/gw/workers-ai/v1/chat/completions", Some("gw"), Some(chat), Some("workers-ai")),
            ("/v1/acc/gw/anthropic/v1/messages", Some("gw"), Some(Route::Messages), Some("anthropic")),
            ("/v1/acc/gw/anthropic/v1/messages/count_tokens", Some("gw"), Some(Route::CountTokens), Some("anthropic")),
            ("/accounts/acc/ai/v1/messages", None, Some(Route::Messages), None),
            ("/v1/acc/gw/openai", None, None, None),
            ("/v1/acc/gw/openai/", None, None, None),
            ("/v1/acc/gw", None, None, None),
            ("/v1/jobs/a/nope/b", None, None, None),
            ("/v1/chat/a/b/c", None, None, None),
            ("/v1//gw/openai/x", None, None, None),
            ("/accounts/acc/ai/run", None, Some(Route::AiRun(None)), None),
            ("/client/v4/accounts/acc/ai/run/@cf/meta/llama", None, Some(Route::AiRun(Some("@cf/meta/llama"))), None),
            ("/accounts/acc/ai/run/openai/gpt-5", None, Some(Route::AiRun(Some("openai/gpt-5"))), None),
            ("/client/v4/accounts/acc/ai/v1/chat/completions", None, Some(chat), None),
            ("/accounts/acc/ai/v1/embeddings", None, Some(Route::Embeddings), None),
            ("/accounts/acc/ai/v1/jobs", None, None, None),
            ("/accounts/acc/ai/run/", None, None, None),
            ("/accounts/a/b/ai/run", None, None, None),
            ("/client/v4/v1/acc/gw/openai/x", None, None, None),
        ] {
            let expected = route.map(|route| Place { gateway, route, via: Via::Cloudflare { provider } });
            assert_eq!(of(path), expected, "{path}");
        }
    }
}
