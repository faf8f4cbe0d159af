//! A request that goes to a provider as its client wrote it: where to, and with which headers. Pure.
//!
//! Promises that it goes to the provider's own host and nowhere else, that only headers which
//! providers read go there and only headers which their clients read come back, and that our key and
//! a client's own are never sent together.

use crate::egress::HeaderName;
use crate::egress::Url;
use bytes::Bytes;
use serde::Deserialize;

use super::vendor;
use super::{Credential, Framing, Headers, Method, Outbound, Route, registry::Registry};
use crate::job::{Code, Failure, Task};

/// A request that a client wrote in a provider's own format.
#[derive(Debug)]
pub struct PassthroughRequest<'a> {
    /// Name of the provider in the configuration.
    pub provider: &'a str,
    /// HTTP method of the request.
    pub method: Method,
    /// The path after the provider, without a slash in front.
    pub path: &'a str,
    /// Query of the address, without the `?`.
    pub query: Option<&'a str>,
    /// The client's headers, all of them.
    pub headers: &'a Headers,
    /// Body of the request.
    pub body: Bytes,
    /// Whether a key in the usual headers is the provider's rather than ours.
    pub has_own_key: bool,
}

impl PassthroughRequest<'_> {
    /// Whether the client brings a key of the provider's own.
    #[must_use]
    pub fn brings_key(&self) -> bool {
        PROVIDER_KEYS.iter().any(|name| self.headers.contains_key(*name))
            || self.has_own_key && SHARED_KEYS.iter().any(|name| self.headers.contains_key(*name))
    }

    /// The model that the body names.
    #[must_use]
    pub fn model_of_body(&self) -> Option<Box<str>> {
        #[derive(Deserialize)]
        struct Named {
            model: Box<str>,
        }
        serde_json::from_slice::<Named>(&self.body).ok().map(|named| named.model)
    }
}

/// What is known of a request whose answer a decoder can read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The provider's own id of the model.
    pub model: Box<str>,
    /// Task that the model gets.
    pub task: Task,
    /// How the reply is cut into packets.
    pub framing: Framing,
}

/// Headers in which a provider's key may come and our own too.
const SHARED_KEYS: [&str; 3] = ["authorization", "x-api-key", "api-key"];
/// Headers in which only a provider's key comes.
const PROVIDER_KEYS: [&str; 2] = ["x-goog-api-key", "xi-api-key"];
const ASKED: [&str; 11] = [
    "accept",
    "accept-language",
    "content-type",
    "content-language",
    "http-referer",
    "idempotency-key",
    "prefer",
    "range",
    "x-title",
    "x-session-affinity",
    "x-wait-for-model",
];
const ASKED_PREFIXES: [&str; 4] = ["anthropic-", "openai-", "x-goog-", "x-stainless-"];
const ANSWERED: [&str; 13] = [
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
];
const ANSWERED_PREFIXES: [&str; 5] = ["anthropic-", "openai-", "x-goog-", "x-ratelimit-", "ratelimit-"];

/// The request, with our key unless the client brings one.
///
/// # Errors
/// `unknown_model` when no provider has that name; `invalid` for a path that leads elsewhere;
/// `unsupported` for a provider that is not asked over HTTP.
pub fn outbound(request: PassthroughRequest<'_>, registry: &Registry) -> Result<Outbound, Failure> {
    let has_own_key = request.brings_key();
    let (base_url, mut headers, credential) = match registry.get(request.provider) {
        Some(entry) if has_own_key => (&*entry.endpoint.base_url, Headers::new(), Credential::InHeaders),
        Some(entry) => (&*entry.endpoint.base_url, entry.endpoint.headers.clone(), entry.endpoint.credential.clone()),
        // Who brings a key needs none of ours.
        None => {
            let cards = vendor::ALL.iter().map(|vendor| vendor.card());
            let mut known =
                cards.filter(|card| has_own_key && card.id == request.provider && !card.base_url.contains('{'));
            let card = known.next().ok_or_else(|| unknown(request.provider))?;
            (card.base_url, Headers::new(), Credential::InHeaders)
        }
    };
    let url = address(base_url, request.path, request.query)?;
    for (name, value) in request.headers {
        let name_text = name.as_str();
        let is_key = PROVIDER_KEYS.contains(&name_text) || SHARED_KEYS.contains(&name_text);
        let is_read = ASKED.contains(&name_text) || ASKED_PREFIXES.iter().any(|prefix| name_text.starts_with(prefix));
        let goes = if is_key { has_own_key && is_the_clients(request.has_own_key, name) } else { is_read };
        if goes {
            headers.insert(name, value.clone());
        }
    }
    let route = Route::Http { method: request.method, url: url.as_str().into(), headers, credential };
    Ok(Outbound { route, body: request.body, framing: Framing::Whole, dropped: Vec::new() })
}

