//! Fetches a file that a job names by its address, for providers that do not fetch by themselves.
//!
//! Owns the fetching and its limits. Promises that only public addresses are asked unless the
//! configuration names the host: neither by an address in the URL, nor by a name that resolves to
//! one, nor by a redirect can a job reach what only this machine can. Sends no key and no cookie,
//! and goes through no proxy, which could reach for it what it may not.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url, redirect};

use crate::job::caps::REMOTE_FILE_BYTES_MAX;

/// Redirects that are followed: image hosts use one or two.
const REDIRECTS_MAX: usize = 4;
/// The section of the configuration that names hosts which may be asked in any case.
const SETTING: &str = "egress";
/// For the whole file.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
/// To open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A file that was fetched.
#[derive(Debug)]
pub struct File {
    /// Its content type without parameters, lower case; empty if its server did not say.
    pub mime: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Fetches files. One per generation of configuration.
pub struct Remote {
    allowed: Arc<HashSet<Box<str>>>,
    client: OnceLock<Client>,
}

impl Remote {
    /// A fetcher that may also ask these hosts, whatever their addresses.
    #[must_use]
    pub fn new(allowed: impl IntoIterator<Item = Box<str>>) -> Remote {
        let allowed = allowed.into_iter().map(|host| host.to_ascii_lowercase().into()).collect();
        Remote { allowed: Arc::new(allowed), client: OnceLock::new() }
    }

    /// The file at `address`. Cancel-safe.
    ///
    /// # Errors
    /// A sentence for the caller, without the address.
    pub async fn fetch(&self, address: &str) -> Result<File, String> {
        let url = Url::parse(address).map_err(|error| format!("is not an address: {error}"))?;
        may_ask(&url, &self.allowed, SETTING)?;
        let mut response = self.client()?.get(url).send().await.map_err(said)?;
        if !response.status().is_success() {
            return Err(format!("its server answers {}", response.status().as_u16()));
        }
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
        let mime = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            if bytes.len() + chunk.len() > REMOTE_FILE_BYTES_MAX {
                return Err(format!("is over {REMOTE_FILE_BYTES_MAX} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(File { mime, bytes })
    }

    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Another part of the program may have set it before: the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allowed = Arc::clone(&self.allowed);
        let follow = redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS_MAX {
                return attempt.error("too many redirects");
            }
            match may_ask(attempt.url(), &allowed, SETTING) {
                Ok(()) => attempt.follow(),
                Err(problem) => attempt.error(problem),
            }
        });
        let client = Client::builder()
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(follow)
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(FETCH_TIMEOUT)
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(PublicNames::new(Arc::clone(&self.allowed), SETTING)))
            .build()
            .map_err(|_| "cannot be fetched: the HTTP client cannot be set up".to_owned())?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// The innermost reason, without the address.
pub(crate) fn said(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut inner: &dyn std::error::Error = &error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    format!("cannot be fetched: {inner}")
}

/// Whether the address itself may be asked. Names are looked at when they are resolved. `setting` is
/// the section whose `allow_hosts` has the `allowed`.
pub(crate) fn may_ask(url: &Url, allowed: &HashSet<Box<str>>, setting: &str) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must be an http, https or data address".into());
    }
    let host = url.host_str().unwrap_or("");
    if allowed.contains(host) {
        return Ok(());
    }
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) if !is_public(address) => Err(private(setting)),
        _ => Ok(()),
    }
}

fn private(setting: &str) -> String {
    format!("is not a public address; {setting}.allow_hosts in the configuration can name its host")
}

/// Resolves names, and only to public addresses.
pub(crate) struct PublicNames {
    allowed: Arc<HashSet<Box<str>>>,
    setting: &'static str,
}

impl PublicNames {
    /// Those of `allowed` are resolved to any address.
    pub(crate) fn new(allowed: Arc<HashSet<Box<str>>>, setting: &'static str) -> PublicNames {
        PublicNames { allowed, setting }
    }
}

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (is_allowed, setting) = (self.allowed.contains(name.as_str()), self.setting);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let usable: Vec<SocketAddr> = found.filter(|address| is_allowed || is_public(address.ip())).collect();
            if usable.is_empty() {
                return Err(private(setting).into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

/// Whether anybody on the Internet could ask this address: none of the special ranges of the IANA
/// registries (RFC 6890 and its successors).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inner = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    match [a, b, c, d, e, f] {
        // An IPv4 address in another dress: mapped, translated (RFC 6052), 6to4.
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => inner(g, h),
        [0x2002, high, low, ..] => inner(high, low),
        // Teredo, documentation, and the rest of 2001:0000::/23.
        [0x2001, 0..=0x01ff | 0xdb8, ..] => false,
        // What is given out lies in 2000::/3.
        _ => a & 0xe000 == 0x2000 && a != 0x3fff,
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
