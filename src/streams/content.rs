//! Content of a stream as rows: a body is cut into rows, and rows are joined again.
//!
//! Owns where an append is cut: no row over [`ROW_BYTES_MAX`], a text between characters, JSON between messages. Promises
//! that content read from any position that was given out consists of whole JSON messages. Pure.

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::dialect::durable_streams::Form;
use crate::job::Failure;

/// Bytes of a row: a reader holds a few of them, and no single one is worth waiting for.
const ROW_BYTES_MAX: usize = 32 * 1024;
/// Mark before a JSON row that ends between two messages.
const WHOLE: u8 = 0;
/// Mark before a JSON row whose last message continues in the next row.
const GOES_ON: u8 = 1;

/// Cuts a body into rows. An array of JSON is one message for each element, and none for an empty one.
///
/// # Errors
/// `invalid`, naming `body`, for what is not JSON and should be.
pub(super) fn rows(form: Form, body: &Bytes) -> Result<Vec<Bytes>, Failure> {
    match form {
        Form::Json => json_rows(body),
        Form::Text | Form::Binary => {
            let (mut rows, mut rest) = (Vec::new(), body.clone());
            while !rest.is_empty() {
                rows.push(rest.split_to(cut(&rest, form == Form::Text)));
            }
            Ok(rows)
        }
    }
}

/// Returns the number of bytes of the next row of `rest`.
fn cut(rest: &[u8], is_text: bool) -> usize {
    if rest.len() <= ROW_BYTES_MAX {
        return rest.len();
    }
    let is_inside = |at: &usize| is_text && rest[*at] & 0xc0 == 0x80;
    // A character has four bytes at most; where there are more, it is no UTF-8.
    (ROW_BYTES_MAX - 3..=ROW_BYTES_MAX).rev().find(|at| !is_inside(at)).unwrap_or(ROW_BYTES_MAX)
}

fn json_rows(body: &[u8]) -> Result<Vec<Bytes>, Failure> {
    let wrong = |error: serde_json::Error| Failure::invalid("body", format!("is not JSON: {error}"));
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let mut filler = Filler { rows: Vec::new(), row: vec![WHOLE] };
    if is_array {
        let mut json = serde_json::Deserializer::from_slice(body);
        json.deserialize_seq(&mut filler).and_then(|()| json.end()).map_err(wrong)?;
    } else {
        filler.add(serde_json::from_slice::<&RawValue>(body).map_err(wrong)?.get().as_bytes());
    }
    Ok(filler.finish())
}

/// Fills rows with messages, one after the other: an array of millions is never a list of them.
struct Filler {
    rows: Vec<Bytes>,
    /// The row that is being filled, with its mark.
    row: Vec<u8>,
}

impl Filler {
    fn add(&mut self, message: &[u8]) {
        if self.row.len() > 1 && self.row.len() + message.len() >= ROW_BYTES_MAX {
            self.turn();
        }
        if self.row.len() > 1 {
            self.row.push(b',');
        }
        let mut rest = message;
        while self.row.len() + rest.len() > ROW_BYTES_MAX {
            let (now, later) = rest.split_at(ROW_BYTES_MAX - self.row.len());
            self.row.extend_from_slice(now);
            self.row[0] = GOES_ON;
            self.turn();
            rest = later;
        }
        self.row.extend_from_slice(rest);
    }

    fn turn(&mut self) {
        self.rows.push(std::mem::replace(&mut self.row, vec![WHOLE]).into());
    }

    fn finish(mut self) -> Vec<Bytes> {
        if self.row.len() > 1 {
            self.turn();
        }
        self.rows
    }
}

impl<'de> Visitor<'de> for &mut Filler {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        while let Some(message) = messages.next_element::<&'de RawValue>()? {
            self.add(message.get().as_bytes());
        }
        Ok(())
    }
}

/// Gathers rows of content in their order.
#[derive(Debug)]
pub(super) struct Gatherer {
    form: Form,
    /// The content that was gathered; JSON messages have commas between them.
    pub(super) content: Vec<u8>,
    goes_on: bool,
}

impl Gatherer {
    pub(super) fn new(form: Form) -> Gatherer {
        Gatherer { form, content: Vec::new(), goes_on: false }
    }

    /// Adds the next row.
    pub(super) fn add(&mut self, row: &[u8]) {
        match (self.form, row.split_first()) {
            (Form::Json, Some((mark, part))) => {
                if !self.goes_on && !self.content.is_empty() {
                    self.content.push(b',');
                }
                self.content.extend_from_slice(part);
                self.goes_on = *mark == GOES_ON;
            }
            _ => self.content.extend_from_slice(row),
        }
    }

    /// Returns whether a reader may stop here.
    pub(super) fn is_whole(&self) -> bool {
        !self.goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the content of a body from each position where a reader may stop.
    fn read(form: Form, body: &str) -> Vec<String> {
        let rows = rows(form, &Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let mut pages = Vec::new();
        let mut gatherer = Gatherer::new(form);
        for row in &rows {
            assert!(row.len() <= ROW_BYTES_MAX);
            gatherer.add(row);
            if gatherer.is_whole() {
                let page = std::mem::replace(&mut gatherer, Gatherer::new(form)).content;
                pages.push(String::from_utf8(page).expect("no character is cut"));
            }
        }
        assert!(gatherer.content.is_empty());
        pages
    }

    #[test]
    fn an_array_is_its_elements_and_anything_else_itself() {
        for (body, content) in [
            ("{\"a\":1}", vec!["{\"a\":1}"]),
            (" [1, [2,3] ,\"x\"]\n", vec!["1,[2,3],\"x\""]),
            ("[[]]", vec!["[]"]),
            ("[]", vec![]),
            ("null", vec!["null"]),
            ("1.000000000000000000001", vec!["1.000000000000000000001"]),
        ] {
            assert_eq!(read(Form::Json, body), content, "{body}");
        }
        for bad in ["", "{", "[1,]", "1 2", "{\"a\":}", "\u{1}"] {
            assert!(rows(Form::Json, &Bytes::copy_from_slice(bad.as_bytes())).is_err(), "{bad}");
        }
    }

    #[test]
    fn large_bodies_come_back_whole_and_are_cut_where_they_may_be() {
        let messages: Vec<String> =
            (0..40).map(|i| format!("\"{}\"", "ü".repeat([1, 500, 16_000, 16_384, 50_000][i % 5]))).collect();
        let pages = read(Form::Json, &format!("[{}]", messages.join(" , ")));
        assert!(pages.len() > 20);
        let whole: Vec<String> = pages
            .iter()
            .flat_map(|page| serde_json::from_str::<Vec<Box<RawValue>>>(&format!("[{page}]")).expect("whole messages"))
            .map(|message| message.get().to_owned())
            .collect();
        assert_eq!(whole, messages);
        let text = "a€".repeat(50_000);
        assert_eq!(read(Form::Text, &text).concat(), text);
        let bytes = Bytes::from(vec![0x80; 100_000]);
        for form in [Form::Text, Form::Binary] {
            assert_eq!(rows(form, &bytes).unwrap().concat(), bytes);
        }
    }
}
