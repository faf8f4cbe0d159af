//! Plain words: doc comments that are sentences, and words that a reader would have to decode.
//!
//! Owns the banned words, each with the sentence of a reviewer, and the ratchet: how many complaints
//! each module may still have. Words in code marks and in literals without a space are names, not prose.

use std::collections::BTreeMap;

use crate::source::{File, Kind, Tree, code_of, spans, tokens};

/// The fewest words of a doc comment's first sentence.
const DOC_WORDS_MIN: usize = 4;

/// Complaints that each module may still have: short doc comments, and banned words. The numbers only
/// go down; a module that is not here may have none.
const ALLOWED: &[(&str, usize, usize)] = &[];

/// Words and phrases that prose does not use, and why.
const BANNED: &[(&str, &str)] = &[
    ("nobody", "name the role that does not do it: no reader, no submitter, no provider, no operator"),
    ("somebody", "name the role: a reader, a submitter, a provider, an operator"),
    ("anybody", "name the role: any reader, any client"),
    ("everybody", "name the role: every reader, every client"),
    ("whoever", "name the role: the reader that, the client that"),
    ("our own death", "say: a crash of the broker"),
    ("door", "say entrance, or its name: NATS, WebSocket, HTTP"),
    ("doors", "say entrances, or their names: NATS, WebSocket, HTTP"),
    ("house", "say project"),
    ("rooms", "say modules"),
    // A room without such a word before it is space: "there is no room".
    ("this room", "say module"),
    ("each room", "say module"),
    ("every room", "say module"),
    ("other room", "say module"),
    ("another room", "say module"),
    ("own room", "say module"),
];

/// Names of types that are riddles, and what to name a type after.
const RIDDLES: &[(&str, &str)] = &[
    ("Said", "name it after the raw form that it is: JobRequest, RawUsage, RawError"),
    ("Asked", "name it after the request or the parameters that it is: AttemptParams, RequestAuth"),
    ("Told", "name it after the report that it is: AttemptReport"),
    ("Heard", "name it after the progress or the event that it is"),
    ("TellTale", "name it after the slot or the report that it is: ReportSlot"),
    ("Deaf", "name it after its state: ClosedDecoder"),
    ("Course", "a job being carried out is a run: JobRun"),
    ("Desk", "say which queue it is: AdmissionQueue"),
    ("Board", "say what it holds: Targets"),
    ("Roster", "say what it holds: RunningJobs"),
    ("Passage", "say: Passthrough"),
    ("Visit", "say: RequestContext"),
    ("TakenIn", "say: SubmittedJob"),
    ("Comer", "say: Entry"),
    ("Door", "say Entrance, or what of it the type holds"),
];

/// The first sentence of a doc comment says in at least [`DOC_WORDS_MIN`] words what the item is or does.
///
/// Three words are enough for a verb and its object ("Removes a file."): the item's name is the subject.
pub(crate) fn a_doc_comment_is_a_sentence(file: &File) -> Vec<String> {
    if !file.is_rust() || is_rule(file) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    let mut lines = file.text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let Some(first) = doc_text(line) else { continue };
        let mut text = first.to_owned();
        while let Some(more) = lines.peek().and_then(|(_, line)| doc_text(line)) {
            text += "\n";
            text += more;
            lines.next();
        }
        let sentence = first_sentence(&text);
        // A comment that begins with a heading has no sentence of its own.
        if sentence.starts_with('#') || is_sentence(&sentence) {
            continue;
        }
        complaints.push(format!("{}:{}: `{sentence}` is no sentence: say what it is or does", file.path, number + 1));
    }
    complaints
}

fn doc_text(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("///").filter(|text| !text.starts_with('/')).map(str::trim)
}

/// The first paragraph up to the first full stop outside of code marks.
fn first_sentence(text: &str) -> String {
    let paragraph = text.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let mut in_code = false;
    let mut end = paragraph.len();
    for (at, c) in paragraph.char_indices() {
        in_code ^= c == '`';
        let is_last = paragraph[at + c.len_utf8()..].chars().next().is_none_or(char::is_whitespace);
        if !in_code && is_last && matches!(c, '.' | '!' | '?') {
            end = at + 1;
            break;
        }
    }
    paragraph[..end].to_owned()
}

fn is_sentence(sentence: &str) -> bool {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let is_verb = |word: &str| word.ends_with('s') && !word.ends_with("'s") && !word.ends_with("ss");
    let is_object =
        |word: &str| word.starts_with(['`', '[']) || ["a", "an", "the", "one", "all", "its"].contains(&word);
    words.len() >= DOC_WORDS_MIN || words.len() == 3 && is_verb(words[0]) && is_object(words[1])
}

