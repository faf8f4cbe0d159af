//! Bodies of the requests that are not jobs, read strictly.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::job::strict;
use crate::job::{Code, Failure, JobId};
use crate::wire::Cursor;

/// The body of `forebay.events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsRequest {
    /// Job that the request is about.
    pub(super) id: JobId,
    /// Cursor to read from; absent means from the start.
    #[serde(default)]
    cursor: Option<String>,
}

impl EventsRequest {
    /// Parses the cursor; an absent one is the start.
    ///
    /// # Errors
    /// `bad_cursor`.
    pub(super) fn cursor(&self) -> Result<Cursor, Failure> {
        self.cursor.as_deref().map_or(Ok(Cursor::Start), str::parse)
    }
}

/// The body of `forebay.status` and `forebay.cancel`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobIdRequest {
    /// Job that the request is about.
    pub(super) id: JobId,
}

/// Reads a JSON object. An empty body is an empty object.
///
/// # Errors
/// `invalid`, naming the field where there is one.
pub(super) fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let body = if body.is_empty() { b"{}" } else { body };
    // serde takes an array for a struct, field by field; a client that sends one has it wrong.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Failure::new(Code::Invalid, "the body must be a JSON object"));
    }
    strict::json(serde_json::Deserializer::from_slice(body)).map_err(|error| {
        let (path, message) = (error.path(), error.to_string());
        // serde names an unknown or missing field in its message only.
        let quoted = strict::quoted(&message).filter(|_| !message.starts_with("invalid"));
        match (path.as_str(), quoted) {
            _ if error.is_trailing() => Failure::new(Code::Invalid, format!("after the body: {message}")),
            (".", None) => Failure::new(Code::Invalid, format!("the body is not the JSON it should be: {message}")),
            (".", Some(field)) => Failure::invalid(field, &message),
            (path, _) => {
                Failure::invalid(path, message.strip_prefix(&format!("invalid: {path}: ")).unwrap_or(&message))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, param: Option<&str>) {
        let failure = parse_object::<EventsRequest>(body.as_bytes()).expect_err(body);
        assert_eq!((failure.code, failure.param.as_deref()), (Code::Invalid, param), "{body}: {failure}");
    }

    #[test]
    fn a_wrong_field_is_named() {
        check("", Some("id"));
        check("{}", Some("id"));
        check(r#"{"id":"a b"}"#, Some("id"));
        check(r#"{"id":7}"#, Some("id"));
        check(r#"{"id":"a","cursor":7}"#, Some("cursor"));
        check(r#"{"id":"a","from":7}"#, Some("from"));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for body in ["null", "[1", r#"["a","-1"]"#, "\u{0}", "\"x\"", r#"{"id":"a"} x"#, "7"] {
            check(body, None);
        }
        assert!(parse_object::<EventsRequest>(b"\xff\xfe").is_err());
    }

    #[test]
    fn no_cursor_is_the_start() {
        let request: EventsRequest = parse_object(br#"{"id":"a"}"#).unwrap();
        assert_eq!(request.cursor(), Ok(Cursor::Start));
        let request: EventsRequest = parse_object(br#"{"id":"a","cursor":"soon"}"#).unwrap();
        assert_eq!(request.cursor().map_err(|f| f.code), Err(Code::BadCursor));
    }
}
