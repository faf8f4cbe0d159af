//! One question to a broker over HTTP, for the command line. Not for providers: those are called in
//! `call.rs`.

use std::time::Duration;

use bytes::Bytes;

/// How long a broker may take for an answer that is not a stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
pub struct Fetched {
    /// The HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

/// Asks `base` + `path` with a query.
///
/// # Errors
/// A sentence for a person when there is no answer.
pub async fn get(base: &str, path: &str, query: &[(String, String)], token: Option<&str>) -> Result<Fetched, String> {
    let mut url = address(base, path)?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    send(url, token).await
}

fn address(base: &str, path: &str) -> Result<reqwest::Url, String> {
    let text = format!("{}{path}", base.trim_end_matches('/'));
    reqwest::Url::parse(&text).map_err(|error| format!("`{base}` is not an address: {error}"))
}

async fn send(url: reqwest::Url, token: Option<&str>) -> Result<Fetched, String> {
    // Another part of the program may have set it before: the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Not the whole address: it may hold a password.
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let place = format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default());
    let no_answer = |error: reqwest::Error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        format!("cannot reach a broker at {place}: {cause}; is `forebay serve` running?")
    };
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build().map_err(no_answer)?;
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(no_answer)?;
    let status = response.status().as_u16();
    Ok(Fetched { status, body: response.bytes().await.map_err(no_answer)? })
}
