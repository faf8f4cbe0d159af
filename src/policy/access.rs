//! Who may come in, and what they may do.
//!
//! Owns the answer for one presented key. Promises that the time it takes does not tell how close a
//! guess was, nor which key it was close to. Does not know entrances; another gateway's job is theirs to
//! deny as `not_found`.

use std::net::{IpAddr, SocketAddr};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::config::{Config, KeyConfig, Scope};
use crate::job::{Code, Failure, Gateway};

/// What a client may do after it was authenticated.
#[derive(Clone, PartialEq, Debug)]
pub struct Access {
    /// The key's name, for logs.
    pub name: Box<str>,
    /// The gateways it may use; `None` = all.
    pub gateways: Option<Vec<Gateway>>,
    /// What it may do there.
    pub scopes: Vec<Scope>,
}

impl Access {
    /// Returns the access of a client where no keys are configured: it may do everything.
    #[must_use]
    pub fn anonymous() -> Access {
        Access { name: "anonymous".into(), gateways: None, scopes: vec![Scope::Admin] }
    }

    /// Whether it may do this in that gateway.
    #[must_use]
    pub fn may(&self, scope: Scope, gateway: &Gateway) -> bool {
        self.has(scope) && self.sees(gateway)
    }

    /// Whether it may do this at all, wherever that is.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|granted| *granted == scope || *granted == Scope::Admin)
    }

    /// Whether that gateway is one of its own.
    #[must_use]
    pub fn sees(&self, gateway: &Gateway) -> bool {
        self.gateways.as_ref().is_none_or(|gateways| gateways.contains(gateway))
    }

    /// # Errors
    /// `forbidden`, unless it may do this at all.
    pub fn require(&self, scope: Scope) -> Result<(), Failure> {
        if self.has(scope) {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, format!("this key lacks the scope `{}`", scope.as_str())))
    }

    /// # Errors
    /// `forbidden`, unless it may do this in that gateway.
    pub fn require_in(&self, scope: Scope, gateway: &Gateway) -> Result<(), Failure> {
        self.require(scope)?;
        if self.sees(gateway) {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, format!("this key is not for the gateway `{gateway}`")).with_param("gateway"))
    }
}

/// Who comes with `presented`.
///
/// # Errors
/// `unauthenticated`, where keys are configured and this is none of them.
pub fn authenticate(config: &Config, presented: Option<&str>) -> Result<Access, Failure> {
    if config.keys.is_empty() {
        return Ok(Access::anonymous());
    }
    let Some(presented) = presented else {
        return Err(Failure::new(Code::Unauthenticated, "a key is needed: `Authorization: Bearer <key>`"));
    };
    let digest: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
    // Every key is compared to its end, and the match is selected, not branched on.
    let mut found = u64::MAX;
    for (index, key) in (0_u64..).zip(&config.keys) {
        let same = digest_of(key).map_or(Choice::from(0), |known| known.ct_eq(&digest));
        found.conditional_assign(&index, same);
    }
    let key = usize::try_from(found).ok().and_then(|index| config.keys.get(index));
    let key = key.ok_or_else(|| Failure::new(Code::Unauthenticated, "this key is not known here"))?;
    Ok(Access { name: key.name.clone(), gateways: Some(key.gateways.clone()), scopes: key.scopes.clone() })
}

/// Checks that a broker which other machines can reach has keys.
///
/// # Errors
/// `invalid`, naming `server.listen` or the key that is no digest.
pub fn check_listen(config: &Config) -> Result<(), Failure> {
    if let Some(key) = config.keys.iter().find(|key| digest_of(key).is_none()) {
        return Err(Failure::invalid("keys.sha256", format!("that of `{}` must be 64 hexadecimal digits", key.name)));
    }
    if config.server.allow_anonymous || !config.keys.is_empty() || is_loopback(&config.server.listen) {
        return Ok(());
    }
    let message = "anything but loopback needs [[keys]], or server.allow_anonymous = true";
    Err(Failure::invalid("server.listen", message))
}

/// Whether an address, or a host with or without a port, is this machine's own.
#[must_use]
pub fn is_loopback(listen: &str) -> bool {
    if let Ok(address) = listen.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn digest_of(key: &KeyConfig) -> Option<[u8; 32]> {
    let hex = key.sha256.as_bytes();
    let mut digest = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |hex: u8| char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    fn key(name: &str, secret: &str, rest: &str) -> String {
        let sha256: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02X}")).collect();
        format!("[[keys]]\nname = {name:?}\nsha256 = {sha256:?}\n{rest}\n")
    }

    #[test]
    fn without_keys_everybody_may_do_everything() {
        let access = authenticate(&Config::default(), Some("whatever")).unwrap();
        assert_eq!(access, Access::anonymous());
        assert!(access.may(Scope::Admin, &"any".parse().unwrap()));
    }

    #[test]
    fn a_key_opens_its_own_gateways_for_its_own_scopes() {
        let config = config(
            &(key("agents", "alpha", "")
                + &key("reader", "beta", "gateways = [\"a\", \"b\"]\nscopes = [\"read\"]")
                + &key("root", "gamma", r#"scopes = ["admin"]"#)),
        );
        for (presented, gateway, scope, may) in [
            ("alpha", "default", Scope::Run, true),
            ("alpha", "default", Scope::Read, true),
            ("alpha", "default", Scope::Admin, false),
            ("alpha", "a", Scope::Read, false),
            ("beta", "b", Scope::Read, true),
            ("beta", "b", Scope::Run, false),
            ("beta", "default", Scope::Read, false),
            ("gamma", "default", Scope::Run, true),
        ] {
            let access = authenticate(&config, Some(presented)).unwrap();
            let gateway = gateway.parse().unwrap();
            assert_eq!(access.may(scope, &gateway), may, "{presented} {gateway} {scope:?}");
            assert_eq!(access.require_in(scope, &gateway).is_ok(), may);
        }
        for nobody in [None, Some(""), Some("alph"), Some("alpha ")] {
            assert_eq!(authenticate(&config, nobody).unwrap_err().code, Code::Unauthenticated, "{nobody:?}");
        }
    }

    #[test]
    fn an_open_address_needs_keys() {
        for (listen, fine) in [
            ("127.0.0.1:8087", true),
            ("127.9.9.9:0", true),
            ("[::1]:8087", true),
            ("localhost:8087", true),
            ("0.0.0.0:8087", false),
            ("[::]:8087", false),
            ("10.0.0.1:80", false),
            ("example.org:80", false),
            ("", false),
        ] {
            let server = format!("[server]\nlisten = {listen:?}\n");
            assert_eq!(check_listen(&config(&server)).is_ok(), fine, "{listen}");
            assert!(check_listen(&config(&(server.clone() + "allow_anonymous = true"))).is_ok());
            assert!(check_listen(&config(&(server + &key("k", "s", "")))).is_ok());
        }
        assert_eq!(
            check_listen(&config("[[keys]]\nname = \"k\"\nsha256 = \"beef\"")).unwrap_err().param.as_deref(),
            Some("keys.sha256")
        );
    }
}
