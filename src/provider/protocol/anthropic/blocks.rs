//! The parts of a message as content blocks.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::Form;
use crate::job::Failure;
use crate::provider::chat::{Body, Part, Source};

/// Blocks of this dialect that a message in OpenAI's may hold; so may every `…_tool_result`.
const NATIVE_BLOCKS: &[&str] = &[
    "document",
    "image",
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
    "server_tool_use",
    "search_result",
    "container_upload",
    "mcp_tool_use",
    "compaction",
];

/// A content block of a message.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Block<'a> {
    /// Text with nothing beside it: a message of this alone is a string.
    Text(Cow<'a, str>),
    /// Anything else, as JSON.
    Json(String),
}

impl Block<'_> {
    pub(super) fn into_json(self) -> String {
        match self {
            Block::Text(text) => text_json(&text, None),
            Block::Json(json) => json,
        }
    }

    /// The same block, with a mark that a prompt cache may end here.
    pub(super) fn cached(self, cache_control: &RawValue) -> Self {
        let mut json = self.into_json();
        if !json.contains("\"cache_control\"") {
            json.pop();
            json.push_str(",\"cache_control\":");
            json.push_str(cache_control.get());
            json.push('}');
        }
        Block::Json(json)
    }
}

/// Several blocks as the value of `content`: a string where that says the same.
pub(super) fn content(mut blocks: Vec<Block<'_>>) -> String {
    if let [Block::Text(text)] = &blocks[..] {
        return crate::provider::chat::quoted(text);
    }
    let mut json = String::from("[");
    for (at, block) in blocks.drain(..).enumerate() {
        if at > 0 {
            json.push(',');
        }
        json.push_str(&block.into_json());
    }
    json.push(']');
    json
}

/// The blocks of a message's parts, without empty texts, which are refused. `param` is the message's.
pub(super) fn of_parts<'a>(parts: &[Part<'a>], param: &str, form: Form) -> Result<Vec<Block<'a>>, Failure> {
    let mut blocks = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        blocks.extend(of_part(part, form).map_err(|why| {
            let param = format!("{param}.content[{at}]");
            match why {
                PartRefusal::Take(why) => Failure::unsupported(&param, why).of_the_target(),
                PartRefusal::Read(why) => Failure::invalid(&param, why),
            }
        })?);
    }
    Ok(blocks)
}

/// The reason for which a part of a message is refused.
enum PartRefusal {
    Take(&'static str),
    Read(&'static str),
}

fn of_part<'a>(part: &Part<'a>, form: Form) -> Result<Option<Block<'a>>, PartRefusal> {
    Ok(Some(match part {
        Part::Text { text, .. } | Part::Refusal(text) if text.trim().is_empty() => return Ok(None),
        Part::Refusal(text) | Part::Text { text, cache_control: None } => Block::Text(text.clone()),
        Part::Text { text, cache_control } => Block::Json(text_json(text, *cache_control)),
        Part::Image { source, cache_control, .. } => {
            let mut block = Body::with_capacity(room(source));
            block.put("type", "image").put_json("source", &image_source(source, form)?);
            Block::Json(block.put_some_raw("cache_control", *cache_control))
        }
        Part::File { source, filename, cache_control } => {
            let mut block = Body::with_capacity(room(source));
            block.put("type", "document").put_json("source", &document_source(source, form)?);
            block.put_some("title", filename.as_ref());
            Block::Json(block.put_some_raw("cache_control", *cache_control))
        }
        Part::Native { kind, raw } if NATIVE_BLOCKS.contains(&&**kind) || kind.ends_with("_tool_result") => {
            Block::Json(raw.get().to_owned())
        }
        Part::Audio { .. } => return Err(PartRefusal::Take("this API does not listen")),
        Part::Native { .. } => return Err(PartRefusal::Take("this API has no such part")),
    }))
}

/// Ends an object with one more field, if there is one.
trait Ended {
    fn put_some_raw(self, name: &str, value: Option<&RawValue>) -> String;
}

impl Ended for Body {
    fn put_some_raw(mut self, name: &str, value: Option<&RawValue>) -> String {
        self.put_some(name, value);
        self.into_json()
    }
}

fn text_json(text: &str, cache_control: Option<&RawValue>) -> String {
    let mut block = Body::with_capacity(text.len() + 64);
    block.put("type", "text").put("text", text);
    block.put_some_raw("cache_control", cache_control)
}

fn room(source: &Source<'_>) -> usize {
    const FRAME_BYTES: usize = 160;
    match source {
        Source::Data { base64, .. } => base64.len() + FRAME_BYTES,
        Source::Url(_) | Source::Id(_) => FRAME_BYTES,
    }
}

fn image_source(source: &Source<'_>, form: Form) -> Result<String, PartRefusal> {
    match source {
        Source::Data { mime, base64 } => Ok(source_json("base64", Some(mime), "data", base64)),
        other => place(other, form),
    }
}

/// PDFs as they are, texts as text.
fn document_source(source: &Source<'_>, form: Form) -> Result<String, PartRefusal> {
    match source {
        Source::Data { mime, base64 } if &**mime == "application/pdf" => {
            Ok(source_json("base64", Some(mime), "data", base64))
        }
        Source::Data { mime, base64 } if is_text(mime) => {
            let bytes = STANDARD.decode(base64.as_bytes()).map_err(|_| PartRefusal::Read("is not base64"))?;
            let text = String::from_utf8(bytes).map_err(|_| PartRefusal::Read("is not UTF-8"))?;
            // The only media type of this kind of source, whatever the text is about.
            Ok(source_json("text", Some("text/plain"), "data", &text))
        }
        Source::Data { .. } => Err(PartRefusal::Take("this API reads PDF and text")),
        other => place(other, form),
    }
}

fn is_text(mime: &str) -> bool {
    mime.starts_with("text/") || matches!(mime, "application/json" | "application/xml" | "application/yaml")
}

fn place(source: &Source<'_>, form: Form) -> Result<String, PartRefusal> {
    match source {
        Source::Url(_) if form == Form::Bedrock => Err(PartRefusal::Take("Bedrock does not fetch addresses")),
        Source::Url(url) if url.contains("://") => Ok(source_json("url", None, "url", url)),
        Source::Id(id) => Ok(source_json("file", None, "file_id", id)),
        Source::Url(_) | Source::Data { .. } => {
            Err(PartRefusal::Read("needs an address: https://… or data:…;base64,…"))
        }
    }
}

fn source_json(kind: &str, mime: Option<&str>, name: &str, value: &str) -> String {
    let mut source = Body::with_capacity(value.len() + 64);
    source.put("type", kind).put_some("media_type", mime).put(name, value);
    source.into_json()
}
