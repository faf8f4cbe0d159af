//! The tree as the rules read it: files, and Rust source without what is not code.
//!
//! Owns the walk and a small tokenizer. Promises that blanked text keeps its lines. Does not parse
//! Rust: a rule sees words and punctuation.

use std::ops::Range;
use std::path::Path;

/// A text file of the project.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// Text of the whole file.
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns whether the file is compiled into the library or binary, tests aside.
    pub(crate) fn is_product(&self) -> bool {
        self.is_rust() && self.path.starts_with("src/") && !self.path.ends_with("_tests.rs")
    }

    /// The first directory or module below `src`: `src/log/reader.rs` and `src/log.rs` are in `log`.
    pub(crate) fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        below.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }
}

/// The project: what is in its root, and every text file below it that is not ignored.
pub(crate) struct Tree {
    pub(crate) entries: Vec<String>,
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the project below `root`.
    pub(crate) fn read(root: &Path) -> Tree {
        let ignored = std::fs::read_to_string(root.join(".gitignore")).expect("the project has a .gitignore");
        let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).chain([".git"]).collect();
        let mut tree = Tree { entries: Vec::new(), files: Vec::new() };
        walk(root, "", &ignored, &mut tree);
        tree.entries.sort();
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn walk(folder: &Path, prefix: &str, ignored: &[&str], tree: &mut Tree) {
    for entry in std::fs::read_dir(folder).expect("the project can be read") {
        let entry = entry.expect("the project can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        if ignored.contains(&name.as_str()) {
            continue;
        }
        if prefix.is_empty() {
            tree.entries.push(name.clone());
        }
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("an entry has a type").is_dir() {
            walk(&entry.path(), &format!("{path}/"), ignored, tree);
        } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
            tree.files.push(File { path, text });
        }
    }
}

/// A part of Rust source that is not code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A comment with its marks.
    Comment,
    /// A string literal with its quotes.
    Text,
    /// A character literal with its quotes.
    Character,
}

/// Finds the comments, strings and character literals of Rust source, in order.
pub(crate) fn spans(source: &str) -> Vec<(Range<usize>, Kind)> {
    let bytes = source.as_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (end, kind) = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => (end_of_line(bytes, at), Kind::Comment),
            b'/' if bytes[at..].starts_with(b"/*") => (end_of_block(bytes, at), Kind::Comment),
            b'"' => (end_of_string(bytes, at), Kind::Text),
            b'r' if is_raw(bytes, at) => (end_of_raw(bytes, at), Kind::Text),
            b'\'' => (end_of_char(bytes, at), Kind::Character),
            _ => (at, Kind::Text),
        };
        if end > at {
            spans.push((at..end, kind));
        }
        at = end.max(at + 1);
    }
    spans
}

/// Returns Rust source with comments, strings and character literals blanked; lines stay where they are.
pub(crate) fn code_of(source: &str) -> String {
    let mut code = source.as_bytes().to_vec();
    for (span, _) in spans(source) {
        for byte in &mut code[span] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at)
}

fn end_of_block(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn is_raw(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| bytes[before]);
    let word_goes_on = before.is_some_and(|byte| byte != b'b' && (byte.is_ascii_alphanumeric() || byte == b'_'));
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    !word_goes_on && bytes.get(at + 1 + hashes) == Some(&b'"')
}

fn end_of_raw(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = at + 2 + hashes;
    let length = bytes[body..].windows(close.len()).position(|window| window == close);
    length.map_or(bytes.len(), |length| body + length + close.len())
}

/// `'a'` and `'\n'` are literals, `'a` is a lifetime.
fn end_of_char(bytes: &[u8], at: usize) -> usize {
    match &bytes[at..] {
        [b'\'', b'\\', ..] => {
            let close = bytes[(at + 3).min(bytes.len())..].iter().position(|byte| *byte == b'\'');
            close.map_or(bytes.len(), |close| at + 4 + close)
        }
        [b'\'', _, b'\'', ..] => at + 3,
        // One character of two to four bytes.
        [b'\'', first, rest @ ..] if *first >= 0x80 => {
            rest.iter().take(4).position(|byte| *byte == b'\'').map_or(at, |close| at + 3 + close)
        }
        _ => at,
    }
}

/// Code without the items under `#[cfg(test)]`: the part that the rules on imports and libraries read.
pub(crate) fn product_code(source: &str) -> String {
    let mut code = code_of(source);
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = end_of_item(code.as_bytes(), start);
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// Where the item ends that begins at `start`: at its `;`, or at the brace that closes it.
fn end_of_item(code: &[u8], start: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.iter().enumerate().skip(start) {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Words and punctuation of blanked code, `::` as one, each with its line from 1.
pub(crate) fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            found.push((number + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    found
}
