//! Sends a webhook: tells a receiver's server that a job has ended.
//!
//! Owns the signature and the HTTP client for it. Promises that only public addresses are reached, and
//! by https, unless the configuration names the host: neither by an address in the URL nor by a name
//! that resolves to one can a job reach what only this machine can. Follows no redirect, reads no
//! body, prints no secret. Does not know when to try again.
//!
//! The signature is that of Standard Webhooks (github.com/standard-webhooks/standard-webhooks,
//! version 1): HMAC-SHA256 over `id.timestamp.body`, one for each secret.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Url, redirect};
use sha2::Sha256;

use super::files::fetch_problem;
use super::guard::AddressGuard;
use super::{CONTENT_TYPE, USER_AGENT, install_tls};
use crate::config::WebhooksConfig;
use crate::job::{Failure, Timestamp};

/// Section of the configuration that describes webhooks.
const SECTION: &str = "webhooks";
/// Time-out of opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Unused connections kept to one receiver.
const IDLE_CONNECTIONS_MAX: usize = 4;
/// How long an unused connection is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// What a secret begins with, before its base64.
const SECRET_PREFIX: &str = "whsec_";
/// Bytes of a secret, as Standard Webhooks has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets in force at once: the new one, the old one, and a slip.
const SECRETS_MAX: usize = 4;

/// Signs and sends webhooks. There is one per generation of the configuration.
pub struct WebhookSender {
    /// Signing keys in the order of the configuration, the newest first.
    keys: Vec<Box<[u8]>>,
    guard: AddressGuard,
    timeout: Duration,
    client: OnceLock<Client>,
}

/// A webhook message to one receiver.
#[derive(Clone, Debug)]
pub struct WebhookMessage {
    /// Id of the message, the same at every try.
    pub id: String,
    /// Time at which this try is made.
    pub at: Timestamp,
    /// Body of the message, which is JSON.
    pub body: Bytes,
}

/// What a receiver answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WebhookResponse {
    /// HTTP status of the answer.
    pub status: u16,
    /// How long the receiver wants no further try.
    pub retry_after: Option<Duration>,
}

impl WebhookSender {
    /// Builds the sender that the configuration describes; `env` reads the variables that hold secrets.
    ///
    /// # Errors
    /// A sentence for the operator that names the field, without the secret.
    pub fn build(config: &WebhooksConfig, env: &dyn Fn(&str) -> Option<String>) -> Result<WebhookSender, String> {
        let secrets = config.secret.as_ref().map(|secret| secret.resolve_with(env)).transpose();
        let secrets = secrets.map_err(|problem| format!("webhooks.secret: {problem}"))?.unwrap_or_default();
        let keys: Option<Vec<Box<[u8]>>> = secrets.split_whitespace().map(key_of).collect();
        let keys = keys.filter(|keys| keys.len() <= SECRETS_MAX && (config.secret.is_none() || !keys.is_empty()));
        let keys = keys.ok_or_else(|| {
            format!("webhooks.secret: must be `{SECRET_PREFIX}` and the base64 of 24 to 64 bytes; at most {SECRETS_MAX} with blanks between")
        })?;
        let guard = AddressGuard::new(config.allow_hosts.iter().cloned(), SECTION);
        let timeout = Duration::from_millis(config.timeout_ms);
        Ok(WebhookSender { keys, guard, timeout, client: OnceLock::new() })
    }

    /// Checks whether a webhook may be sent to `url`.
    ///
    /// # Errors
    /// `unsupported` where there is no secret to sign with; `invalid`, naming `options.webhook.url`.
    pub fn check(&self, url: &str) -> Result<(), Failure> {
        if self.keys.is_empty() {
            return Err(Failure::unsupported("options.webhook", "webhooks.secret is not configured"));
        }
        self.parse(url).map(drop).map_err(|problem| Failure::invalid("options.webhook.url", problem))
    }

