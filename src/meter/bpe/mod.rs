//! Counts the tokens of a text as OpenAI's byte-pair encodings cut it.
//!
//! Owns the two vocabularies and the rule that merges bytes into tokens. A vocabulary is OpenAI's published one with
//! its tokens in the order of their rank, each as one byte of length and its bytes: 2.3 MB in the program for both.
//! Promises the count that OpenAI's tokenizer has, in time that grows with the text's length, whatever the
//! text is. Does not give the tokens themselves: nothing needs them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

/// The longest piece that is merged at once. A longer one (a word of 16 KiB) is cut, which bounds the memory and the
/// time of a count, and may add one token at each cut.
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// No token of either vocabulary is longer.
const TOKEN_BYTES_MAX: usize = 128;
/// The pattern whose last character belongs to the next piece: white space before a word leaves one space to it.
const LOOKAHEAD: usize = 1;

static CL100K: LazyLock<Encoding> = LazyLock::new(|| {
    Encoding::new(
        include_bytes!("cl100k.tokens"),
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
            r"[^\r\n\p{L}\p{N}]?\p{L}+",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*",
            r"\s*[\r\n]+",
            r"\s+$",
        ],
    )
});

static O200K: LazyLock<Encoding> = LazyLock::new(|| {
    Encoding::new(
        include_bytes!("o200k.tokens"),
        &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+$",
        ],
    )
});

/// Returns the encoding of OpenAI's older models.
pub(super) fn cl100k() -> &'static Encoding {
    &CL100K
}

/// Returns the encoding of OpenAI's newer models.
pub(super) fn o200k() -> &'static Encoding {
    &O200K
}

/// A byte-pair encoding: how a text is cut into pieces, and which bytes of a piece merge first.
pub(super) struct Encoding {
    ranks: HashMap<&'static [u8], u32, BuildHasherDefault<WordHash>>,
    pieces: Regex,
}

impl Encoding {
    fn new(vocabulary: &'static [u8], words: &[&str]) -> Encoding {
        let mut ranks = HashMap::with_capacity_and_hasher(vocabulary.len() / 7, BuildHasherDefault::default());
        let mut rest = vocabulary;
        while let Some((&length, tokens)) = rest.split_first() {
            let (token, tokens) = tokens.split_at(usize::from(length));
            ranks.insert(token, ranks.len() as u32);
            rest = tokens;
        }
        let pieces = Regex::new_many(&[&words.join("|"), r"\s+\s", r"\s+"]).expect("the patterns are constants");
        Encoding { ranks, pieces }
    }

    /// Returns how many tokens the text has.
    pub(super) fn count(&self, text: &str) -> usize {
        let (mut count, mut rest) = (0, text);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.piece_bytes(rest));
            count += piece.as_bytes().chunks(PIECE_BYTES_MAX).map(|chunk| self.count_piece(chunk)).sum::<usize>();
            rest = after;
        }
        count
    }

    /// Returns the length of the first piece of a text that is not empty.
    fn piece_bytes(&self, text: &str) -> usize {
        let found = self.pieces.find(Input::new(text).anchored(Anchored::Yes));
        // The patterns match at any character; one that they miss would be a piece of its own.
        let Some(found) = found else { return text.chars().next().map_or(0, char::len_utf8) };
        match found.pattern().as_usize() {
            LOOKAHEAD => text[..found.end()].char_indices().next_back().map_or(found.end(), |(last, _)| last),
            _ => found.end(),
        }
    }

    fn rank(&self, bytes: &[u8]) -> Option<u32> {
        if bytes.len() > TOKEN_BYTES_MAX { None } else { self.ranks.get(bytes).copied() }
    }

    /// Merges neighbours, the pair of the lowest rank first and of equal ones the leftmost, until no pair is a token.
    fn count_piece(&self, piece: &[u8]) -> usize {
        if self.rank(piece).is_some() {
            return 1;
        }
        let mut parts = Parts::of_single_bytes(piece.len());
        let mut pairs = BinaryHeap::with_capacity(piece.len());
        let offer = |pairs: &mut BinaryHeap<_>, start: usize, middle: usize, end: usize| {
            if let Some(rank) = self.rank(&piece[start..end]) {
                pairs.push(Reverse((rank, start as u32, middle as u32, end as u32)));
            }
        };
        for start in 1..piece.len() {
            offer(&mut pairs, start - 1, start, start + 1);
        }
        while let Some(Reverse((_, start, middle, end))) = pairs.pop() {
            let (start, middle, end) = (start as usize, middle as usize, end as usize);
            if !parts.is_pair(start, middle, end) {
                continue; // One of the two has been merged with another part since.
            }
            parts.merge(start, middle, end);
            if start > 0 {
                offer(&mut pairs, parts.start_before(start), start, end);
            }
            if end < piece.len() {
                offer(&mut pairs, start, end, parts.ends[end] as usize);
            }
        }
        parts.count
    }
}