fn is_the_clients(shared: bool, name: &HeaderName) -> bool {
    shared || PROVIDER_KEYS.contains(&name.as_str())
}

fn unknown(provider: &str) -> Failure {
    let cut = &provider[..provider.floor_char_boundary(64)];
    Failure::new(Code::UnknownModel, format!("no provider `{cut}` is configured")).with_param("provider")
}

/// Returns the headers of a provider's answer that its clients read.
#[must_use]
pub fn answered(headers: &Headers) -> Headers {
    let is_read =
        |name: &str| ANSWERED.contains(&name) || ANSWERED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let read = headers.iter().filter(|(name, _)| is_read(name.as_str()));
    read.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The address of `path` at the provider. Clients write the whole path of the provider, or what
/// stands after the base that is configured; a version takes the place of the base's own.
fn address(base_url: &str, path: &str, query: Option<&str>) -> Result<Url, Failure> {
    let elsewhere = || Failure::invalid("path", "must stay below the provider's own address");
    let base = Url::parse(base_url).ok().filter(|base| matches!(base.scheme(), "http" | "https"));
    let base = base.ok_or_else(|| Failure::unsupported("provider", "is not asked over HTTP"))?;
    // As a server that decodes it once reads it.
    let read = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    let climbs = read.split('/').any(|segment| matches!(segment, "." | ".."));
    if climbs || path.contains(['\\', '#', '?']) || path.starts_with('/') {
        return Err(elsewhere());
    }
    let root = base.path().trim_matches('/');
    let (before, last) = root.rsplit_once('/').unwrap_or(("", root));
    let first = path.split('/').next().unwrap_or_default();
    let repeats = !root.is_empty() && path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    let whole = match () {
        () if repeats || root.is_empty() => format!("/{path}"),
        () if is_version(first) && is_version(last) && before.is_empty() => format!("/{path}"),
        () if is_version(first) && is_version(last) => format!("/{before}/{path}"),
        () => format!("/{root}/{path}"),
    };
    let mut url = base.clone();
    url.set_path(&whole);
    url.set_query(query);
    let is_there = url.origin() == base.origin() && !whole.contains("//");
    if is_there { Ok(url) } else { Err(elsewhere()) }
}

/// Whether a segment is a version: `v1`, `v1beta`, `v4`.
fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix('v').unwrap_or_default();
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_provider() {
        for (base, path, query, expected) in [
            ("https://api.openai.com/v1", "v1/files", None, Some("https://api.openai.com/v1/files")),
            ("https://api.openai.com/v1", "files", Some("a=b"), Some("https://api.openai.com/v1/files?a=b")),
            ("https://g.com/v1beta", "v1/models/x:run", None, Some("https://g.com/v1/models/x:run")),
            ("https://g.com/openai/v1", "openai/v1/audio", None, Some("https://g.com/openai/v1/audio")),
            ("https://g.com/openai/v1", "v1/audio", None, Some("https://g.com/openai/v1/audio")),
            ("https://g.com", "v2/rerank", None, Some("https://g.com/v2/rerank")),
            ("https://g.com/v1", "a%2Fb", None, Some("https://g.com/v1/a%2Fb")),
            ("https://g.com/v1", "../x", None, None),
            ("https://g.com/v1", "a/%2E%2e/x", None, None),
            ("https://g.com/v1", "a%2F..%2fx", None, None),
            ("https://g.com/v1", "a/..%5Cx", None, None),
            ("https://g.com/v1", "a..b/...", None, Some("https://g.com/v1/a..b/...")),
            ("https://g.com/v1", "a\\..\\x", None, None),
            ("https://g.com/v1", "/evil.com/x", None, None),
            ("https://g.com", "a//b", None, None),
            ("https://g.com/v1", "@evil.com/x", None, Some("https://g.com/v1/@evil.com/x")),
            ("script:", "x", None, None),
        ] {
            let url = address(base, path, query).ok();
            assert_eq!(url.as_ref().map(Url::as_str), expected, "{base} {path}");
        }
    }
}
