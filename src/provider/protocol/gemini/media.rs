//! Files in a request: here as base64, or at an address that Google itself reads.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::job::Failure;
use crate::provider::ModelCall;
use crate::provider::chat::{Body, Chat, Part, Source};

/// What the end of an address says about the file's kind.
const KINDS: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("gif", "image/gif"),
    ("pdf", "application/pdf"),
    ("json", "application/json"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("html", "text/html"),
    ("csv", "text/csv"),
    ("xml", "text/xml"),
    ("wav", "audio/wav"),
    ("mp3", "audio/mp3"),
    ("aac", "audio/aac"),
    ("ogg", "audio/ogg"),
    ("flac", "audio/flac"),
    ("aiff", "audio/aiff"),
    ("m4a", "audio/m4a"),
    ("mp4", "video/mp4"),
    ("mov", "video/mov"),
    ("mpeg", "video/mpeg"),
    ("webm", "video/webm"),
    ("avi", "video/avi"),
    ("wmv", "video/wmv"),
    ("3gp", "video/3gpp"),
];

/// Fields of Google's own parts: a part with one of them and without a `type` is taken as it is.
const NATIVE: &[&str] = &[
    "inlineData",
    "inline_data",
    "fileData",
    "file_data",
    "functionCall",
    "function_call",
    "functionResponse",
    "function_response",
    "executableCode",
    "codeExecutionResult",
];

#[derive(Deserialize)]
#[serde(untagged)]
enum Video<'a> {
    Object {
        #[serde(borrow)]
        url: Cow<'a, str>,
    },
    Text(#[serde(borrow)] Cow<'a, str>),
}

#[derive(Deserialize)]
struct VideoPart<'a> {
    #[serde(borrow)]
    video_url: Video<'a>,
}

/// A part of a message as Google's. `param` is its place in the job.
///
/// # Errors
/// `unsupported`, naming it, for what Google does not take.
pub(super) fn write(part: &Part<'_>, param: &str, base_url: &str) -> Result<String, Failure> {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => Ok(json!({ "text": text }).to_string()),
        Part::Image { source, .. } | Part::File { source, .. } => file(source, param, base_url),
        Part::Audio { data, format } => Ok(inline(&format!("audio/{format}"), data)),
        Part::Native { kind, raw } if kind == "video_url" => {
            let VideoPart { video_url } = serde_json::from_str(raw.get())
                .map_err(|_| Failure::invalid(&format!("{param}.video_url"), "needs a url"))?;
            let (Video::Object { url } | Video::Text(url)) = video_url;
            file(&Source::from_url(url), param, base_url)
        }
        Part::Native { kind, raw } if kind.is_empty() && has_native_field(raw.get()) => Ok(raw.get().to_owned()),
        Part::Native { kind, .. } => Err(refused(param, &format!("Google takes no part of the type `{kind}`"))),
    }
}

fn has_native_field(json: &str) -> bool {
    let fields: std::collections::BTreeMap<Cow<'_, str>, serde::de::IgnoredAny> =
        serde_json::from_str(json).unwrap_or_default();
    NATIVE.iter().any(|name| fields.contains_key(*name))
}

fn file(source: &Source<'_>, param: &str, base_url: &str) -> Result<String, Failure> {
    match source {
        Source::Data { mime, base64 } => Ok(inline(mime, base64)),
        Source::Id(id) if id.contains("://") => by_address(id, param),
        Source::Id(id) if id.starts_with("files/") => Ok(at(&format!("{base_url}/{id}"), None)),
        Source::Id(_) => Err(refused(param, "Google's files are named files/… or by their address")),
        Source::Url(url) => by_address(url, param),
    }
}

fn inline(mime: &str, base64: &str) -> String {
    let mut data = Body::with_capacity(base64.len() + mime.len() + 64);
    data.put("mimeType", mime).put("data", base64);
    format!("{{\"inlineData\":{}}}", data.into_json())
}

fn at(address: &str, mime: Option<&str>) -> String {
    let mut data = Body::default();
    data.put_some("mimeType", mime).put("fileUri", address);
    format!("{{\"fileData\":{}}}", data.into_json())
}

/// Google reads its own storage, its own Files API, YouTube, and since 2026 any public https address
/// whose kind it is told.
fn by_address(address: &str, param: &str) -> Result<String, Failure> {
    let kind = kind(address);
    if address.starts_with("gs://") || is_of_files_api(address) {
        return Ok(at(address, kind));
    }
    if is_youtube(address) {
        return Ok(at(address, Some("video/mp4")));
    }
    match (address.starts_with("https://"), kind) {
        (true, Some(kind)) => Ok(at(address, Some(kind))),
        (true, None) => Err(refused(param, "the address does not end in the file's kind, which Google must be told")),
        (false, _) => Err(refused(param, "Google reads gs:// and https:// addresses; send others as base64")),
    }
}

/// Whether files must be fetched for Google before the job is encoded: at least one that Google
/// cannot read by itself, and none that only Google can.
pub fn wants_files_inside(model_call: ModelCall<'_>) -> bool {
    names_unreadable(&model_call.job.input)
}

fn names_unreadable(input: &RawValue) -> bool {
    if !input.get().contains("http") {
        return false;
    }
    let Ok(chat) = Chat::read(input) else { return false };
    let parts = chat.messages.iter().flat_map(|message| &message.parts);
    let addresses: Vec<&str> = parts
        .filter_map(|part| match part {
            Part::Image { source: Source::Url(url), .. } | Part::File { source: Source::Url(url), .. } => Some(&**url),
            _ => None,
        })
        .filter(|url| url.starts_with("http"))
        .collect();
    let is_googles = |url: &&str| is_of_files_api(url) || is_youtube(url);
    let is_readable = |url: &&str| url.starts_with("https://") && kind(url).is_some();
    !addresses.iter().any(is_googles) && !addresses.iter().all(is_readable)
}

fn is_of_files_api(address: &str) -> bool {
    address.starts_with("https://generativelanguage.googleapis.com/") && address.contains("/files/")
}

fn is_youtube(address: &str) -> bool {
    ["https://www.youtube.com/", "https://youtube.com/", "https://m.youtube.com/", "https://youtu.be/"]
        .iter()
        .any(|start| address.starts_with(start))
}

fn kind(address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next()?;
    let (_, end) = path.rsplit('/').next()?.rsplit_once('.')?;
    KINDS.iter().find(|(known, _)| end.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}

pub(super) fn refused(param: &str, why: &str) -> Failure {
    Failure::unsupported(param, why).of_the_target()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_google_cannot_read_is_fetched_for_it() {
        for (addresses, expected) in [
            (&[][..], false),
            (&["https://x.example/a.png"], false),
            (&["https://x.example/a"], true),
            (&["http://x.example/a.png"], true),
            (&["https://x.example/a", "https://x.example/a.png"], true),
            (&["https://x.example/a", "https://youtu.be/x"], false),
            (&["gs://bucket/a"], false),
        ] {
            let parts: Vec<_> =
                addresses.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}})).collect();
            let input = json!({"messages": [{"role": "user", "content": parts}]}).to_string();
            let input = RawValue::from_string(input).unwrap();
            assert_eq!(names_unreadable(&input), expected, "{addresses:?}");
        }
    }
}
