//! Removes from an answer that is continued what readers have already.
//!
//! Text is held back only while it may still be a repetition: of the whole text so far (which is known and
//! not stored again), or of its end (at most a few KiB). Everything else passes in order.

use super::overlap::{self, Overlap};
use super::{ContinueBy, PartialAnswer};
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Delta, Event, Part};
use crate::provider::Prefill;

/// Number of bytes of a text so far that an answer must repeat before one that contains only what is new is
/// taken for a repetition: fewer may be how it continues (`ha`, `ha`).
const REPEATED_BYTES_MIN: usize = 8;
/// Number of bytes of white space that may come before a repetition.
const LEAD_BYTES_MAX: usize = 64;

/// Removes repeated text at the beginning of a continued answer. One for each attempt that continues.
pub(crate) struct OverlapTrimmer {
    /// The text so far, or its end, without the white space at its own end.
    old: String,
    /// The white space at the end of the text so far.
    blanks: String,
    stage: Stage,
    /// Whether readers have text: reasoning that follows is about what is there already.
    had_text: bool,
}

enum Stage {
    /// The answer may repeat everything: this many bytes of it have come again, after this white space.
    Whole { lead: String, at: usize, is_sure: bool },
    /// The answer may repeat the last words: this text has come.
    Words { kept: String },
    /// The answer may repeat the white space: this many bytes have come again.
    Blanks { at: usize },
    /// The answer continues, and everything passes.
    Through,
}

impl OverlapTrimmer {
    /// Makes a trimmer for the answer to the request that [`super::continued`] made of `partial` in this
    /// way.
    pub(crate) fn new(partial: &PartialAnswer, by: ContinueBy) -> OverlapTrimmer {
        let (text, blanks) = partial.split();
        let whole = |is_sure| (text.trim_start(), Stage::Whole { lead: String::new(), at: 0, is_sure });
        let (old, stage) = match by {
            _ if text.is_empty() => (text, Stage::Blanks { at: 0 }),
            ContinueBy::Prefill(Prefill::Repeats) => whole(true),
            ContinueBy::Prefill(Prefill::Exact) if text.len() >= REPEATED_BYTES_MIN => whole(false),
            ContinueBy::Prefill(Prefill::Exact) => (text, Stage::Blanks { at: 0 }),
            ContinueBy::Prefill(Prefill::No) | ContinueBy::Turn => {
                // One character more, by which the first whole word is told from a half one.
                let start = text.floor_char_boundary(text.len().saturating_sub(overlap::OLD_BYTES_MAX + 4));
                (&text[start..], Stage::Words { kept: String::new() })
            }
        };
        OverlapTrimmer { old: old.to_owned(), blanks: blanks.to_owned(), stage, had_text: !partial.text.is_empty() }
    }

    /// Trims these events, the next ones of the answer.
    pub(crate) fn push(&mut self, events: &mut Vec<Event>) {
        if self.had_text {
            events.retain(|event| !matches!(event, Event::Delta(delta) if delta.part == Part::Reasoning));
        }
        if matches!(self.stage, Stage::Through) {
            return;
        }
        for event in std::mem::take(events) {
            match event {
                Event::Delta(delta) if delta.part == Part::Text && delta.index == 0 => {
                    let text = self.cut(&delta.text);
                    say(text, Some(delta), events);
                }
                // Whatever else the answer contains comes after its text.
                event if event.is_output() => {
                    self.end(events);
                    events.push(event);
                }
                event => events.push(event),
            }
        }
    }

    /// Adds the text that was held back, when the answer has come to its end. An answer that broke off is
    /// not ended: what was held back was most likely a repetition.
    pub(crate) fn end(&mut self, events: &mut Vec<Event>) {
        let text = match std::mem::replace(&mut self.stage, Stage::Through) {
            // A provider that is known to repeat was cut off while it repeated.
            Stage::Whole { is_sure: true, .. } | Stage::Blanks { .. } | Stage::Through => String::new(),
            Stage::Whole { lead, at, .. } => {
                let all = lead + &self.old[..at];
                self.stage = Stage::Blanks { at: 0 };
                self.after_blanks(&all)
            }
            Stage::Words { kept } => self.after_words(kept, true),
        };
        self.stage = Stage::Through;
        say(text, None, events);
    }

    fn cut(&mut self, piece: &str) -> String {
        match &mut self.stage {
            Stage::Through => piece.to_owned(),
            Stage::Blanks { .. } => self.after_blanks(piece),
            Stage::Words { kept } => {
                kept.push_str(piece);
                let kept = std::mem::take(kept);
                self.after_words(kept, false)
            }
            Stage::Whole { .. } => self.after_whole(piece),
        }
    }

    fn after_whole(&mut self, piece: &str) -> String {
        let Stage::Whole { lead, at, .. } = &mut self.stage else { return piece.to_owned() };
        let mut new = piece;
        if *at == 0 {
            new = piece.trim_start();
            lead.push_str(&piece[..piece.len() - new.len()]);
            if new.is_empty() && lead.len() <= LEAD_BYTES_MAX {
                return String::new();
            }
        }
        let same = common(&self.old[*at..], new);
        *at += same;
        if *at == self.old.len() {
            self.stage = Stage::Blanks { at: 0 };
            return self.after_blanks(&new[same..]);
        }
        if same == new.len() && !new.is_empty() {
            return String::new();
        }
        let all = format!("{lead}{}{}", &self.old[..*at], &new[same..]);
        self.stage = Stage::Blanks { at: 0 };
        self.after_blanks(&all)
    }

    fn after_words(&mut self, kept: String, is_whole: bool) -> String {
        match overlap::find(&self.old, &kept, is_whole) {
            Overlap::Undecided => {
                self.stage = Stage::Words { kept };
                String::new()
            }
            Overlap::Of(bytes) => {
                self.stage = Stage::Blanks { at: 0 };
                self.after_blanks(&kept[bytes..])
            }
            Overlap::Nothing => {
                self.stage = Stage::Blanks { at: 0 };
                let parted = self.blanks.is_empty() && overlap::wants_blank(&self.old, &kept);
                if parted { format!(" {kept}") } else { self.after_blanks(&kept) }
            }
        }
    }

    fn after_blanks(&mut self, piece: &str) -> String {
        let Stage::Blanks { at } = &mut self.stage else { return piece.to_owned() };
        let same = common(&self.blanks[*at..], piece);
        *at += same;
        if same < piece.len() || *at == self.blanks.len() {
            self.stage = Stage::Through;
        }
        piece[same..].to_owned()
    }
}

/// Number of bytes at the beginning that two texts share.
fn common(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// Adds events with `text` in the place of what `delta` contained. What came beside that text stays.
fn say(text: String, delta: Option<Delta>, events: &mut Vec<Event>) {
    let mut extra = delta.and_then(|delta| delta.extra);
    if text.is_empty() && extra.is_none() {
        return;
    }
    let mut rest = &*text;
    loop {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(EVENT_TEXT_BYTES_MAX));
        let (text, extra) = (piece.to_owned(), extra.take());
        events.push(Event::Delta(Delta { part: Part::Text, index: 0, text, extra }));
        rest = after;
        if rest.is_empty() {
            return;
        }
    }
}
