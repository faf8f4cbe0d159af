//! Secrets of the configuration, which are never printed and are read from where they are kept.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A secret text, which is never printed. `env:NAME` and `file:PATH` are resolved where it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Box<str>);

impl Secret {
    /// Reads the secret itself.
    ///
    /// # Errors
    /// Names the variable or file that is missing, never a content.
    pub fn resolve(&self) -> Result<String, String> {
        self.resolve_with(&|name| std::env::var(name).ok())
    }

    /// Reads the secret itself, with the environment passed in.
    ///
    /// # Errors
    /// As [`Secret::resolve`].
    pub fn resolve_with(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        if let Some(name) = self.0.strip_prefix("env:") {
            return env(name).ok_or_else(|| format!("the environment variable {name} is not set"));
        }
        if let Some(path) = self.0.strip_prefix("file:") {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            return Ok(text.trim_end().to_owned());
        }
        Ok(self.0.as_ref().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true, "description": "A secret: `env:NAME`, `file:PATH`, or the text itself."})
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// serde's own messages quote the value that does not fit; these do not.
struct SecretVisitor;

const WANTED: &str = "must be a string";

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.into()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(WANTED))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(WANTED))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(WANTED))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(WANTED))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        Err(A::Error::custom(WANTED))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        Err(A::Error::custom(WANTED))
    }
}
