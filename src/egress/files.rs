//! Fetches a file that a job names by its address, for providers that do not fetch by themselves.
//!
//! Owns the fetching and its limits. Promises that only public addresses are reached unless the
//! configuration names the host: neither by an address in the URL, nor by a name that resolves to
//! one, nor by a redirect can a job reach what only this machine can. Sends no key and no cookie,
//! and goes through no proxy, which could reach such addresses for the job.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, Url, redirect};

use super::guard::AddressGuard;
use super::{USER_AGENT, install_tls, root_cause};
use crate::job::caps::REMOTE_FILE_BYTES_MAX;

/// Redirects that are followed: image hosts use one or two.
const REDIRECTS_MAX: usize = 4;
/// Section of the configuration that names hosts which may be reached in any case.
const SECTION: &str = "egress";
/// Time-out of the whole fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
/// Time-out of opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A file that was fetched.
#[derive(Debug)]
pub struct FetchedFile {
    /// Content type without parameters, in lower case; empty if its server did not give one.
    pub mime: String,
    /// Content of the file.
    pub bytes: Vec<u8>,
}

/// Fetches files over HTTP. There is one per generation of the configuration.
pub struct FileFetcher {
    guard: AddressGuard,
    client: OnceLock<Client>,
}

impl FileFetcher {
    /// Builds a fetcher that may also reach these hosts, whatever their addresses are.
    #[must_use]
    pub fn new(allowed: impl IntoIterator<Item = Box<str>>) -> FileFetcher {
        FileFetcher { guard: AddressGuard::new(allowed, SECTION), client: OnceLock::new() }
    }

    /// Fetches the file at `address`. Cancel-safe.
    ///
    /// # Errors
    /// A sentence for the caller, without the address.
    pub async fn fetch(&self, address: &str) -> Result<FetchedFile, String> {
        let url = Url::parse(address).map_err(|error| format!("is not an address: {error}"))?;
        self.guard.check(&url)?;
        let mut response = self.client()?.get(url).send().await.map_err(fetch_problem)?;
        if !response.status().is_success() {
            return Err(format!("its server answers {}", response.status().as_u16()));
        }
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
        let mime = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fetch_problem)? {
            if bytes.len() + chunk.len() > REMOTE_FILE_BYTES_MAX {
                return Err(format!("is over {REMOTE_FILE_BYTES_MAX} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(FetchedFile { mime, bytes })
    }

    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        install_tls();
        let guard = self.guard.clone();
        let follow = redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS_MAX {
                return attempt.error("too many redirects");
            }
            match guard.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(problem) => attempt.error(problem),
            }
        });
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .redirect(follow)
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(FETCH_TIMEOUT)
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(self.guard.clone()))
            .build()
            .map_err(|_| "cannot be fetched: the HTTP client cannot be set up".to_owned())?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// Tells why there is no answer, without the address.
pub(super) fn fetch_problem(error: reqwest::Error) -> String {
    format!("cannot be fetched: {}", root_cause(&error.without_url()))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
