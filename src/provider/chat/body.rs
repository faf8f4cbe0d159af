//! Writes a JSON object field by field, in order, with raw values as they came.

use bytes::Bytes;
use serde::Serialize;

/// A JSON object under construction.
#[derive(Debug)]
pub struct Body(String);

impl Default for Body {
    fn default() -> Body {
        Body::with_capacity(256)
    }
}

impl Body {
    /// Creates an empty object with space for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Body {
        let mut text = String::with_capacity(bytes + 2);
        text.push('{');
        Body(text)
    }

    /// Adds a field to the object.
    pub fn put(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> &mut Body {
        self.name(name);
        self.0.push_str(&serde_json::to_string(value).expect("plain data is JSON"));
        self
    }

    /// Adds a field if there is a value.
    pub fn put_some(&mut self, name: &str, value: Option<impl Serialize>) -> &mut Body {
        if let Some(value) = value {
            self.put(name, &value);
        }
        self
    }

    /// Adds a field whose value is JSON text.
    pub fn put_json(&mut self, name: &str, json: &str) -> &mut Body {
        self.name(name);
        self.0.push_str(json);
        self
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// The object as text.
    #[must_use]
    pub fn into_json(mut self) -> String {
        self.0.push('}');
        self.0
    }

    /// The object as bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.into_json().into()
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
    }
}

/// A text as JSON.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}
