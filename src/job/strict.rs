//! Strict reading of what others wrote: a whole value, or the field that is wrong and why.
//!
//! Owns how a failure of serde becomes a path and a message. Promises that the path names the field, also
//! where serde names an unknown or missing field in its message alone. What a caller makes of that, and in
//! which words, is the caller's.

use std::fmt::Display;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment};

use super::Failure;

/// The reason why a value could not be read.
#[derive(Debug)]
pub enum ReadError<E> {
    /// The value is not what it must be.
    Value(serde_path_to_error::Error<E>),
    /// Something stands after the value.
    Trailing(E),
}

/// Reads a value of any format.
///
/// # Errors
/// Where the value is wrong, and why.
pub fn read<'de, T, D>(reader: D) -> Result<T, ReadError<D::Error>>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    serde_path_to_error::deserialize(reader).map_err(ReadError::Value)
}

/// Reads one JSON value, after which nothing may stand.
///
/// # Errors
/// Where the value is wrong, and why.
pub fn json<'de, T, R>(mut reader: serde_json::Deserializer<R>) -> Result<T, ReadError<serde_json::Error>>
where
    T: Deserialize<'de>,
    R: serde_json::de::Read<'de>,
{
    let value = read(&mut reader)?;
    reader.end().map_err(ReadError::Trailing)?;
    Ok(value)
}

/// Reads the value of the field `param`, whose own fields may be wrong one by one.
///
/// # Errors
/// `invalid`, naming the field below `param`.
pub fn typed<'a, T: Deserialize<'a>>(value: &'a RawValue, param: &str) -> Result<T, Failure> {
    json(serde_json::Deserializer::from_str(value.get())).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        let path = error.path();
        let place = if matches!(path.as_str(), "." | "?") { param.to_owned() } else { format!("{param}.{path}") };
        Failure::invalid(&place, message)
    })
}

impl<E: Display> ReadError<E> {
    /// Path of the field that is wrong, as serde writes it: `.` is the whole value, `?` an unknown place in it.
    pub fn path(&self) -> String {
        self.serde_path().map_or_else(|| ".".to_owned(), ToString::to_string)
    }

    /// Whether something stands after the value, which itself is right.
    pub fn is_trailing(&self) -> bool {
        matches!(self, ReadError::Trailing(_))
    }

    /// The path, segment by segment.
    pub fn segments(&self) -> impl Iterator<Item = String> {
        let segments = self.serde_path().into_iter().flat_map(Path::iter);
        segments.filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        })
    }

    /// The error of the format itself.
    pub fn inner(&self) -> &E {
        match self {
            ReadError::Value(error) => error.inner(),
            ReadError::Trailing(error) => error,
        }
    }

    fn serde_path(&self) -> Option<&Path> {
        match self {
            ReadError::Value(error) => Some(error.path()),
            ReadError::Trailing(_) => None,
        }
    }
}

impl<E: Display> Display for ReadError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner().fmt(f)
    }
}

/// The first name that a message of serde puts in quotes: of an unknown, missing or doubled field.
pub fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

#[cfg(test)]
mod tests {
    use serde_json::Deserializer;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        inner: Vec<Inner>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        count: u8,
    }

    #[test]
    fn a_wrong_field_is_named_by_its_path() {
        for (text, path, quotes, is_trailing) in [
            (r#"{"inner":[{"count":1},{"count":"x"}]}"#, "inner[1].count", None, false),
            (r#"{"inner":[{"count":300}]}"#, "inner[0].count", None, false),
            (r#"{"inner":[{"count":1,"more":1}]}"#, "inner[0].more", Some("more"), false),
            (r#"{"inner":[{}]}"#, "inner[0]", Some("count"), false),
            (r#"{"inner":[],"inner":[]}"#, ".", Some("inner"), false),
            ("{}", ".", Some("inner"), false),
            (r#"{"inner":[]} x"#, ".", None, true),
            ("{", "?", None, false),
        ] {
            let error = json::<Outer, _>(Deserializer::from_str(text)).expect_err(text);
            let message = error.to_string();
            let quotes_shown = quoted(&message).filter(|_| !message.starts_with("invalid"));
            assert_eq!(
                (error.path().as_str(), quotes_shown, error.is_trailing()),
                (path, quotes, is_trailing),
                "{text}"
            );
        }
        assert!(json::<Outer, _>(Deserializer::from_str(r#" {"inner":[{"count":1}]} "#)).is_ok());
    }

    #[test]
    fn a_field_of_a_field_is_named_with_both() {
        let value = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let failure = typed::<Outer>(&value(r#"{"inner":[{"count":-1}]}"#), "tools").unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("tools.inner[0].count"));
        assert!(!failure.message.contains(" at line "), "{failure}");
        assert_eq!(typed::<Outer>(&value("7"), "tools").unwrap_err().param.as_deref(), Some("tools"));
    }
}
