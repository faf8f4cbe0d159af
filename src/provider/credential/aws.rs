//! AWS credentials, and the signature that is made of them.
//!
//! Owns where credentials come from, as AWS's own tools look for them: a profile that the
//! configuration names, else the variables, else `AWS_PROFILE` or the default profile, else the
//! container's endpoint, else the machine's (IMDSv2). The place is chosen once; what it gives is kept
//! until shortly before it runs out, then fetched again, by one request at a time, while others go
//! on with what is still valid. Promises that no secret is printed. Does not assume roles and does
//! not do SSO or web identities: those need a call to another service.

mod metadata;
mod profile;
mod sign;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::Request;
pub use super::aws::profile::{Files, Profile};
use crate::job::{Code, Failure, Timestamp};

/// Reads a variable of the environment.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Credentials are fetched again so long before they run out.
const REFRESH_MS: u64 = 300_000;
/// While old ones are still valid, a failed fetch is not repeated for so long.
const REFRESH_AGAIN_MS: u64 = 30_000;
/// Files are read again after so long: other tools write new credentials into them.
const FILE_MS: u64 = 300_000;

/// A pair of AWS keys, perhaps temporary.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Id that names the secret.
    pub access_key_id: String,
    /// Never leaves this process.
    pub secret_access_key: String,
    /// Token of temporary credentials.
    pub session_token: Option<String>,
    /// Time at which the keys expire.
    pub expires: Option<Timestamp>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Source that credentials come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The keys are here.
    Here(Keys),
    /// The files of AWS's tools.
    Profile(Files),
    /// The endpoint that a container is given.
    Container(metadata::Container),
    /// The endpoint of the machine.
    Instance(metadata::Instance),
}

impl Source {
    /// Where credentials are to be looked for. `profile` is the one that the configuration names.
    ///
    /// # Errors
    /// What is wrong with what was found, without a secret.
    pub fn choose(profile: Option<&str>, env: Env<'_>) -> Result<Source, String> {
        let files = Files::of(profile, env);
        if profile.is_some() {
            return Ok(Source::Profile(files));
        }
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        if let (Some(access_key_id), Some(secret_access_key)) = (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY"))
        {
            let session_token = set("AWS_SESSION_TOKEN");
            return Ok(Source::Here(Keys { access_key_id, secret_access_key, session_token, expires: None }));
        }
        if set("AWS_PROFILE").is_some() || matches!(files.read(), Ok(Profile { keys: Some(_), .. })) {
            return Ok(Source::Profile(files));
        }
        if let Some(container) = metadata::Container::of(env)? {
            return Ok(Source::Container(container));
        }
        Ok(Source::Instance(metadata::Instance::of(env)))
    }

    /// Whether there are credentials, as far as is known without a request.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        match self {
            Source::Here(_) | Source::Container(_) => true,
            Source::Profile(files) => matches!(files.read(), Ok(Profile { keys: Some(_), .. })),
            Source::Instance(_) => false,
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<Keys, String> {
        match self {
            Source::Here(keys) => Ok(keys.clone()),
            Source::Profile(files) => {
                let found = files.read()?;
                let mut keys = found.keys.ok_or_else(|| format!("the profile {} has no keys", files.name()))?;
                keys.expires = Some(now.plus_ms(FILE_MS + REFRESH_MS));
                Ok(keys)
            }
            Source::Container(container) => container.fetch().await,
            Source::Instance(instance) => instance.fetch().await,
        }
    }
}

/// Signs the requests to one AWS service in one region.
pub struct Signer {
    source: Source,
    service: &'static str,
    region: Box<str>,
    kept: ArcSwapOption<Keys>,
    /// Held while credentials are fetched. When a fetch may be tried again.
    fetching: Mutex<Timestamp>,
}

impl Signer {
    /// A signer without credentials yet.
    #[must_use]
    pub fn new(source: Source, service: &'static str, region: &str) -> Signer {
        Signer {
            source,
            service,
            region: region.into(),
            kept: ArcSwapOption::empty(),
            fetching: Mutex::new(Timestamp::default()),
        }
    }

    /// Whether there are credentials, as far as is known without a request.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.source.is_sure()
    }

    /// Signs `request`, with credentials that are fetched if need be. Cancel-safe: a fetch that is
    /// dropped is begun anew by the next request.
    ///
    /// # Errors
    /// `provider_auth`, of the target, when there are no valid credentials to be had.
    pub async fn authorize(&self, request: Request<'_>) -> Result<(), Failure> {
        let keys = self.keys(request.now).await.map_err(|problem| {
            Failure::new(Code::ProviderAuth, format!("no AWS credentials: {problem}")).of_the_target()
        })?;
        sign::sign(&keys, (self.service, &self.region), request).map_err(|problem| {
            let message = format!("the request cannot be signed: {problem}");
            Failure::new(Code::ProviderAuth, message).of_the_target()
        })
    }

    async fn keys(&self, now: Timestamp) -> Result<Arc<Keys>, String> {
        let kept = self.kept.load_full();
        let is_good_for =
            |ms: u64| move |keys: &Arc<Keys>| keys.expires.is_none_or(|expires| expires > now.plus_ms(ms));
        if let Some(keys) = kept.clone().filter(is_good_for(REFRESH_MS)) {
            return Ok(keys);
        }
        // Still valid ones need not wait for the fetch of another job.
        let still_valid = kept.filter(is_good_for(0));
        let mut again = match (&still_valid, self.fetching.try_lock()) {
            (_, Ok(guard)) => guard,
            (Some(keys), Err(_)) => return Ok(Arc::clone(keys)),
            (None, Err(_)) => self.fetching.lock().await,
        };
        if let Some(keys) = self.kept.load_full().filter(is_good_for(REFRESH_MS)) {
            return Ok(keys);
        }
        if let Some(keys) = still_valid.as_ref().filter(|_| *again > now) {
            return Ok(Arc::clone(keys));
        }
        match (self.source.fetch(now).await, still_valid) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                self.kept.store(Some(Arc::clone(&keys)));
                Ok(keys)
            }
            (Err(problem), Some(keys)) => {
                tracing::warn!(%problem, "AWS credentials cannot be renewed; the old ones are still valid");
                *again = now.plus_ms(REFRESH_AGAIN_MS);
                Ok(keys)
            }
            (Err(problem), None) => Err(problem),
        }
    }
}

#[cfg(test)]
#[path = "aws_tests.rs"]
mod tests;
