//! Credentials that are more than a header known beforehand.
//!
//! Owns what must be done to a request just before it is sent: signing it, or fetching a token that
//! runs out. Promises that nothing here is printed. Knows no provider's format.

pub mod aws;

use std::sync::Arc;

use bytes::Bytes;

use super::Headers;
use crate::job::{Failure, Timestamp};

/// How a request proves who sends it.
#[derive(Clone, Default)]
pub enum Credential {
    /// By its headers as they are, or not at all.
    #[default]
    InHeaders,
    /// By AWS's signature over it.
    Aws(Arc<aws::Signer>),
}

/// A request that is about to be sent.
pub struct Request<'a> {
    /// Where to.
    pub url: &'a reqwest::Url,
    /// Its headers; a credential adds its own.
    pub headers: &'a mut Headers,
    /// Its body.
    pub body: &'a Bytes,
    /// The date now.
    pub now: Timestamp,
}

impl Credential {
    /// Proves who sends `request`. Cancel-safe.
    ///
    /// # Errors
    /// `provider_auth`, of the target, when there is no valid credential to be had.
    pub async fn authorize(&self, request: Request<'_>) -> Result<(), Failure> {
        match self {
            Credential::InHeaders => Ok(()),
            Credential::Aws(signer) => signer.authorize(request).await,
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}
