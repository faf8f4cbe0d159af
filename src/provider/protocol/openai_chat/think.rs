//! Reasoning that comes inside the text, between `<think>` and `</think>` at its start.
//!
//! Only a tag at the very beginning counts: later it is something that the model writes about. The
//! white space around the tags belongs to neither text.

use crate::job::Part;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";
/// Bytes of white space before the first word; a model that sends more does not think in tags.
const START_BYTES_MAX: usize = 256;

/// Where in one answer the text stands.
#[derive(Default)]
pub(super) struct Think {
    state: State,
    /// What may become a tag.
    held: String,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space, or the beginning of a tag.
    Start,
    /// The text stands between the tags.
    Inside,
    /// Behind the closing tag, before the first word.
    Behind,
    /// There are no tags (any more).
    #[default]
    Off,
}

impl Think {
    /// At the beginning of an answer that may begin with a tag.
    pub(super) fn watching() -> Think {
        Think { state: State::Start, held: String::new() }
    }

    /// Whether every piece of text is text.
    pub(super) fn is_off(&self) -> bool {
        self.state == State::Off
    }

    /// What a piece of text is.
    pub(super) fn feed(&mut self, text: &str, out: &mut Vec<(Part, String)>) {
        self.held.push_str(text);
        if self.state == State::Start {
            let raw = self.held.trim_start();
            if let Some(rest) = raw.strip_prefix(OPEN) {
                self.held = rest.to_owned();
                self.state = State::Inside;
            } else if !OPEN.starts_with(raw) || self.held.len() > START_BYTES_MAX {
                self.state = State::Off;
            }
        }
        if self.state == State::Inside {
            if let Some(at) = self.held.find(CLOSE) {
                let rest = self.held.split_off(at + CLOSE.len());
                self.held.truncate(at);
                push(Part::Reasoning, std::mem::replace(&mut self.held, rest), out);
                self.state = State::Behind;
            } else {
                let tail = (1..CLOSE.len()).rev().find(|len| self.held.ends_with(&CLOSE[..*len])).unwrap_or(0);
                let rest = self.held.split_off(self.held.len() - tail);
                push(Part::Reasoning, std::mem::replace(&mut self.held, rest), out);
            }
        }
        if self.state == State::Behind {
            self.held = self.held.trim_start().to_owned();
            if !self.held.is_empty() {
                self.state = State::Off;
            }
        }
        if self.state == State::Off {
            push(Part::Text, std::mem::take(&mut self.held), out);
        }
    }

    /// What was held back, now that no more comes.
    pub(super) fn finish(&mut self, out: &mut Vec<(Part, String)>) {
        let part = if self.state == State::Inside { Part::Reasoning } else { Part::Text };
        push(part, std::mem::take(&mut self.held), out);
    }
}

fn push(part: Part, text: String, out: &mut Vec<(Part, String)>) {
    if !text.is_empty() {
        out.push((part, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the pieces: reasoning, text.
    fn check(text: &str, reasoning: &str, answer: &str) {
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let halves = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).map(|at| {
            let (first, second) = text.split_at(at);
            vec![first.to_owned(), second.to_owned()]
        });
        for pieces in halves.chain([letters]) {
            let mut think = Think::watching();
            let mut out = Vec::new();
            pieces.iter().for_each(|piece| think.feed(piece, &mut out));
            think.finish(&mut out);
            let of = |wanted: Part| {
                out.iter().filter(|(part, _)| *part == wanted).map(|(_, text)| text.as_str()).collect::<String>()
            };
            assert_eq!((of(Part::Reasoning), of(Part::Text)), (reasoning.into(), answer.into()), "{pieces:?}");
        }
    }

    #[test]
    fn reasoning_between_tags_is_told_apart_however_it_is_cut() {
        check("<think>\nhm</think>\n\nYes.", "\nhm", "Yes.");
        check("  <think>a < b </thin k></think>B", "a < b </thin k>", "B");
        check("<think>never closed</thi", "never closed</thi", "");
        check("<think></think>ä <think>no</think>", "", "ä <think>no</think>");
        check("<thinker>", "", "<thinker>");
        check("Say <think>.</think>", "", "Say <think>.</think>");
        check(" <th", "", " <th");
        check("", "", "");
    }
}
