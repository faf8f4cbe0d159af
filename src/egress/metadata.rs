//! Client for the endpoints at which a machine or a container finds its own credentials.
//!
//! Promises that it goes through no proxy, follows no redirect, and takes a bounded answer within a
//! bounded time. Does not know what the answers mean.

use std::time::Duration;

use reqwest::{Client, redirect};

use super::{HeaderMap, Method, install_tls};

/// How long an endpoint on the same machine may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for a connection: where there is no such endpoint, nothing refuses it either.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of an answer: keys and a token of a few kilobytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Client for endpoints on the same machine.
pub struct MetadataClient {
    client: Client,
}

impl MetadataClient {
    /// Builds a client without connections.
    ///
    /// # Errors
    /// A sentence for the operator when TLS cannot be set up.
    pub fn new() -> Result<MetadataClient, String> {
        install_tls();
        // Never through a proxy: the keys are for this machine.
        let builder = Client::builder().timeout(ANSWER_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).no_proxy();
        let client = builder.redirect(redirect::Policy::none()).build().map_err(|_| "no HTTP client".to_owned())?;
        Ok(MetadataClient { client })
    }

    /// Sends a request without a body and returns the body of an answer with status 200.
    ///
    /// # Errors
    /// A sentence for the operator whose subject is `endpoint`, for any other answer and for none.
    pub async fn call(&self, endpoint: &str, method: Method, url: &str, headers: HeaderMap) -> Result<String, String> {
        let no_answer = |error: reqwest::Error| {
            let what = if error.is_timeout() { "does not answer" } else { "cannot be reached" };
            format!("{endpoint} {what}")
        };
        let mut response = self.client.request(method, url).headers(headers).send().await.map_err(no_answer)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(format!("{endpoint} answers HTTP {status}"));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(no_answer)? {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(format!("{endpoint} answers with over {ANSWER_BYTES_MAX} bytes"));
            }
        }
        String::from_utf8(body).map_err(|_| format!("{endpoint} answers no text"))
    }
}
