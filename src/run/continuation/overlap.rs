//! Where a new text goes on from an old one: pure, on what has come so far of the new one.
//!
//! Words are what blanks and punctuation part; in scripts that part no words, every character is
//! one. A blank is as good as any other blank, a straight quote as a curly one: a model that repeats
//! words sets them anew.

/// Words of an anchor: enough to be found again, few enough to be repeated without a slip.
const ANCHOR_WORDS_MAX: usize = 8;
/// Characters of an anchor.
const ANCHOR_CHARS_MAX: usize = 80;
/// Characters of an anchor where words do not help to choose it: they are too long, or not parted.
const ANCHOR_CHARS: usize = 40;
/// Characters of words that are an anchor: fewer are too easily said by chance.
const ANCHOR_CHARS_MIN: usize = 12;
/// Characters of an overlap that is no whole word of the new text: fewer are by chance.
const CHARS_MIN: usize = 3;
/// Bytes of the old text's end in which an overlap may begin: a model that repeats more than it was
/// asked to repeats a sentence or a paragraph.
pub(super) const OLD_BYTES_MAX: usize = 2 * 1024;
/// Bytes of the new text after which nothing more is waited for: those of the old, and room for
/// quotes and other blanks.
const NEW_BYTES_MAX: usize = 2 * OLD_BYTES_MAX;
/// Quotes by which a model may set the repeated words off.
const QUOTES: &[(char, char)] =
    &[('"', '"'), ('\'', '\''), ('`', '`'), ('«', '»'), ('“', '”'), ('‘', '’'), ('„', '“'), ('「', '」')];

/// What is known of an overlap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overlap {
    /// So many bytes of the new text say what the old one had said.
    Of(usize),
    /// More of the new text will tell.
    Undecided,
    /// There is none.
    Nothing,
}

/// The last words of a text without blanks at its end: what a model is asked to repeat.
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

/// How much of `new` repeats the end of `old`, which has no blanks at its end. The anchor counts
/// before anything longer: it is what was asked for. `is_whole`: nothing follows `new`.
pub(super) fn find(old: &str, new: &str, is_whole: bool) -> Overlap {
    let is_whole = is_whole || new.len() > NEW_BYTES_MAX;
    let undecided = if is_whole { Overlap::Nothing } else { Overlap::Undecided };
    let said = new.trim_start_matches(sets_off);
    let lead = &new[..new.len() - said.len()];
    if said.is_empty() {
        return undecided;
    }
    let window = old.ceil_char_boundary(old.len().saturating_sub(OLD_BYTES_MAX));
    let first = old.len() - anchor(old).trim_start_matches(sets_off).len();
    for start in std::iter::once(first).chain(starts(old, window)) {
        match compare(&old[start..], said) {
            Compared::Other => {}
            Compared::Begins if is_whole => {}
            Compared::Begins => return Overlap::Undecided,
            Compared::Whole(end) => {
                let rest = &said[end..];
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

/// Whether a blank must part two texts that say nothing of it.
pub(super) fn wants_blank(old: &str, new: &str) -> bool {
    let begins = |c: char| (c.is_alphanumeric() || c == '_') && !is_dense(c);
    let ends = |c: char| is_word(c) && !is_dense(c);
    old.chars().next_back().is_some_and(ends) && new.chars().next().is_some_and(begins)
}

/// Whether an overlap is more than chance: a whole word, or a few characters.
fn counts(overlap: &str, rest: &str) -> bool {
    let has_word = overlap.chars().any(char::is_alphanumeric);
    let is_dense_end = overlap.chars().next_back().is_some_and(is_dense);
    let is_inside = wants_blank(overlap, rest);
    has_word && (!(is_inside || is_dense_end) || overlap.chars().nth(CHARS_MIN - 1).is_some())
}

/// Bytes of a closing quote after the repeated words whose opening one stood before them, and is not
/// the old text's own.
fn closing(lead: &str, before: &str, rest: &str) -> usize {
    let pair = lead.chars().rev().find_map(|c| QUOTES.iter().find(|(open, _)| *open == c));
    match pair {
        Some((open, close)) if rest.starts_with(*close) && !before.ends_with(*open) => close.len_utf8(),
        _ => 0,
    }
}

/// Places where a word begins, from `from` on.
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
    /// The new text begins with the old words: they end at this byte of it.
    Whole(usize),
    /// As far as it has come.
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

/// What may stand before repeated words.
fn sets_off(c: char) -> bool {
    c.is_whitespace() || matches!(c, '…' | '.') || QUOTES.iter().any(|(open, _)| *open == c)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '\'' | '’')
}

/// Scripts that part no words: Thai and its neighbours, Chinese, Japanese.
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
