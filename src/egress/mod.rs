//! Everything that leaves over HTTP: calls to providers, file fetches, webhooks, the command line's questions.
//!
//! Owns every HTTP client, and the guard that lets jobs reach only public addresses. It is the only
//! module that names the HTTP library; others take its types from here. Does not know providers or jobs.

pub mod broker_client;
pub mod client;
pub mod files;
pub mod guard;
pub mod metadata;
pub mod webhook;

use std::error::Error;
use std::sync::Once;

pub use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, Url};

/// The `user-agent` header of every request that leaves.
const USER_AGENT: &str = concat!("forebay/", env!("CARGO_PKG_VERSION"));

/// Installs the cryptography that TLS uses, once per process.
fn install_tls() {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        // The error means that one is installed already, which is all that we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Returns the innermost cause of an error: the outer ones only repeat where it happened.
fn root_cause(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Whether the host of `url` is this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}
