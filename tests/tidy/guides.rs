//! The sizes of README.md and of the guides in `src/guide`, and where their links lead.
//!
//! Their code blocks are checked by `scripts/guide_blocks.py`.

use crate::source::{File, Tree};

const README_LINES_MAX: usize = 200;
const GUIDE_LINES_MIN: usize = 50;
const GUIDE_LINES_MAX: usize = 300;

fn is_guide(file: &File) -> bool {
    file.path.starts_with("src/guide/") && file.path.ends_with(".md")
}

fn documents(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.path == "README.md" || is_guide(file))
}

pub(crate) fn a_guide_is_short(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    let (min, max) = match file.path.as_str() {
        "README.md" => (1, README_LINES_MAX),
        _ if is_guide(file) => (GUIDE_LINES_MIN, GUIDE_LINES_MAX),
        _ => return Vec::new(),
    };
    let fits = (min..=max).contains(&lines);
    (!fits).then(|| format!("{}: {lines} lines; must be {min} to {max}", file.path)).into_iter().collect()
}

/// `[text](address)`: files and headings that a document's relative links lead to are there.
pub(crate) fn links_lead_somewhere(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for document in documents(tree) {
        for (number, address) in links(&document.text) {
            if address.contains("://") || address.starts_with("mailto:") {
                continue;
            }
            let (path, heading) =
                address.split_once('#').map_or((address, None), |(path, heading)| (path, Some(heading)));
            let target = if path.is_empty() { document.path.clone() } else { resolve(&document.path, path) };
            let folder = format!("{target}/");
            let is_there = tree.files.iter().any(|file| file.path == target || file.path.starts_with(&folder));
            let has_heading =
                |heading: &str| tree.file(&target).is_some_and(|file| anchors(&file.text).any(|a| a == heading));
            if !is_there || heading.is_some_and(|heading| !has_heading(heading)) {
                complaints.push(format!("{}:{number}: `{address}` leads nowhere", document.path));
            }
        }
    }
    complaints
}

/// Lines outside code blocks, each with its number from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence = "";
    text.lines().enumerate().filter_map(move |(number, line)| {
        let marks = &line.trim_start()[..line.trim_start().bytes().take_while(|byte| *byte == b'`').count()];
        let is_fence = marks.len() >= 3;
        if is_fence && fence.is_empty() {
            fence = marks;
        } else if is_fence && marks.len() >= fence.len() {
            fence = "";
        } else if fence.is_empty() {
            return Some((number + 1, line));
        }
        None
    })
}

fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let of_line = |line: &'_ str| line.split("](").count() > 1;
    prose(text).filter(move |(_, line)| of_line(line)).flat_map(|(number, line)| {
        line.split("](").skip(1).filter_map(move |rest| Some((number, rest.split_once(')')?.0)))
    })
}

/// The names by which a document's headings can be linked to, as GitHub makes them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = prose(text).filter_map(|(_, line)| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    headings.map(|heading| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    })
}

/// Where the relative address `path` leads from the file `from`.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}
