//! A job's metadata: few, flat and short tags, so that cost can be broken down by them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::caps::{TAG_KEY_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX};

/// The value of one tag: small, flat and comparable.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum TagValue {
    /// A boolean, `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other finite number.
    Number(f64),
    /// A text of at most 256 bytes.
    Text(Box<str>),
}

impl fmt::Display for TagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TagValue::Bool(value) => value.fmt(f),
            TagValue::Integer(value) => value.fmt(f),
            TagValue::Number(value) => value.fmt(f),
            TagValue::Text(value) => value.fmt(f),
        }
    }
}

/// The tags of a job's `metadata`, by which cost is broken down: at most 32 flat entries, sorted by key.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Tags(BTreeMap<Box<str>, TagValue>);

impl Tags {
    /// Returns the value of one key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&TagValue> {
        self.0.get(key)
    }

    /// Iterates over all entries in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TagValue)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// Returns whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TagsVisitor)
    }
}

struct TagsVisitor;

impl<'de> Visitor<'de> for TagsVisitor {
    type Value = Tags;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a flat object of at most {TAGS_MAX} strings, numbers and booleans")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
        use serde::de::Error;
        let mut tags = BTreeMap::new();
        while let Some(key) = map.next_key::<Box<str>>()? {
            if key.is_empty() || key.len() > TAG_KEY_BYTES_MAX {
                return Err(A::Error::custom(format_args!("a key must be 1 to {TAG_KEY_BYTES_MAX} bytes")));
            }
            let value = map.next_value::<TagValue>().map_err(|_| {
                A::Error::custom(format_args!("`{key}` must be a string, a finite number or a boolean"))
            })?;
            match &value {
                TagValue::Text(text) if text.len() > TAG_VALUE_BYTES_MAX => {
                    return Err(A::Error::custom(format_args!("`{key}` is over {TAG_VALUE_BYTES_MAX} bytes")));
                }
                TagValue::Number(number) if !number.is_finite() => {
                    return Err(A::Error::custom(format_args!("`{key}` must be a finite number")));
                }
                _ => {}
            }
            if tags.len() == TAGS_MAX {
                return Err(A::Error::custom(format_args!("more than {TAGS_MAX} entries")));
            }
            if tags.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is given twice"));
            }
        }
        Ok(Tags(tags))
    }
}

impl schemars::JsonSchema for Tags {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Metadata".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "Flat tags that cost is broken down by.",
            "maxProperties": TAGS_MAX,
            "propertyNames": {"minLength": 1, "maxLength": TAG_KEY_BYTES_MAX},
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "maxLength": TAG_VALUE_BYTES_MAX},
                    {"type": "number"},
                    {"type": "boolean"}
                ]
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_flat_values_are_tags() {
        let read = |text: &str| serde_json::from_str::<Tags>(text);
        assert!(read(r#"{"teamId":"AI","userId":12345,"paid":true,"share":0.5}"#).is_ok());
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(257));
        let many = format!("{{{}}}", (0..33).map(|i| format!("\"k{i}\":1")).collect::<Vec<_>>().join(","));
        for bad in
            [r#"{"a":null}"#, r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#, r#"{"":1}"#, r#"{"a":1,"a":2}"#, "[]", &long, &many]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
