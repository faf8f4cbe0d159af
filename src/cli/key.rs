//! `forebay key new`: makes a key that clients present, and its block for the configuration.
//!
//! Promises that the key is shown once and written nowhere: only its digest is in the block.

use rustls::crypto::ring;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::args::NewKeyArguments;
use super::{CommandError, show};
use crate::config::Scope;
use crate::job::Gateway;

/// Prefix of all keys, so that a scanner of repositories and logs recognizes one.
const PREFIX: &str = "fb_";
/// Letters and digits of five bits each, without signs that look alike; a double click selects them all.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Number of random characters in a key: 200 bits.
const RANDOM_CHARS: usize = 40;

/// A new key and its settings.
struct NewKey {
    key: String,
    sha256: String,
    name: String,
    gateways: Vec<String>,
    scopes: Vec<&'static str>,
}

/// Carries out `forebay key new`. The block alone is on stdout, so that `>> forebay.toml` adds it and nothing
/// secret; the key is on stderr, where the person at the terminal still sees it.
pub(super) fn new(arguments: &NewKeyArguments) -> Result<(), CommandError> {
    let mut random = [0; RANDOM_CHARS];
    let system = ring::default_provider().secure_random;
    system.fill(&mut random).map_err(|_| CommandError::Failed(Some("the system gives no random bytes".to_owned())))?;
    let new_key = make(arguments, &random);
    if arguments.json {
        let NewKey { key, sha256, name, gateways, scopes } = new_key;
        let all = json!({"key": key, "name": name, "sha256": sha256, "gateways": gateways, "scopes": scopes});
        return Ok(show::stdout_line(&all.to_string())?);
    }
    show::stdout_line(&block(&new_key))?;
    show::stderr_line("The key, shown this once; clients send it as `Authorization: Bearer <key>`:");
    show::stderr_line(&new_key.key);
    Ok(())
}

fn make(arguments: &NewKeyArguments, random: &[u8; RANDOM_CHARS]) -> NewKey {
    let signs = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let key: String = PREFIX.chars().chain(signs).collect();
    let sha256: String = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    let or = |values: Vec<String>, default: String| if values.is_empty() { vec![default] } else { values };
    let gateways = arguments.gateways.iter().map(ToString::to_string).collect();
    let scopes = if arguments.scopes.is_empty() { &[Scope::Run, Scope::Read][..] } else { &arguments.scopes };
    NewKey {
        name: arguments.name.clone().unwrap_or_else(|| format!("key-{}", &sha256[..8])),
        gateways: or(gateways, Gateway::default().to_string()),
        scopes: scopes.iter().map(|scope| scope.as_str()).collect(),
        key,
        sha256,
    }
}

/// Renders the key's block for the configuration. It begins with an empty line: the file before it may not end with one.
fn block(new_key: &NewKey) -> String {
    let quoted = |texts: &[&str]| toml::Value::from(texts.to_vec()).to_string();
    let gateways: Vec<&str> = new_key.gateways.iter().map(String::as_str).collect();
    let name = toml::Value::from(new_key.name.as_str());
    let (gateways, scopes) = (quoted(&gateways), quoted(&new_key.scopes));
    format!("\n[[keys]]\nname = {name}\nsha256 = \"{}\"\ngateways = {gateways}\nscopes = {scopes}", new_key.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::policy::access::authenticate;

    fn arguments(name: Option<&str>, gateways: &[&str], scopes: &[Scope]) -> NewKeyArguments {
        let gateways = gateways.iter().map(|gateway| gateway.parse().unwrap()).collect();
        NewKeyArguments { name: name.map(str::to_owned), gateways, scopes: scopes.to_vec(), json: false }
    }

    #[test]
    fn the_block_lets_the_key_in_as_it_was_asked_for() {
        for (given, name, gateways, scopes) in [
            (arguments(None, &[], &[]), None, &["default"][..], &[Scope::Run, Scope::Read][..]),
            (
                arguments(Some("a \"b\"\n\\"), &["x", "y"], &[Scope::Admin]),
                Some("a \"b\"\n\\"),
                &["x", "y"],
                &[Scope::Admin],
            ),
        ] {
            let new_key = make(&given, &std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap()));
            let text = block(&new_key);
            assert!(!text.contains(&new_key.key) && !text.contains(&new_key.key[PREFIX.len()..]));
            // The file before it may end in the middle of a line.
            let config: Config = toml::from_str(&format!("server.drain_s = 1{text}")).unwrap();
            let access = authenticate(&config, Some(&new_key.key)).unwrap();
            assert!(name.is_none_or(|name| &*access.name == name), "{}", access.name);
            assert_eq!(access.scopes, scopes);
            let known: Vec<String> = access.gateways.unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(known, gateways);
            assert!(authenticate(&config, Some(&new_key.sha256)).is_err(), "the digest is no key");
        }
    }

    #[test]
    fn a_key_has_more_than_192_bits_and_a_form_of_its_own() {
        let signs: std::collections::BTreeSet<u8> = ALPHABET.iter().copied().collect();
        assert!(signs.len() == 32 && RANDOM_CHARS * 5 >= 192);
        let new_key = make(&arguments(None, &[], &[]), &[255; RANDOM_CHARS]);
        assert!(new_key.key.starts_with("fb_") && new_key.key.len() == 3 + RANDOM_CHARS, "{}", new_key.key);
    }
}
