//! What is wrong with a configuration, and where.
//!
//! Owns places: a line of the file or the name of an environment variable. Promises that no message
//! quotes a value of the file: it could be a secret.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

/// The way to a key: `["providers", "x", "kind"]`; places in arrays are numbers.
pub(super) type Path = Vec<String>;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// `forebay.toml:12`, `FOREBAY__SERVER__LISTEN`, or the file alone.
    pub place: String,
    /// The key, for example `providers.x.kind`; empty when it is the file as a whole.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

/// The place in which each key was set.
#[derive(Debug, Default)]
pub(super) struct Places {
    file: String,
    places: BTreeMap<Path, String>,
}

impl Places {
    /// The places of the keys of `text`, which was read from `file`.
    pub(super) fn of_file(file: &str, text: &str, table: &DeTable<'_>) -> Places {
        let mut places = Places { file: file.to_owned(), places: BTreeMap::new() };
        places.visit(&mut Vec::new(), text, table);
        places
    }

    fn visit(&mut self, path: &mut Path, text: &str, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            path.push(key.get_ref().to_string());
            self.places.insert(path.clone(), line(&self.file, text, key.span().start));
            self.visit_value(path, text, value.get_ref());
            path.pop();
        }
    }

    fn visit_value(&mut self, path: &mut Path, text: &str, value: &DeValue<'_>) {
        if let DeValue::Table(table) = value {
            self.visit(path, text, table);
        }
        for (index, item) in value.as_array().into_iter().flat_map(|items| items.iter().enumerate()) {
            path.push(index.to_string());
            self.places.insert(path.clone(), line(&self.file, text, item.span().start));
            self.visit_value(path, text, item.get_ref());
            path.pop();
        }
    }

    /// Records that the environment variable `name` sets `path`, and everything below it.
    pub(super) fn override_with(&mut self, path: &Path, name: &str) {
        self.places.retain(|known, _| !known.starts_with(path));
        self.places.insert(path.clone(), name.to_owned());
    }

    /// Makes a problem with the key at `path`; its place is where that key, or its nearest parent, was set.
    pub(super) fn problem(&self, path: &[String], message: impl Into<String>) -> Problem {
        let place = (0..=path.len()).rev().find_map(|length| self.places.get(&path[..length]));
        Problem {
            place: place.unwrap_or(&self.file).clone(),
            key: path.iter().enumerate().map(|(index, key)| segment(index, key)).collect(),
            message: message.into(),
        }
    }
}

/// Returns the place of `offset` in the file, such as `forebay.toml:12`.
pub(super) fn line(file: &str, text: &str, offset: usize) -> String {
    let before = text.as_bytes().iter().take(offset);
    format!("{file}:{}", before.filter(|byte| **byte == b'\n').count() + 1)
}

fn segment(index: usize, key: &str) -> String {
    let dot = if index == 0 { "" } else { "." };
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { format!("{dot}{key}") } else { format!("{dot}{key:?}") }
}

/// A decoder's message without the value that it quotes: `invalid type: string "sk-…", expected u16`
/// becomes `must be u16, not a string`.
pub(super) fn without_value(message: &str) -> String {
    let known = ["invalid type: ", "invalid value: "].iter().find_map(|prefix| message.strip_prefix(prefix));
    let Some((what, expected)) = known.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let kind = what.split(['"', '`']).next().unwrap_or_default().trim();
    match kind {
        "integer" if message.starts_with("invalid value") => format!("is out of range: must be {expected}"),
        "" => format!("must be {expected}"),
        "integer" => format!("must be {expected}, not an integer"),
        kind => format!("must be {expected}, not a {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_not_quote_the_value() {
        for (message, expected) in [
            (r#"invalid type: string "sk-1", expected u16"#, "must be u16, not a string"),
            (r#"invalid type: string "a, expected b", expected a map"#, "must be a map, not a string"),
            ("invalid type: integer `12345`, expected a string", "must be a string, not an integer"),
            ("invalid value: integer `-1`, expected u64", "is out of range: must be u64"),
            ("invalid type: floating point `1.5`, expected u64", "must be u64, not a floating point"),
            ("invalid type: map, expected a string", "must be a string, not a map"),
            ("unknown field `x`, expected `y`", "unknown field `x`, expected `y`"),
        ] {
            assert_eq!(without_value(message), expected);
        }
    }
}