/// Prose and names of types do without the words that a reader would have to decode.
pub(crate) fn words_are_plain(file: &File) -> Vec<String> {
    if is_rule(file) {
        return Vec::new();
    }
    let prose = prose_of(file);
    let words = words_of(&prose);
    let mut complaints = Vec::new();
    for (phrase, advice) in BANNED {
        let wanted: Vec<&str> = phrase.split(' ').collect();
        for window in words.windows(wanted.len()) {
            if window.iter().map(|(_, word)| word.as_str()).eq(wanted.iter().copied()) {
                complaints.push(format!("{}:{}: `{phrase}`: {advice}", file.path, window[0].0));
            }
        }
    }
    if file.is_rust() {
        let code = code_of(&file.text);
        for pair in tokens(&code).windows(2) {
            let [(_, "struct" | "enum" | "type" | "trait" | "union"), (line, name)] = pair else { continue };
            if let Some((_, advice)) = RIDDLES.iter().find(|(riddle, _)| riddle == name) {
                complaints.push(format!("{}:{line}: `{name}`: {advice}", file.path));
            }
        }
    }
    complaints
}

/// The rules' own files hold the words as examples.
fn is_rule(file: &File) -> bool {
    file.path == "tests/tidy.rs" || file.path == "tests/tidy/words.rs"
}

/// The text of `file` with everything blanked that is not prose; lines stay where they are.
fn prose_of(file: &File) -> String {
    if file.is_rust() {
        let mut prose: Vec<u8> = file.text.bytes().map(|byte| if byte == b'\n' { byte } else { b' ' }).collect();
        for (span, kind) in spans(&file.text) {
            let text = &file.text[span.clone()];
            // A literal without a space is a name.
            if kind == Kind::Comment || kind == Kind::Text && text.contains(' ') {
                prose[span].copy_from_slice(text.as_bytes());
            }
        }
        return without_code(&String::from_utf8_lossy(&prose));
    }
    if file.path.ends_with(".md") {
        return without_code(&without_blocks(&file.text));
    }
    let has_comments = [".toml", ".sh", ".py", ".yaml", ".yml", "Makefile"].iter().any(|end| file.path.ends_with(end));
    let comment = |line: &str| if has_comments && line.trim_start().starts_with('#') { line } else { "" }.to_owned();
    without_code(&file.text.lines().map(comment).collect::<Vec<_>>().join("\n"))
}

/// Markdown with the lines of its code blocks blanked.
fn without_blocks(text: &str) -> String {
    let mut in_block = false;
    let blanked = text.lines().map(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        if in_block || is_fence { "" } else { line }
    });
    blanked.collect::<Vec<_>>().join("\n")
}

/// Text with what stands between two code marks of a line blanked.
fn without_code(text: &str) -> String {
    let blanked = text.lines().map(|line| {
        let parts = line.split('`').enumerate();
        parts.map(|(index, part)| if index % 2 == 0 { part } else { "" }).collect::<Vec<_>>().join(" ` ")
    });
    blanked.collect::<Vec<_>>().join("\n")
}

/// The words of `prose` in lower case, each with its line from 1. A compound with a hyphen or an underscore is one.
fn words_of(prose: &str) -> Vec<(usize, String)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let lines = prose.lines().enumerate();
    let words = lines.flat_map(|(number, line)| line.split(|c| !is_part(c)).map(move |word| (number + 1, word)));
    words.filter(|(_, word)| !word.is_empty()).map(|(line, word)| (line, word.to_lowercase())).collect()
}

/// The module that a file counts for: a directory of `src`, a test crate, or else the file itself.
fn module_of(path: &str) -> String {
    let first = |below: &str| below.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
    match (path.strip_prefix("src/"), path.strip_prefix("tests/")) {
        (Some(below), _) => first(below),
        (_, Some(below)) => format!("tests/{}", first(below)),
        _ => path.to_owned(),
    }
}

/// Each module has no more complaints about its words than it is allowed, and no higher allowance than it needs.
pub(crate) fn words_get_plainer(tree: &Tree) -> Vec<String> {
    let mut found: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    for file in &tree.files {
        let [docs, words] = found.entry(module_of(&file.path)).or_default();
        docs.extend(a_doc_comment_is_a_sentence(file));
        words.extend(words_are_plain(file));
    }
    over_allowance(&found, ALLOWED)
}

/// The complaints of the modules that have more than `allowed`.
pub(crate) fn over_allowance(
    found: &BTreeMap<String, [Vec<String>; 2]>,
    allowed: &[(&str, usize, usize)],
) -> Vec<String> {
    let none = [Vec::new(), Vec::new()];
    let mut complaints = Vec::new();
    let unknown = found.keys().filter(|name| !allowed.iter().any(|(known, ..)| known == name));
    let rows = allowed.iter().copied().chain(unknown.map(|name| (name.as_str(), 0, 0)));
    for (module, docs_max, words_max) in rows {
        let counted = found.get(module).unwrap_or(&none);
        for (list, most) in counted.iter().zip([docs_max, words_max]) {
            if list.len() > most {
                complaints.extend(list.iter().map(|complaint| format!("{complaint} (`{module}` may have {most})")));
            }
        }
        let [docs, words] = counted.each_ref().map(Vec::len);
        if docs < docs_max || words < words_max {
            complaints.push(format!("tests/tidy/words.rs: lower ALLOWED to (\"{module}\", {docs}, {words})"));
        }
    }
    complaints
}
