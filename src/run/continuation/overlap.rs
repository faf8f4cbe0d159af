//! Finds where a new text continues an old one. Pure: looks at what has come so far of the new text.
//!
//! Words are separated by white space and punctuation; in scripts without separated words, every character
//! counts as one. Any white space equals any other, a straight quote equals a curly one: a model that
//! repeats words sets them anew.

/// Number of words of an anchor: enough to be found again, few enough to be repeated without a mistake.
const ANCHOR_WORDS_MAX: usize = 8;
/// Number of characters of an anchor.
const ANCHOR_CHARS_MAX: usize = 80;
/// Number of characters of an anchor where words do not help to choose it: they are too long, or not
/// separated.
const ANCHOR_CHARS: usize = 40;
/// Number of characters that words of an anchor have at least: fewer occur too easily by chance.
const ANCHOR_CHARS_MIN: usize = 12;
/// Number of characters that an overlap has at least if it is no whole word of the new text: fewer occur by
/// chance.
const CHARS_MIN: usize = 3;
/// Number of bytes of the old text's end in which an overlap may begin: a model that repeats more than it
/// was asked to repeats a sentence or a paragraph.
pub(super) const OLD_BYTES_MAX: usize = 2 * 1024;
/// Number of bytes of the new text after which nothing more is awaited: those of the old one, and room for
/// quotes and other white space.
const NEW_BYTES_MAX: usize = 2 * OLD_BYTES_MAX;
/// The quotes with which a model may mark the repeated words.
const QUOTES: &[(char, char)] =
    &[('"', '"'), ('\'', '\''), ('`', '`'), ('«', '»'), ('“', '”'), ('‘', '’'), ('„', '“'), ('「', '」')];

/// What is known about the overlap of two texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overlap {
    /// The first bytes of the new text, this many, repeat the end of the old one.
    Of(usize),
    /// More of the new text is needed to decide.
    Undecided,
    /// The texts do not overlap.
    Nothing,
}

/// Returns the last words of a text without white space at its end: what a model is asked to repeat.
pub(super) fn anchor(old: &str) -> &str {
    let near = old.char_indices().rev().take(ANCHOR_CHARS_MAX).last().map_or(0, |(at, _)| at);
    let is_start = |at: usize| at == 0 || old[..at].ends_with(char::is_whitespace);
    let starts = old.char_indices().rev().take_while(|(at, _)| *at >= near);
    let words = starts.filter(|(at, c)| !c.is_whitespace() && is_start(*at)).take(ANCHOR_WORDS_MAX);
    let words = words.last().map_or("", |(at, _)| &old[at..]);
    if words.chars().nth(ANCHOR_CHARS_MIN - 1).is_some() {
        return words;
    }
    let start = old.char_indices().rev().take(ANCHOR_CHARS).last().map_or(0, |(at, _)| at);
    old[start..].trim_start()
}

/// Finds how much of `new` repeats the end of `old`, which has no white space at its end. The anchor counts
/// before anything longer: it is what was asked for. `is_whole`: nothing follows `new`.
pub(super) fn find(old: &str, new: &str, is_whole: bool) -> Overlap {
    let is_whole = is_whole || new.len() > NEW_BYTES_MAX;
    let undecided = if is_whole { Overlap::Nothing } else { Overlap::Undecided };
    let unquoted = new.trim_start_matches(sets_off);
    let lead = &new[..new.len() - unquoted.len()];
    if unquoted.is_empty() {
        return undecided;
    }
    let window = old.ceil_char_boundary(old.len().saturating_sub(OLD_BYTES_MAX));
    let first = old.len() - anchor(old).trim_start_matches(sets_off).len();
    for start in std::iter::once(first).chain(starts(old, window)) {
        match compare(&old[start..], unquoted) {
            Compared::Other => {}
            Compared::Begins if is_whole => {}
            Compared::Begins => return Overlap::Undecided,
            Compared::Whole(end) => {
                let rest = &unquoted[end..];
                if rest.is_empty() && !is_whole {
                    return Overlap::Undecided;
                }
                if counts(&old[start..], rest) {
                    let closing = closing(lead, &old[..start], rest);
                    return Overlap::Of(lead.len() + end + closing);
                }
            }
        }
    }
    Overlap::Nothing
}

/// Returns whether white space must separate two texts that have none between them.
pub(super) fn wants_blank(old: &str, new: &str) -> bool {
    let begins = |c: char| (c.is_alphanumeric() || c == '_') && !is_dense(c);
    let ends = |c: char| is_word(c) && !is_dense(c);
    old.chars().next_back().is_some_and(ends) && new.chars().next().is_some_and(begins)
}

/// Returns whether an overlap is more than chance: a whole word, or several characters.
fn counts(overlap: &str, rest: &str) -> bool {
    let has_word = overlap.chars().any(char::is_alphanumeric);
    let is_dense_end = overlap.chars().next_back().is_some_and(is_dense);
    let is_inside = wants_blank(overlap, rest);
    has_word && (!(is_inside || is_dense_end) || overlap.chars().nth(CHARS_MIN - 1).is_some())
}

/// Number of bytes of a closing quote after the repeated words whose opening one stood before them and is
/// not the old text's own.
fn closing(lead: &str, before: &str, rest: &str) -> usize {
    let pair = lead.chars().rev().find_map(|c| QUOTES.iter().find(|(open, _)| *open == c));
    match pair {
        Some((open, close)) if rest.starts_with(*close) && !before.ends_with(*open) => close.len_utf8(),
        _ => 0,
    }
}

/// Returns the positions at which a word begins, from `from` on.
fn starts(text: &str, from: usize) -> impl Iterator<Item = usize> {
    text[from..].char_indices().map(move |(at, c)| (from + at, c)).filter_map(move |(at, c)| {
        let before = text[..at].chars().next_back();
        let begins = before.is_none_or(|before| {
            before.is_whitespace() || is_word(before) != is_word(c) || is_dense(before) || is_dense(c)
        });
        (!c.is_whitespace() && begins).then_some(at)
    })
}

enum Compared {
    /// The new text begins with the old words, which end at this byte of it.
    Whole(usize),
    /// The new text equals the old words as far as it has come.
    Begins,
    Other,
}

fn compare(old: &str, new: &str) -> Compared {
    let mut old = old.chars().peekable();
    let mut came = new.char_indices().peekable();
    while let Some(wanted) = old.next() {
        let Some((_, c)) = came.next() else { return Compared::Begins };
        if wanted.is_whitespace() && c.is_whitespace() {
            while old.next_if(|c| c.is_whitespace()).is_some() {}
            while came.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        } else if straight(wanted) != straight(c) {
            return Compared::Other;
        }
    }
    Compared::Whole(came.peek().map_or(new.len(), |(at, _)| *at))
}

/// Returns whether a character may stand before repeated words.
fn sets_off(c: char) -> bool {
    c.is_whitespace() || matches!(c, '…' | '.') || QUOTES.iter().any(|(open, _)| *open == c)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '\'' | '’')
}

/// Returns whether a script does not separate words: Thai and its neighbours, Chinese, Japanese.
fn is_dense(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x2E80..=0xA4CF
        | 0xF900..=0xFAFF | 0xFE30..=0xFE4F | 0xFF00..=0xFFEF | 0x20000..=0x3FFFF)
}

fn straight(c: char) -> char {
    match c {
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        c => c,
    }
}
