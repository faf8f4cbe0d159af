//! Google's access tokens: of a service account, of the user's default credentials, or of the machine.
//!
//! Owns where they come from and one token at a time. Promises that a token is asked for once,
//! however many jobs wait for it, that it is renewed before it runs out, and that no job waits longer
//! than [`WAIT`]. The machine's own (the metadata server) are asked for when there is no file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::egress::{AUTHORIZATION, HeaderValue};
use arc_swap::ArcSwapOption;
use gcp_auth::{ConfigDefaultCredentials, CustomServiceAccount, Error, MetadataServiceAccount, Token, TokenProvider};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Request;
use crate::job::{Code, Failure};

/// What may be done with a token.
const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];
/// How long a job waits for a token, tries and queues included.
const WAIT: Duration = Duration::from_secs(10);
/// Where `gcloud auth application-default login` puts its file, below the home directory.
const USER_FILE: &str = ".config/gcloud/application_default_credentials.json";

/// A source of tokens, and the token that it gave last.
pub struct Google {
    source: Source,
    project: Option<Box<str>>,
    known: ArcSwapOption<Token>,
    /// Held by the job that fetches a token; the others wait and then find it.
    asking: Mutex<Option<Arc<dyn TokenProvider>>>,
}

enum Source {
    /// The file of a service account.
    Account(PathBuf),
    /// The user's own file, at its usual place.
    User,
    /// The metadata server of the machine.
    Machine,
}

/// Fields of a credentials file beside its secret.
#[derive(Deserialize, Default)]
struct CredentialsFile {
    #[serde(default)]
    project_id: Option<Box<str>>,
    #[serde(default)]
    quota_project_id: Option<Box<str>>,
}

impl Google {
    /// The source that is to be used: `file`, else the user's own file, else the machine.
    pub(super) fn find(file: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Google {
        let user = env("HOME").map(|home| Path::new(&home).join(USER_FILE)).filter(|file| file.is_file());
        let (source, file) = match (file, user) {
            (Some(file), _) => (Source::Account(file.into()), Some(file.into())),
            (None, Some(file)) => (Source::User, Some(file)),
            (None, None) => (Source::Machine, None),
        };
        let text = file.and_then(|file: PathBuf| std::fs::read(file).ok()).unwrap_or_default();
        let about: CredentialsFile = serde_json::from_slice(&text).unwrap_or_default();
        Google {
            source,
            project: about.project_id.or(about.quota_project_id),
            known: ArcSwapOption::empty(),
            asking: Mutex::new(None),
        }
    }

    /// Whether there is a file: only asking tells whether the machine has an account.
    pub(super) fn is_at_hand(&self) -> bool {
        !matches!(self.source, Source::Machine)
    }

    /// The project that the file names.
    pub(super) fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Puts a token into the request's headers. Cancel-safe.
    pub(super) async fn authorize(&self, request: Request<'_>) -> Result<(), Failure> {
        let token = match self.fresh() {
            Some(token) => token,
            None => tokio::time::timeout(WAIT, self.renew())
                .await
                .map_err(|_| refused(&format!("there was no token within {} s", WAIT.as_secs())))?
                .map_err(|error| refused(&reason(&error)))?,
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.as_str()))
            .map_err(|_| refused("the token cannot be sent in a header"))?;
        value.set_sensitive(true);
        request.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    fn fresh(&self) -> Option<Arc<Token>> {
        self.known.load_full().filter(|token| !token.has_expired())
    }

    async fn renew(&self) -> Result<Arc<Token>, Error> {
        let mut asking = self.asking.lock().await;
        // A job that waited here while another fetched it has it by now.
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let provider = match &*asking {
            Some(provider) => Arc::clone(provider),
            None => Arc::clone(asking.insert(self.open().await?)),
        };
        let token = provider.token(SCOPES).await?;
        self.known.store(Some(Arc::clone(&token)));
        Ok(token)
    }

    async fn open(&self) -> Result<Arc<dyn TokenProvider>, Error> {
        Ok(match &self.source {
            Source::Account(file) => {
                let file = file.clone();
                // It reads files: its own, and those of the certificates that are trusted.
                let account = tokio::task::spawn_blocking(|| CustomServiceAccount::from_file(file)).await;
                Arc::new(account.map_err(|_| Error::Str("reading the credentials failed"))??)
            }
            Source::User => Arc::new(ConfigDefaultCredentials::new().await?),
            Source::Machine => Arc::new(MetadataServiceAccount::new().await?),
        })
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(Code::ProviderAuth, format!("no access to Google: {why}")).of_the_target()
}

/// What went wrong, without what a parser might quote of a secret.
fn reason(error: &Error) -> String {
    match error {
        Error::Io(what, cause) => format!("{what}: {cause}"),
        Error::Json(what, _) | Error::Http(what, _) | Error::Other(what, _) | Error::Str(what) => (*what).to_owned(),
        Error::NoAuthMethod(..) => "there are no credentials".to_owned(),
    }
}

#[cfg(test)]
#[path = "google_tests.rs"]
mod tests;
