//! Names: of jobs, gateways, models, streams and epochs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Failure;
use super::caps::{ID_BYTES_MAX, MODEL_BYTES_MAX};

/// Returns whether `text` is 1–64 bytes of `[A-Za-z0-9_-]`: safe as a NATS subject token, a URL segment
/// and a file name.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Failure;
            /// # Errors
            /// `invalid`, naming the field, unless 1–64 of `[A-Za-z0-9_-]`.
            fn from_str(text: &str) -> Result<Self, Failure> {
                if is_token(text) {
                    return Ok(Self(text.into()));
                }
                Err(Failure::invalid($field, "must be 1 to 64 characters of A-Z a-z 0-9 _ -"))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Failure;
            fn try_from(text: String) -> Result<Self, Failure> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(token: $name) -> String {
                token.0.into()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"})
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

token!(
    /// A job's id, chosen by the client or else a UUIDv7 that the broker makes. It is unique in the whole
    /// broker, not per gateway: status, cancel and replay name a job by its id alone.
    JobId, "id"
);
token!(
    /// The name of a gateway: a named set of policy.
    Gateway, "gateway"
);

impl Default for Gateway {
    fn default() -> Self {
        Self("default".into())
    }
}

/// A model as the client names it: `provider/model`, `@cf/author/model`, or an alias.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(Box<str>);

impl ModelName {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Splits `openai/gpt-5` into `("openai", "gpt-5")`; `None` for a bare alias. Workers AI's names are
    /// not split.
    #[must_use]
    pub fn split(&self) -> Option<(&str, &str)> {
        if self.0.starts_with("@cf/") || self.0.starts_with("@hf/") {
            return Some(("workers-ai", &self.0));
        }
        self.0.split_once('/')
    }
}

impl FromStr for ModelName {
    type Err = Failure;
    /// # Errors
    /// `invalid`, naming `model`, when empty, over 256 bytes, or holding blanks or control characters.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let printable = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
        if text.is_empty() || text.len() > MODEL_BYTES_MAX || !printable {
            return Err(Failure::invalid("model", "must be 1 to 256 bytes without blanks, for example `openai/gpt-5`"));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for ModelName {
    type Error = Failure;
    fn try_from(text: String) -> Result<Self, Failure> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> String {
        name.0.into()
    }
}

impl schemars::JsonSchema for ModelName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ModelName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MODEL_BYTES_MAX,
            "pattern": r"^\S+$",
            "description": "`provider/model`, `@cf/author/model`, or an alias."
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The log's own name of a stream: a UUIDv7, so that keys are ordered by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StreamId(pub [u8; 16]);

impl StreamId {
    /// Generates a new id for this millisecond.
    #[must_use]
    pub fn generate() -> StreamId {
        StreamId(uuid::Uuid::now_v7().into_bytes())
    }

    /// Returns the job id for a job whose client chose none.
    #[must_use]
    pub fn to_job_id(self) -> JobId {
        JobId(uuid::Uuid::from_bytes(self.0).to_string().into())
    }
}

/// The epoch of a stream, which every cursor names. Another stream under a reused id has another epoch,
/// and so has a stream of which recovery had to drop something that a reader could have seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_token_and_nothing_else() {
        for good in ["a", "01J9Z", "turn-17_b", &"x".repeat(64)] {
            assert!(good.parse::<JobId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a.b", "a/b", "ä", "a*", "\0", &"x".repeat(65)] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_model_splits_at_its_first_slash_only() {
        let split = |name: &str| {
            name.parse::<ModelName>().ok().and_then(|m| m.split().map(|(a, b)| (a.to_owned(), b.to_owned())))
        };
        assert_eq!(split("openrouter/meta/llama"), Some(("openrouter".into(), "meta/llama".into())));
        assert_eq!(split("@cf/meta/llama"), Some(("workers-ai".into(), "@cf/meta/llama".into())));
        assert_eq!(split("smart"), None);
    }
}
