//! What the README and the guides must say, and what they may not name.

use crate::source::{File, Tree};

const CONTRIBUTING: &str = "src/guide/contributing.md";
const LOG_MESSAGES: &str = "src/guide/log-messages.md";

fn text<'a>(tree: &'a Tree, path: &str) -> &'a str {
    tree.file(path).map_or("", |file| file.text.as_str())
}

fn documents(tree: &Tree) -> impl Iterator<Item = &File> {
    let is_document = |path: &str| path == "README.md" || path.starts_with("src/guide/") && path.ends_with(".md");
    tree.files.iter().filter(move |file| is_document(&file.path))
}

/// Each target of the Makefile that has a description is in the guide to contributing.
pub(crate) fn contributing_tells_each_target(tree: &Tree) -> Vec<String> {
    let is_name = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let makefile = text(tree, "Makefile").lines();
    let targets = makefile.filter_map(|line| line.split_once(':').filter(|(_, rest)| rest.contains("## ")));
    let targets = targets.map(|(target, _)| target).filter(is_name).filter(|target| *target != "help");
    let told = |target: &str| {
        let mut rests = text(tree, CONTRIBUTING).split("make ").skip(1).filter_map(|rest| rest.strip_prefix(target));
        rests.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
    };
    let missing = targets.filter(|target| !told(target));
    missing.map(|target| format!("{CONTRIBUTING}: says nothing of `make {target}`")).collect()
}

/// `src/log.rs`, `tests/log.rs::a_test`: what a document names in code marks is there.
pub(crate) fn what_a_document_names_exists(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for document in documents(tree) {
        for name in document.text.split('`').skip(1).step_by(2) {
            let (path, test) = name.split_once("::").map_or((name, None), |(path, test)| (path, Some(test)));
            let is_path = ["src/", "tests/", "scripts/", "schemas/"].iter().any(|folder| path.starts_with(folder));
            if !is_path || path.contains(['<', '*', ' ', '{']) {
                continue;
            }
            let folder = format!("{}/", path.trim_end_matches('/'));
            let in_file = |file: &File| test.is_none_or(|test| file.text.contains(&format!("fn {test}(")));
            if !tree.files.iter().any(|file| (file.path == path || file.path.starts_with(&folder)) && in_file(file)) {
                complaints.push(format!("{}: `{name}` does not exist", document.path));
            }
        }
    }
    complaints
}

/// Each line that the broker may log as WARN or ERROR is explained, under its level and its words.
pub(crate) fn each_warning_is_explained(tree: &Tree) -> Vec<String> {
    let guide = text(tree, LOG_MESSAGES).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut complaints = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_product()) {
        for (call, level) in [("tracing::warn!(", "WARN"), ("tracing::error!(", "ERROR")] {
            for (at, _) in file.text.match_indices(call) {
                let line = file.text[..at].matches('\n').count() + 1;
                let Some(message) = message(&file.text[at + call.len()..]) else {
                    complaints.push(format!("{}:{line}: a line of the log without a message", file.path));
                    continue;
                };
                // A message that is a variable's alone has no words of its own.
                if message != "…" && !guide.contains(&format!("**{level}** `{message}`")) {
                    complaints.push(format!("{}:{line}: {LOG_MESSAGES} lacks **{level}** `{message}`", file.path));
                }
            }
        }
    }
    complaints
}

/// The message of a call's arguments, with `…` for each value in it: the first string that is no field's.
fn message(arguments: &str) -> Option<String> {
    let mut parts = arguments.split('"');
    let mut before = parts.next()?;
    loop {
        let string = parts.next()?;
        let is_first = before.trim().is_empty();
        if is_first || before.trim_end().ends_with(',') {
            let words = string.replace("\\\n", " ");
            let mut message = String::new();
            for (index, piece) in words.split('{').enumerate() {
                let rest = if index == 0 { piece } else { piece.split_once('}')?.1 };
                message += if index == 0 { "" } else { "…" };
                message += rest;
            }
            return Some(message.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        before = parts.next()?;
        if before.trim_start().starts_with(')') {
            return None;
        }
    }
}