    /// Sends `message` to `url` and returns the answer, whatever its status. Cancel-safe in that a
    /// dropped call closes its socket; the receiver may have got the message.
    ///
    /// # Errors
    /// A sentence for the operator's log when there is no answer, without the address.
    pub async fn send(&self, url: &str, message: WebhookMessage) -> Result<WebhookResponse, String> {
        let url = self.parse(url)?;
        if self.keys.is_empty() {
            return Err("webhooks.secret is not configured".into());
        }
        let at = (message.at.0 / 1000).to_string();
        let signature = sign(&self.keys, &message.id, &at, &message.body);
        let request = self
            .client()?
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
            .body(message.body);
        let response = request.send().await.map_err(fetch_problem)?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Ok(WebhookResponse { status: response.status().as_u16(), retry_after })
    }

    fn parse(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| format!("is not an address: {error}"))?;
        let is_allowed = self.guard.names(url.host_str().unwrap_or(""));
        if url.scheme() != "https" && !(is_allowed && url.scheme() == "http") {
            return Err("must be an https address; webhooks.allow_hosts can name hosts that may have http".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a password: webhooks are signed".into());
        }
        self.guard.check(&url)?;
        Ok(url)
    }

    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        install_tls();
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT.min(self.timeout))
            .timeout(self.timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_CONNECTION)
            .dns_resolver(Arc::new(self.guard.clone()))
            .build()
            .map_err(|_| "the HTTP client cannot be set up".to_owned())?;
        Ok(self.client.get_or_init(|| client))
    }
}

impl std::fmt::Debug for WebhookSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSender").field("guard", &self.guard).finish_non_exhaustive()
    }
}

fn key_of(secret: &str) -> Option<Box<[u8]>> {
    let key = STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?;
    SECRET_BYTES.contains(&key.len()).then(|| key.into())
}

/// The signatures of a message, one for each key, with blanks between.
fn sign(keys: &[Box<[u8]>], id: &str, at: &str, body: &[u8]) -> String {
    let one = |key: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    keys.iter().map(|key| one(key)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn webhooks(secret: Option<&str>) -> Result<WebhookSender, String> {
        let config = WebhooksConfig {
            secret: secret.map(|secret| Secret(secret.into())),
            allow_hosts: vec!["127.0.0.1".into(), "Inside.example".into()],
            ..WebhooksConfig::default()
        };
        WebhookSender::build(&config, &|_| None)
    }

    /// The example of the Standard Webhooks documentation.
    #[test]
    fn a_signature_is_the_standards() {
        let keys = [key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()];
        let signed = sign(&keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_the_standards_or_refused() {
        let good = format!("whsec_{}", STANDARD.encode([7; 32]));
        for (secret, keys) in [
            (None, Some(0)),
            (Some(good.clone()), Some(1)),
            (Some(format!("{good}  {good}")), Some(2)),
            (Some(String::new()), None),
            (Some("whsec_".into()), None),
            (Some(good.replace("whsec_", "")), None),
            (Some(format!("whsec_{}", STANDARD.encode([7; 23]))), None),
            (Some([&*good; 5].join(" ")), None),
        ] {
            let built = webhooks(secret.as_deref());
            assert_eq!(built.as_ref().ok().map(|built| built.keys.len()), keys, "{secret:?}");
        }
    }

    #[test]
    fn only_allowed_receivers_are_reached() {
        let good = format!("whsec_{}", STANDARD.encode([7; 32]));
        let webhooks = webhooks(Some(&good)).unwrap();
        for (url, may) in [
            ("https://example.com/hook?a=b", true),
            ("http://example.com/hook", false),
            ("https://10.0.0.1/", false),
            ("https://[::1]/", false),
            ("https://[::ffff:127.0.0.1]/", false),
            ("https://127.0.0.1/", true),
            ("http://127.0.0.1:9/x", true),
            ("http://inside.example/x", true),
            ("https://user:secret@example.com/", false),
            ("ftp://127.0.0.1/", false),
            ("nonsense", false),
        ] {
            assert_eq!(webhooks.check(url).is_ok(), may, "{url}");
        }
    }
}
