//! Credentials that AWS hands to the machine or the container that we run on.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Env, Keys};
use crate::egress::metadata::MetadataClient;
use crate::egress::{HeaderMap, HeaderName, HeaderValue, Method, Url, is_loopback};
use crate::job::Timestamp;

/// Seconds that a session with the machine's endpoint lasts; it is used at once.
const SESSION_S: &str = "60";
/// Where containers find theirs, if they are told a path only.
const CONTAINER_HOST: &str = "http://169.254.170.2";
/// Hosts that may be asked for keys without TLS, beside this machine itself.
const CONTAINER_HOSTS: &[&str] = &["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// A container's endpoint (ECS, EKS).
#[derive(Clone, Debug)]
pub struct Container {
    url: Url,
    token: Option<Token>,
}

/// What a container shows at its endpoint.
#[derive(Clone)]
enum Token {
    Here(String),
    /// A file that is written anew from time to time.
    File(PathBuf),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Container {
    pub(super) fn of(env: Env<'_>) -> Result<Option<Container>, String> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let (name, text) = if let Some(path) = set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", format!("{CONTAINER_HOST}{path}"))
        } else if let Some(url) = set("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        } else {
            return Ok(None);
        };
        let url = Url::parse(&text).map_err(|error| format!("{name}: {error}"))?;
        let host = url.host_str().unwrap_or("");
        let is_near = CONTAINER_HOSTS.contains(&host) || is_loopback(&url);
        if url.scheme() != "https" && !is_near {
            return Err(format!("{name}: must be https, or an address of this machine"));
        }
        let file = set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(|path| Token::File(path.into()));
        Ok(Some(Container { url, token: file.or_else(|| set("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Token::Here)) }))
    }

    pub(super) async fn fetch(&self) -> Result<Keys, String> {
        let mut headers = HeaderMap::new();
        let token = match &self.token {
            None => None,
            Some(Token::Here(token)) => Some(token.clone()),
            Some(Token::File(path)) => {
                Some(std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?)
            }
        };
        if let Some(token) = token {
            headers.insert("authorization", secret(token.trim())?);
        }
        let client = MetadataClient::new()?;
        keys(&client.call("the container's endpoint", Method::GET, self.url.as_str(), headers).await?)
    }
}

/// The machine's endpoint (EC2), version 2 only: version 1 gives keys to anyone who can make us fetch
/// an address.
#[derive(Clone, Debug)]
pub struct Instance {
    base: String,
    is_off: bool,
}

impl Instance {
    pub(super) fn of(env: Env<'_>) -> Instance {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let base = set("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| "http://169.254.169.254".to_owned());
        let is_off = set("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Instance { base: base.trim_end_matches('/').to_owned(), is_off }
    }

    pub(super) async fn fetch(&self) -> Result<Keys, String> {
        let nowhere = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or AWS_BEARER_TOKEN_BEDROCK";
        if self.is_off {
            return Err(format!("there are none here; {nowhere}"));
        }
        let client = MetadataClient::new()?;
        let base = &self.base;
        let call = async |method: Method, path: &str, name: &'static str, value: HeaderValue| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
            client.call("the machine's endpoint", method, &format!("{base}/latest/{path}"), headers).await
        };
        let lifetime = HeaderValue::from_static(SESSION_S);
        let session = call(Method::PUT, "api/token", "x-aws-ec2-metadata-token-ttl-seconds", lifetime).await;
        let session = session.map_err(|problem| format!("{problem}; {nowhere}"))?;
        let session = secret(session.trim())?;
        let get = async |path: &str| {
            let path = format!("meta-data/iam/security-credentials/{path}");
            call(Method::GET, &path, "x-aws-ec2-metadata-token", session.clone()).await
        };
        let roles = get("").await?;
        let role = roles.lines().next().map(str::trim).filter(|role| !role.is_empty());
        let role = role.ok_or_else(|| format!("the machine has no role; {nowhere}"))?;
        keys(&get(role).await?)
    }
}

fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "the token cannot be sent in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Parses the answer that both endpoints give.
fn keys(body: &str) -> Result<Keys, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct RawKeys {
        access_key_id: String,
        secret_access_key: String,
        token: Option<String>,
        expiration: Option<String>,
    }
    // Not the parser's words: they could quote a secret.
    let raw: RawKeys = serde_json::from_str(body).map_err(|_| "the endpoint's answer has no keys".to_owned())?;
    let expires = match raw.expiration {
        None => None,
        Some(text) => Some(Timestamp::parse(&text).ok_or("the endpoint's answer has no readable expiration")?),
    };
    Ok(Keys {
        access_key_id: raw.access_key_id,
        secret_access_key: raw.secret_access_key,
        session_token: raw.token,
        expires,
    })
}
