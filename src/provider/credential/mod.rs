//! Credentials that are more than a header known beforehand.
//!
//! Owns what must be done to a request just before it is sent: signing it, or fetching a token that
//! runs out. Promises that nothing here is printed. Knows no provider's format.

pub mod aws;
mod google;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Auth, Headers, Method};
use crate::job::{Failure, Timestamp};

/// How a request proves who sends it.
#[derive(Clone, Default)]
pub enum Credential {
    /// By its headers as they are, or not at all.
    #[default]
    InHeaders,
    /// By a token of Google's that runs out.
    Google(Arc<google::Google>),
    /// By AWS's signature over it.
    Aws(Arc<aws::Signer>),
}

/// A request that is about to be sent.
pub struct Request<'a> {
    /// HTTP method of the request.
    pub method: &'a Method,
    /// Address that the request goes to.
    pub url: &'a crate::egress::Url,
    /// Headers of the request; a credential adds its own.
    pub headers: &'a mut Headers,
    /// Body of the request.
    pub body: &'a Bytes,
    /// Time against which expiry is checked.
    pub now: Timestamp,
}

impl Credential {
    /// What such a provider needs beside headers, from the account's settings and the environment;
    /// `None` if headers are all. What it knows of the account itself is added to `settings`.
    ///
    /// # Errors
    /// A sentence for the operator that begins with the field.
    pub(super) fn find(
        auth: Auth,
        settings: &mut BTreeMap<Box<str>, Box<str>>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Credential>, String> {
        match auth {
            Auth::None | Auth::Bearer | Auth::Header(_) => Ok(None),
            Auth::Aws => aws_signer(settings, env).map(|signer| Some(Credential::Aws(Arc::new(signer)))),
            Auth::Google => {
                let google = google::Google::find(settings.get("credentials").map(|file| &**file), env);
                if let Some(project) = google.project() {
                    settings.entry("project".into()).or_insert_with(|| project.into());
                }
                Ok(Some(Credential::Google(Arc::new(google))))
            }
        }
    }

    /// Whether the credential is known to exist without a request.
    pub(super) fn is_at_hand(&self) -> bool {
        match self {
            Credential::InHeaders => true,
            Credential::Google(google) => google.is_at_hand(),
            Credential::Aws(signer) => signer.is_sure(),
        }
    }

    /// Proves who sends `request`. Cancel-safe.
    ///
    /// # Errors
    /// `provider_auth`, of the target, when there is no valid credential to be had.
    pub async fn authorize(&self, request: Request<'_>) -> Result<(), Failure> {
        match self {
            Credential::InHeaders => Ok(()),
            Credential::Google(google) => google.authorize(request).await,
            Credential::Aws(signer) => signer.authorize(request).await,
        }
    }
}

/// What signs the requests to Bedrock.
fn aws_signer(
    settings: &mut BTreeMap<Box<str>, Box<str>>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<aws::Signer, String> {
    let profile = settings.get("profile").map(ToString::to_string);
    let source = aws::Source::choose(profile.as_deref(), env).map_err(|problem| format!("profile: {problem}"))?;
    if !settings.contains_key("region") {
        let of_profile = aws::Files::of(profile.as_deref(), env).read().ok().and_then(|found| found.region);
        settings.extend(of_profile.map(|region| ("region".into(), region)));
    }
    let region = settings.get("region").ok_or("region: must be given; or set AWS_REGION")?;
    Ok(aws::Signer::new(source, "bedrock", region))
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}
