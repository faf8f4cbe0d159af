//! Cloudflare's names of providers and models, and what they are called here. Pure.

use crate::job::{Failure, ModelName};

/// Whether the path of a request is ours or Cloudflare's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Via<'a> {
    /// One of our own paths.
    #[default]
    Own,
    /// One of Cloudflare's addresses; with the provider, if the address names one.
    Cloudflare { provider: Option<&'a str> },
}

/// Our name of the provider that Cloudflare calls `slug`; a provider that is on under that very name wins.
pub(super) fn provider_of(slug: &str, is_on: impl Fn(&str) -> bool) -> &str {
    match slug {
        _ if is_on(slug) => slug,
        "google" => "google-ai-studio",
        "grok" => "xai",
        "google-vertex" => "google-vertex-ai",
        "bedrock" => "aws-bedrock",
        "azure" => "azure-openai",
        "perplexity-ai" => "perplexity",
        _ => slug.strip_prefix("custom-").unwrap_or(slug),
    }
}

/// Our name of a model that came by `via`. `is_alias` and `is_on` know the configuration.
///
/// # Errors
/// `invalid`, naming `model`, when it gets too long.
pub(super) fn model_of(
    model: ModelName,
    via: Via<'_>,
    is_alias: impl Fn(&str) -> bool,
    is_on: impl Fn(&str) -> bool,
) -> Result<ModelName, Failure> {
    let Via::Cloudflare { provider } = via else { return Ok(model) };
    if let Some(provider) = provider {
        return format!("{}/{model}", provider_of(provider, is_on)).parse();
    }
    if is_alias(model.as_str()) || model.as_str().starts_with('@') {
        return Ok(model);
    }
    match model.as_str().split_once('/') {
        // Their named routes are our aliases.
        Some(("dynamic", alias)) => alias.parse(),
        Some((slug, id)) => format!("{}/{id}", provider_of(slug, is_on)).parse(),
        None => Ok(model),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_theirs_is_one_of_ours() {
        let is_on = |name: &str| matches!(name, "xai" | "bedrock" | "openai");
        let is_alias = |name: &str| matches!(name, "smart" | "google/house");
        for (provider, model, expected) in [
            (None, "openai/gpt-5", "openai/gpt-5"),
            (None, "grok/grok-4", "xai/grok-4"),
            (None, "google/gemini-3-flash", "google-ai-studio/gemini-3-flash"),
            (None, "google/house", "google/house"),
            (None, "bedrock/x", "bedrock/x"),
            (None, "azure/x", "azure-openai/x"),
            (None, "custom-mine/a/b", "mine/a/b"),
            (None, "dynamic/smart", "smart"),
            (None, "@cf/meta/llama", "@cf/meta/llama"),
            (None, "workers-ai/@cf/meta/llama", "workers-ai/@cf/meta/llama"),
            (None, "smart", "smart"),
            (Some("openai"), "gpt-5", "openai/gpt-5"),
            (Some("grok"), "grok-4", "xai/grok-4"),
            (Some("openrouter"), "anthropic/claude", "openrouter/anthropic/claude"),
        ] {
            let named = model_of(model.parse().unwrap(), Via::Cloudflare { provider }, is_alias, is_on).unwrap();
            assert_eq!(named.as_str(), expected, "{provider:?} {model}");
        }
        let own = model_of("grok/x".parse().unwrap(), Via::Own, is_alias, is_on).unwrap();
        assert_eq!(own.as_str(), "grok/x");
    }
}
