//! Puts the files that a job names by their addresses into the job itself, for providers that do not fetch
//! files.
//!
//! Owns the search for addresses in a chat's messages and their replacement. Promises that no other byte of
//! the input changes. Does not know how to fetch.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::egress::files::{FetchedFile, FileFetcher};
use crate::job::caps::{REMOTE_FILES_MAX, REMOTE_TOTAL_BYTES_MAX};
use crate::job::{Failure, Job};

/// Content types that models read; an HTML page under an image's address is refused.
const KINDS: &[&str] = &["image/", "application/pdf", "text/plain", "text/markdown", "text/csv", "audio/", "video/"];

/// An address in an input.
#[derive(Debug, PartialEq)]
struct Place {
    /// The JSON string, including its quotes.
    range: Range<usize>,
    /// The path of the field, such as `input.messages[0].content[1].image_url`.
    param: String,
    url: String,
}

/// Returns the job with every file inside, or `None` if it names none by its address.
///
/// # Errors
/// `invalid`, naming the part, when a file cannot be fetched or is of no type that a model reads.
pub(crate) async fn inlined(job: &Job, remote: &FileFetcher) -> Result<Option<Job>, Failure> {
    let places = places(&job.input);
    if places.is_empty() {
        return Ok(None);
    }
    if let Some(place) = places.get(REMOTE_FILES_MAX) {
        return Err(Failure::invalid(&place.param, format!("at most {REMOTE_FILES_MAX} files by address")));
    }
    let mut files = Vec::with_capacity(places.len());
    let mut total = 0;
    for place in &places {
        let file = remote.fetch(&place.url).await.map_err(|problem| Failure::invalid(&place.param, problem))?;
        total += file.bytes.len();
        if total > REMOTE_TOTAL_BYTES_MAX {
            return Err(Failure::invalid(
                &place.param,
                format!("all files together are over {REMOTE_TOTAL_BYTES_MAX} bytes"),
            ));
        }
        files.push(
            data_url(&file)
                .ok_or_else(|| Failure::invalid(&place.param, format!("is `{}`, which no model reads", file.mime)))?,
        );
    }
    let input = replaced(job.input.get(), &places, &files);
    let input = RawValue::from_string(input).map_err(|_| Failure::internal("an input with its files is not JSON"))?;
    Ok(Some(Job { input, ..job.clone() }))
}

fn data_url(file: &FetchedFile) -> Option<String> {
    let mime = if KINDS.iter().any(|kind| file.mime.starts_with(kind)) { &*file.mime } else { sniff(&file.bytes)? };
    Some(format!("data:{mime};base64,{}", STANDARD.encode(&file.bytes)))
}

/// Guesses the content type from the first bytes, where the server did not state one.
fn sniff(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', ..] => Some("application/pdf"),
        _ => None,
    }
}

fn replaced(input: &str, places: &[Place], files: &[String]) -> String {
    let more: usize = files.iter().map(String::len).sum();
    let mut out = String::with_capacity(input.len() + more);
    let mut at = 0;
    for (place, file) in places.iter().zip(files) {
        out.push_str(&input[at..place.range.start]);
        out.push('"');
        out.push_str(file);
        out.push('"');
        at = place.range.end;
    }
    out.push_str(&input[at..]);
    out
}

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file_url: Option<&'a RawValue>,
}

/// Finds every address in the parts of the messages, in the order of the text. An input that is not a chat
/// in OpenAI's format has none.
fn places(input: &RawValue) -> Vec<Place> {
    let Ok(chat) = serde_json::from_str::<Chat<'_>>(input.get()) else { return Vec::new() };
    let mut places = Vec::new();
    let mut note = |raw: Option<&RawValue>, param: String| {
        let Some(raw) = raw else { return };
        let Ok(url) = serde_json::from_str::<String>(raw.get()) else { return };
        if url.starts_with("http://") || url.starts_with("https://") {
            // The value was borrowed from the input, so it lies in it.
            let start = raw.get().as_ptr() as usize - input.get().as_ptr() as usize;
            places.push(Place { range: start..start + raw.get().len(), param, url });
        }
    };
    for (at, message) in chat.messages.iter().enumerate() {
        let content = message.content.map_or("", RawValue::get);
        let Ok(parts) = serde_json::from_str::<Vec<Part<'_>>>(content) else { continue };
        for (nth, part) in parts.iter().enumerate() {
            let param = format!("input.messages[{at}].content[{nth}]");
            if let Some(image) = part.image_url {
                let inner = serde_json::from_str::<Inner<'_>>(image.get()).ok();
                note(inner.map_or(Some(image), |inner| inner.url), format!("{param}.image_url"));
            }
            if let Some(inner) = part.file.and_then(|file| serde_json::from_str::<Inner<'_>>(file.get()).ok()) {
                note(inner.file_data.or(inner.file_url), format!("{param}.file"));
            }
        }
    }
    places.sort_by_key(|place| place.range.start);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_found_and_nothing_else_changes() {
        let input = r#"{"a": 1.0,"messages":[{"role":"user","content":"http://no"},{"role":"user","content":[
            {"type":"text","text":"http://no"},{"type":"image_url","image_url":{"detail":"low","url":"https://x/\u0061.png"}},
            {"type":"image_url","image_url":"http://y/b"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},
            {"type":"file","file":{"file_data":"https://z/c.pdf"}}]}], "b":[ ]}"#;
        let raw = RawValue::from_string(input.to_owned()).expect("JSON");
        let found = places(&raw);
        let addresses: Vec<_> = found.iter().map(|place| (place.url.as_str(), place.param.as_str())).collect();
        assert_eq!(
            addresses,
            [
                ("https://x/a.png", "input.messages[1].content[1].image_url"),
                ("http://y/b", "input.messages[1].content[2].image_url"),
                ("https://z/c.pdf", "input.messages[1].content[4].file"),
            ]
        );
        let files = ["data:1".to_owned(), "data:2".to_owned(), "data:3".to_owned()];
        let expected = input
            .replace(r"https://x/\u0061.png", "data:1")
            .replace("http://y/b", "data:2")
            .replace("https://z/c.pdf", "data:3");
        assert_eq!(replaced(raw.get(), &found, &files), expected);
    }

    #[test]
    fn a_file_is_told_by_its_server_or_by_its_first_bytes() {
        let url = |mime: &str, bytes: &[u8]| data_url(&FetchedFile { mime: mime.into(), bytes: bytes.to_vec() });
        assert_eq!(url("image/png", b"abc").as_deref(), Some("data:image/png;base64,YWJj"));
        assert_eq!(url("application/octet-stream", b"GIF89a").as_deref(), Some("data:image/gif;base64,R0lGODlh"));
        assert_eq!(url("text/html", b"<html>"), None);
    }
}