/// The parts of a piece: a list linked both ways, in which a part is known by the index of its first byte.
struct Parts {
    /// Where the part that starts at an index ends; 0 where no part starts.
    ends: Vec<u32>,
    /// Where the part starts that ends at an index.
    starts: Vec<u32>,
    count: usize,
}

impl Parts {
    fn of_single_bytes(bytes: usize) -> Parts {
        let ends = (1..=bytes as u32).collect();
        let starts = std::iter::once(0).chain(0..bytes as u32).collect();
        Parts { ends, starts, count: bytes }
    }

    fn is_pair(&self, start: usize, middle: usize, end: usize) -> bool {
        self.ends[start] as usize == middle && self.ends[middle] as usize == end
    }

    fn merge(&mut self, start: usize, middle: usize, end: usize) {
        self.ends[middle] = 0;
        self.ends[start] = end as u32;
        self.starts[end] = start as u32;
        self.count -= 1;
    }

    fn start_before(&self, start: usize) -> usize {
        self.starts[start] as usize
    }
}

/// A hash of eight bytes at a step. All keys in the map are the vocabulary's own, so no text can make them collide.
#[derive(Default)]
struct WordHash(u64);

impl WordHash {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for WordHash {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
    }

    fn write_usize(&mut self, length: usize) {
        self.add(length as u64);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both counts of a text: of the older encoding and of the newer.
    fn check(text: &str, older: usize, newer: usize) {
        assert_eq!((cl100k().count(text), o200k().count(text)), (older, newer), "{text:?}");
    }

    #[test]
    fn a_text_has_the_count_of_openai_s_own_tokenizer() {
        check("", 0, 0);
        check("a", 1, 1);
        check("Hello, world!", 4, 4);
        check("It's 12345 o'clock, WE'LL see.", 13, 12);
        check("  two spaces\n\n\tand a tab  \r\n end ", 10, 10);
        check("fn main() { println!(\"{}\", x_1); }\n", 11, 11);
        check("お誕生日おめでとう", 9, 8);
        check("Привет, мир!", 7, 5);
        check("नमस्ते दुनिया", 13, 5);
        check("naïve café — “quoted”", 8, 8);
        check("👩\u{200d}👩\u{200d}👧 👋🏽", 18, 12);
        check("http://example.com/a/b?c=d//e", 11, 11);
        check("CamelCaseHTTPServer", 5, 4);
    }

    #[test]
    fn a_long_word_and_long_white_space_are_merged_in_the_same_order() {
        check(&"a".repeat(1000), 125, 125);
        check(&"aaaaab".repeat(200), 400, 400);
        check(&"1234567890".repeat(10), 34, 34);
        check(&(" ".repeat(300) + "x"), 4, 4);
    }

    #[test]
    fn a_word_of_megabytes_is_counted_in_parts() {
        let bytes = 4 * 1024 * 1024;
        assert_eq!(o200k().count(&"a".repeat(bytes)), bytes / 8, "no token is cut, eight of them are one");
    }
}
