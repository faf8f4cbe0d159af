//! Cuts away, of the answer that goes on, what the reader has already.
//!
//! Text is held back only while it may still be a repetition: of the whole text so far (nothing of
//! it is kept, for it is known), or of its end (at most a few KiB). Everything else passes in order.

use super::overlap::{self, Overlap};
use super::{ContinueBy, PartialAnswer};
use crate::job::caps::EVENT_TEXT_BYTES_MAX;
use crate::job::{Delta, Event, Part};
use crate::provider::Prefill;

/// Bytes of a text so far that an answer must repeat, before one that holds only what is new is
/// taken for a repetition: less may be how it goes on (`ha`, `ha`).
const REPEATED_BYTES_MIN: usize = 8;
/// Bytes of blanks that may come before a repetition.
const LEAD_BYTES_MAX: usize = 64;

/// Removes at the seam what was said before. One for each attempt that goes on.
pub(crate) struct OverlapTrimmer {
    /// The text so far, or its end, without blanks at its own end.
    old: String,
    /// Those blanks.
    blanks: String,
    stage: Stage,
    /// Whether the reader has text: reasoning after that is about what is there already.
    had_text: bool,
}

enum Stage {
    /// May repeat everything: so many bytes of it have come again, after these blanks.
    Whole { lead: String, at: usize, is_sure: bool },
    /// May repeat the last words: what has come.
    Words { held: String },
    /// May repeat the blanks: so many bytes have come again.
    Blanks { at: usize },
    /// Goes on.
    Through,
}

impl OverlapTrimmer {
    /// For an answer to what [`super::continued`] made of `partial` in this way.
    pub(crate) fn new(partial: &PartialAnswer, way: ContinueBy) -> OverlapTrimmer {
        let (text, blanks) = partial.split();
        let whole = |is_sure| (text.trim_start(), Stage::Whole { lead: String::new(), at: 0, is_sure });
        let (old, stage) = match way {
            _ if text.is_empty() => (text, Stage::Blanks { at: 0 }),
            ContinueBy::Prefill(Prefill::Repeats) => whole(true),
            ContinueBy::Prefill(Prefill::Exact) if text.len() >= REPEATED_BYTES_MIN => whole(false),
            ContinueBy::Prefill(Prefill::Exact) => (text, Stage::Blanks { at: 0 }),
            ContinueBy::Prefill(Prefill::No) | ContinueBy::Turn => {
                // One character more, by which the first whole word is told from a half.
                let start = text.floor_char_boundary(text.len().saturating_sub(overlap::OLD_BYTES_MAX + 4));
                (&text[start..], Stage::Words { held: String::new() })
            }
        };
        OverlapTrimmer { old: old.to_owned(), blanks: blanks.to_owned(), stage, had_text: !partial.text.is_empty() }
    }

    /// Cuts these events, the next that came.
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
                // Whatever else the answer holds comes after its text.
                event if event.is_output() => {
                    self.end(events);
                    events.push(event);
                }
                event => events.push(event),
            }
        }
    }

    /// Lets go of what is held back, when the answer has come to its end. One that broke off is not
    /// ended: what it held back was most likely a repetition.
    pub(crate) fn end(&mut self, events: &mut Vec<Event>) {
        let text = match std::mem::replace(&mut self.stage, Stage::Through) {
            // Who is known to repeat was cut off while repeating.
            Stage::Whole { is_sure: true, .. } | Stage::Blanks { .. } | Stage::Through => String::new(),
            Stage::Whole { lead, at, .. } => {
                let all = lead + &self.old[..at];
                self.stage = Stage::Blanks { at: 0 };
                self.after_blanks(&all)
            }
            Stage::Words { held } => self.after_words(held, true),
        };
        self.stage = Stage::Through;
        say(text, None, events);
    }

    fn cut(&mut self, piece: &str) -> String {
        match &mut self.stage {
            Stage::Through => piece.to_owned(),
            Stage::Blanks { .. } => self.after_blanks(piece),
            Stage::Words { held } => {
                held.push_str(piece);
                let held = std::mem::take(held);
                self.after_words(held, false)
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

    fn after_words(&mut self, held: String, is_whole: bool) -> String {
        match overlap::find(&self.old, &held, is_whole) {
            Overlap::Undecided => {
                self.stage = Stage::Words { held };
                String::new()
            }
            Overlap::Of(bytes) => {
                self.stage = Stage::Blanks { at: 0 };
                self.after_blanks(&held[bytes..])
            }
            Overlap::Nothing => {
                self.stage = Stage::Blanks { at: 0 };
                let parted = self.blanks.is_empty() && overlap::wants_blank(&self.old, &held);
                if parted { format!(" {held}") } else { self.after_blanks(&held) }
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

/// Bytes of the beginning that two texts share.
fn common(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// Puts `text` in the place of what `delta` held. What came beside it stays.
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
