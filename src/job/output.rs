//! Whole outputs: JSON, a few bytes, or a URL to fetch them from.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes that are base64 in text formats and bytes in binary ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Blob(pub Bytes);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine;
        if serializer.is_human_readable() {
            return serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0));
        }
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlobVisitor)
    }
}

struct BlobVisitor;

impl serde::de::Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("base64 text or bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(E::custom)?;
        Ok(Blob(bytes.into()))
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(Bytes::copy_from_slice(bytes)))
    }
}

impl JsonSchema for Blob {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Blob".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "contentEncoding": "base64"})
    }
}

/// The content of an output: exactly one of three.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputBody {
    /// The output as a JSON value.
    Value(Value),
    /// The output's bytes, at most 32 KiB.
    Data(Blob),
    /// The output's URL: ours (`/v1/jobs/{id}/outputs/{index}`) or the provider's.
    Url(Box<str>),
}

/// Fields of the `output` event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Number of the output within the job, from 0.
    pub index: u32,
    /// Media type of the output.
    pub mime: Box<str>,
    /// Hexadecimal SHA-256 of an output that is a file of ours: its name on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Box<str>>,
    /// Content of the output.
    #[serde(flatten)]
    pub body: OutputBody,
}
