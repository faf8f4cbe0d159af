//! The providers that are on, by name.
//!
//! Owns what the configuration and the environment make of the vendors. Promises that every entry
//! can be asked, and that what is wrong with another is told once, by field, without its secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::egress::{AUTHORIZATION, HeaderName, HeaderValue};

use super::script::Script;
use super::vendor;
use super::{Auth, Card, Credential, Endpoint, Headers, Provider};
use crate::config::{Config, ProviderConfig, Secret};

/// Reads a variable of the environment.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A provider that is on.
#[derive(Clone)]
pub struct Entry {
    /// Adapter of its kind.
    pub provider: &'static dyn Provider,
    /// Address and credential of the provider.
    pub endpoint: Arc<Endpoint>,
}

/// The providers that are on.
pub struct Registry {
    entries: BTreeMap<Box<str>, Entry>,
}

impl Registry {
    /// The providers that are on, and what is wrong with the others, naming `providers.NAME.field`.
    /// A vendor with a well-known key variable is on when that is set; one that needs no key is
    /// always on; `[providers.NAME]` adjusts the vendor of that name or, with `kind`, adds one.
    pub fn build(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> (Registry, Vec<String>) {
        let mut entries = BTreeMap::new();
        let mut problems = Vec::new();
        let unset = ProviderConfig::default();
        for provider in vendor::ALL {
            let card = provider.card();
            let mut settings = settings(card, &unset, env);
            let is_at_hand = match Credential::find(card.auth, &mut settings, env) {
                Ok(Some(credential)) => credential.is_at_hand(),
                Ok(None) => card.key_variables.is_empty(),
                Err(_) => false,
            };
            let is_known = is_at_hand || first_set(card.key_variables, env).is_some();
            let is_placed = first_set(card.base_url_variables, env).is_some()
                || placeholders(card.base_url).into_iter().all(|name| settings.contains_key(name));
            let is_on = !card.base_url.is_empty() && is_known && is_placed;
            if is_on && !config.providers.contains_key(card.id) {
                let endpoint = endpoint(card.id, card, &unset, env, &mut problems);
                entries.extend(endpoint.map(|endpoint| (card.id.into(), Entry { provider: *provider, endpoint })));
            }
        }
        for (name, raw) in &config.providers {
            if name.is_empty() || name.contains('/') {
                problems.push(format!("providers.{name:?}: a provider's name must not be empty or hold a slash"));
                continue;
            }
            let wanted = raw.kind.as_deref().unwrap_or(name);
            let Some(provider) = vendor::ALL.iter().find(|provider| provider.card().id == wanted) else {
                let kinds: Vec<_> = vendor::ALL.iter().map(|provider| provider.card().id).collect();
                problems.push(format!("providers.{name}.kind: `{wanted}` is none of {}", kinds.join(", ")));
                continue;
            };
            let endpoint = endpoint(name, provider.card(), raw, env, &mut problems);
            entries.extend(endpoint.map(|endpoint| (name.clone(), Entry { provider: *provider, endpoint })));
        }
        (Registry { entries }, problems)
    }

    /// The provider of that name, if it is on.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The names of those that are on, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|name| &**name)
    }
}

/// A provider resolved, or nothing and a problem for each wrong field.
fn endpoint(
    name: &str,
    card: &'static Card,
    raw: &ProviderConfig,
    env: Env<'_>,
    problems: &mut Vec<String>,
) -> Option<Arc<Endpoint>> {
    let mut wrong = Vec::new();
    let mut settings = settings(card, raw, env);
    let found = Credential::find(card.auth, &mut settings, env);
    let base_url = base_url(card, raw, &settings, env).unwrap_or_else(|problem| {
        wrong.push(problem);
        "".into()
    });
    let headers = headers(card, raw, env, &mut wrong);
    // A key or a header that is configured stands before what is found.
    let wants_credential = raw.api_key.is_none() && !headers.contains_key(AUTHORIZATION);
    let credential = found.map(|found| found.filter(|_| wants_credential)).unwrap_or_else(|problem| {
        if wants_credential && wrong.is_empty() {
            wrong.push(problem);
        }
        None
    });
    let script = script(card, raw).unwrap_or_else(|problem| {
        wrong.push(problem);
        None
    });
    let credential = credential.unwrap_or_default();
    let is_right = wrong.is_empty();
    problems.extend(wrong.into_iter().map(|problem| format!("providers.{name}.{problem}")));
    is_right.then(|| Arc::new(Endpoint { name: name.into(), base_url, headers, credential, settings, script }))
}

/// The first of these variables that is set to something.
fn first_set(variables: &[&str], env: Env<'_>) -> Option<String> {
    variables.iter().find_map(|name| env(name).filter(|value| !value.is_empty()))
}

/// Returns the names between braces.
fn placeholders(template: &str) -> Vec<&str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

