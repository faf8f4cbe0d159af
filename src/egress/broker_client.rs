//! Sends one request to a broker over HTTP, for the command line. Providers are called with `client.rs`.

use std::time::Duration;

use bytes::Bytes;

use super::{Url, install_tls, root_cause};

/// How long a broker may take for an answer that is not a stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A broker's answer to one request.
pub struct BrokerResponse {
    /// HTTP status of the answer.
    pub status: u16,
    /// Whole body of the answer.
    pub body: Bytes,
}

/// Sends a `GET` request to `base` + `path` with a query.
///
/// # Errors
/// A sentence for a person when there is no answer.
pub async fn get(
    base: &str,
    path: &str,
    query: &[(String, String)],
    token: Option<&str>,
) -> Result<BrokerResponse, String> {
    let mut url = address(base, path)?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    send(url, token).await
}

fn address(base: &str, path: &str) -> Result<Url, String> {
    let text = format!("{}{path}", base.trim_end_matches('/'));
    Url::parse(&text).map_err(|error| format!("`{base}` is not an address: {error}"))
}

async fn send(url: Url, token: Option<&str>) -> Result<BrokerResponse, String> {
    install_tls();
    // Not the whole address: it may hold a password.
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let place = format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default());
    let no_answer = |error: reqwest::Error| {
        format!("cannot reach a broker at {place}: {}; is `forebay serve` running?", root_cause(&error))
    };
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build().map_err(no_answer)?;
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(no_answer)?;
    let status = response.status().as_u16();
    Ok(BrokerResponse { status, body: response.bytes().await.map_err(no_answer)? })
}
