//! The input of a job while it is written: raw values go in as they came.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::job::Failure;
pub(super) use crate::job::strict::typed;

/// A JSON object under construction.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Object {
        Object::with_room(128)
    }

    pub(super) fn with_room(bytes: usize) -> Object {
        let mut json = String::with_capacity(bytes);
        json.push('{');
        Object(json)
    }

    pub(super) fn put(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Object {
        let json = serde_json::to_string(value).expect("plain data is JSON");
        self.add(name, &json);
        self
    }

    pub(super) fn put_some(self, name: &str, value: Option<impl Serialize>) -> Object {
        match value {
            Some(value) => self.put(name, &value),
            None => self,
        }
    }

    /// A value that is JSON text.
    pub(super) fn put_json(mut self, name: &str, json: &str) -> Object {
        self.add(name, json);
        self
    }

    pub(super) fn say(&mut self, name: &str, text: &str) {
        self.add(name, &serde_json::to_string(text).expect("a string is JSON"));
    }

    /// A value that is JSON text.
    pub(super) fn add(&mut self, name: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&serde_json::to_string(name).expect("a string is JSON"));
        self.0.push(':');
        self.0.push_str(json);
    }

    pub(super) fn json(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A JSON list of what is JSON text.
pub(super) fn list(items: &[String]) -> String {
    let mut json = String::with_capacity(items.iter().map(|item| item.len() + 1).sum::<usize>() + 2);
    json.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        json.push_str(item);
    }
    json.push(']');
    json
}

/// Reads an owned value; the error names the field and what it must be.
pub(super) fn read<T: DeserializeOwned>(value: &RawValue, param: &str, wanted: &str) -> Result<T, Failure> {
    serde_json::from_str(value.get()).map_err(|_| Failure::invalid(param, wanted))
}