/// Returns a setting: what the configuration says, else its variables, else its default.
fn setting(card: &Card, raw: &ProviderConfig, name: &str, env: Env<'_>) -> Option<Box<str>> {
    if let Some((_, value)) = raw.settings().find(|(known, _)| *known == name) {
        return Some(value.into());
    }
    let known = card.settings.iter().find(|setting| setting.name == name)?;
    let default = || (!known.default.is_empty()).then(|| known.default.into());
    first_set(known.variables, env).map(Into::into).or_else(default)
}

fn settings(card: &Card, raw: &ProviderConfig, env: Env<'_>) -> BTreeMap<Box<str>, Box<str>> {
    let names = card.settings.iter().map(|setting| setting.name).chain(raw.settings().map(|(name, _)| name));
    names.filter_map(|name| Some((name.into(), setting(card, raw, name, env)?))).collect()
}

fn base_url(
    card: &Card,
    raw: &ProviderConfig,
    settings: &BTreeMap<Box<str>, Box<str>>,
    env: Env<'_>,
) -> Result<Box<str>, String> {
    let of_variable = first_set(card.base_url_variables, env);
    let Some(text) = raw.base_url.as_deref().or(of_variable.as_deref()) else {
        if card.base_url.is_empty() {
            return Err(format!("base_url: must be given for kind `{}`", card.id));
        }
        let mut url = card.base_url.to_owned();
        for name in placeholders(card.base_url) {
            let value = settings.get(name).ok_or_else(|| format!("{name}: must be given, or base_url"))?;
            let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !is_plain {
                return Err(format!("{name}: must consist of letters, digits, `-`, `_` and `.`"));
            }
            url = url.replace(&format!("{{{name}}}"), value);
        }
        return Ok(url.into());
    };
    let url = crate::egress::Url::parse(text).map_err(|error| format!("base_url: {error}"))?;
    let is_plain = url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !is_plain {
        return Err(
            "base_url: must be an http or https address without query, for example http://127.0.0.1:8080/v1".into()
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("base_url: must not hold a password; use api_key or headers".into());
    }
    Ok(text.trim_end_matches('/').into())
}

fn headers(card: &Card, raw: &ProviderConfig, env: Env<'_>, wrong: &mut Vec<String>) -> Headers {
    let mut headers = Headers::new();
    let key = match &raw.api_key {
        Some(secret) => resolve(secret, env).map(Some),
        // A profile that is named counts before a key that happens to be set.
        None if card.auth == Auth::Aws && raw.profile.is_some() => Ok(None),
        None => Ok(first_set(card.key_variables, env)),
    };
    match key {
        Ok(Some(key)) => match auth(card, key.trim()) {
            Some((name, value)) => drop(headers.insert(name, value)),
            None => wrong.push("api_key: cannot be sent in a header".into()),
        },
        Ok(None) if card.auth == Auth::Aws => {}
        // Another server that speaks a vendor's format may need no key.
        Ok(None) if card.key_variables.is_empty() || raw.base_url.is_some() || !raw.headers.is_empty() => {}
        Ok(None) => wrong.push(format!("api_key: is missing; or set {}", card.key_variables.join(" or "))),
        Err(problem) => wrong.push(format!("api_key: {problem}")),
    }
    for (name, secret) in &raw.headers {
        let value = resolve(secret, env).and_then(|value| {
            let mut value = HeaderValue::from_str(&value).map_err(|_| "is not a header value".to_owned())?;
            value.set_sensitive(true);
            Ok(value)
        });
        match (HeaderName::from_bytes(name.as_bytes()), value) {
            (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
            (Err(_), _) => wrong.push(format!("headers.{name}: is not a header name")),
            (_, Err(problem)) => wrong.push(format!("headers.{name}: {problem}")),
        }
    }
    headers
}

fn auth(card: &Card, key: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, text) = match card.auth {
        Auth::Header(name) => (HeaderName::from_static(name), key.to_owned()),
        // A token that was fetched begins like this; anything else is an API key.
        Auth::Google if !key.starts_with("ya29.") => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
        Auth::Bearer | Auth::None | Auth::Google | Auth::Aws => (AUTHORIZATION, format!("Bearer {key}")),
    };
    let mut value = HeaderValue::from_str(&text).ok().filter(|_| !key.is_empty())?;
    value.set_sensitive(true);
    Some((name, value))
}

fn resolve(secret: &Secret, env: Env<'_>) -> Result<String, String> {
    match secret.0.strip_prefix("env:") {
        Some(name) => env(name).ok_or_else(|| format!("the environment variable {name} is not set")),
        None => secret.resolve(),
    }
}

fn script(card: &Card, raw: &ProviderConfig) -> Result<Option<Script>, String> {
    let Some(path) = &raw.script else { return Ok(None) };
    if !card.plays_scripts {
        return Err("script: only the kind `scripted` plays one".into());
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("script: {}: {error}", path.display()))?;
    let script = Script::parse(&text, "script").map_err(|failure| failure.message.to_string())?;
    Ok(Some(script))
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
