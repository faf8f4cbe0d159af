//! The messages of a chat.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::thought::{self, Thought};
use super::typed;
use crate::job::Failure;

/// Role of a message's speaker. `developer` is `System`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The rules of the conversation.
    System,
    /// The person who uses the model.
    User,
    /// The model in an earlier turn.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// One message of a chat.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Place in the input for errors: `input.messages[3]`.
    pub param: Box<str>,
    /// Role of the speaker.
    pub role: Role,
    /// Content of the message.
    pub parts: Vec<Part<'a>>,
    /// Calls that the model makes.
    pub calls: Vec<Call<'a>>,
    /// The call that this is the result of.
    pub call_id: Option<Cow<'a, str>>,
    /// Whether the tool failed, and this is how.
    pub is_error: bool,
    /// The speaker's or the tool's name.
    pub name: Option<Cow<'a, str>>,
    /// What the model thought before it spoke, with what must be sent back so that it can go on.
    pub thoughts: Vec<Thought<'a>>,
    /// Where a provider's prompt cache may end.
    pub cache_control: Option<&'a RawValue>,
}

/// A piece of what is said.
#[derive(Clone, Debug)]
pub enum Part<'a> {
    /// A part that is text.
    Text {
        /// Text of the part.
        text: Cow<'a, str>,
        /// Where a provider's prompt cache may end.
        cache_control: Option<&'a RawValue>,
    },
    /// A part that is an image.
    Image {
        /// Place of the file.
        source: Source<'a>,
        /// Resolution in which the model sees it: `low`, `high`, `auto`.
        detail: Option<Cow<'a, str>>,
        /// Where a provider's prompt cache may end.
        cache_control: Option<&'a RawValue>,
    },
    /// A part that is sound.
    Audio {
        /// Bytes of the sound in base64.
        data: Cow<'a, str>,
        /// Format of the sound: `wav`, `mp3`.
        format: Cow<'a, str>,
    },
    /// A part that is a document.
    File {
        /// Place of the file.
        source: Source<'a>,
        /// Name of the file.
        filename: Option<Cow<'a, str>>,
        /// Where a provider's prompt cache may end.
        cache_control: Option<&'a RawValue>,
    },
    /// The model's own refusal, in its earlier answer.
    Refusal(Cow<'a, str>),
    /// A part of a kind that only some provider knows, as it came.
    Native {
        /// The `type` of the part.
        kind: Cow<'a, str>,
        /// JSON of the part.
        raw: &'a RawValue,
    },
}

/// Place of a file.
#[derive(Clone, PartialEq, Debug)]
pub enum Source<'a> {
    /// The file is at an address.
    Url(Cow<'a, str>),
    /// The file is in the message.
    Data {
        /// Media type of the file, for example `image/png`.
        mime: Cow<'a, str>,
        /// Bytes of the file in base64.
        base64: Cow<'a, str>,
    },
    /// At the provider, under this id.
    Id(Cow<'a, str>),
}

impl<'a> Source<'a> {
    /// From an address, which may be a `data:` one.
    #[must_use]
    pub fn from_url(url: Cow<'a, str>) -> Source<'a> {
        let Some((head, _)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(',')) else {
            return Source::Url(url);
        };
        let Some(mime) = head.strip_suffix(";base64") else { return Source::Url(url) };
        let mime = mime.split(';').next().unwrap_or("").to_owned();
        let start = "data:".len() + head.len() + 1;
        let base64 = match url {
            Cow::Borrowed(text) => Cow::Borrowed(&text[start..]),
            Cow::Owned(mut text) => Cow::Owned(text.split_off(start)),
        };
        Source::Data { mime: mime.into(), base64 }
    }
}

/// A tool call that the model made.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Its id; empty if it has none.
    pub id: Cow<'a, str>,
    /// Name of the tool.
    pub name: Cow<'a, str>,
    /// The JSON text of the arguments; never empty.
    pub arguments: Cow<'a, str>,
    /// Google's signature of the thought that led to it.
    pub signature: Option<Cow<'a, str>>,
}

impl Call<'_> {
    /// The arguments as JSON.
    ///
    /// # Errors
    /// `invalid`, when they are not an object.
    pub fn object(&self, param: &str) -> Result<Box<RawValue>, Failure> {
        RawValue::from_string(self.arguments.to_string())
            .ok()
            .filter(|raw| raw.get().trim_start().starts_with('{'))
            .ok_or_else(|| {
                Failure::invalid(&format!("{param}.tool_calls"), "arguments must be the text of a JSON object")
            })
    }
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<RawCall<'a>>>,
    #[serde(borrow, default)]
    tool_call_id: Option<Cow<'a, str>>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_details: Option<Vec<Thought<'a>>>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawCall<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    function: RawFunction<'a>,
    #[serde(borrow, default)]
    extra_content: Option<Extra<'a>>,
}

#[derive(Deserialize)]
struct RawFunction<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Extra<'a> {
    #[serde(borrow, default)]
    google: Option<Google<'a>>,
}

#[derive(Deserialize)]
struct Google<'a> {
    #[serde(borrow, default)]
    thought_signature: Option<Cow<'a, str>>,
}

pub(super) fn read(value: &RawValue) -> Result<Vec<Message<'_>>, Failure> {
    let parsed: Vec<&RawValue> = typed(value, "input.messages")?;
    parsed.into_iter().enumerate().map(|(at, raw)| read_one(raw, format!("input.messages[{at}]"))).collect()
}

fn read_one(raw: &RawValue, param: String) -> Result<Message<'_>, Failure> {
    let parsed: RawMessage<'_> = typed(raw, &param)?;
    let role = match &*parsed.role {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        other => {
            let message = format!("`{other}` is none of system, developer, user, assistant, tool");
            return Err(Failure::invalid(&format!("{param}.role"), message));
        }
    };
    let mut parts = parsed.content.map(|content| parts(content, &param)).transpose()?.unwrap_or_default();
    parts.extend(parsed.refusal.filter(|text| !text.is_empty()).map(Part::Refusal));
    let mut thoughts = thought::joined(parsed.reasoning_details.unwrap_or_default());
    let plain = parsed.reasoning_content.or(parsed.reasoning).filter(|text| !text.is_empty());
    match (&mut thoughts[..], plain) {
        ([], Some(text)) => {
            thoughts.push(Thought { kind: "reasoning.text".into(), text: Some(text), ..Thought::default() })
        }
        // A client that gathered the deltas by itself has the text beside the signature.
        ([only], Some(text)) if only.kind == "reasoning.text" && only.text.is_none() => only.text = Some(text),
        _ => {}
    }
    let calls = parsed.tool_calls.unwrap_or_default().into_iter().map(call).collect();
    Ok(Message {
        param: param.into(),
        role,
        parts,
        calls,
        call_id: parsed.tool_call_id,
        is_error: parsed.is_error == Some(true),
        name: parsed.name,
        thoughts,
        cache_control: parsed.cache_control,
    })
}

fn call(parsed: RawCall<'_>) -> Call<'_> {
    let arguments = match parsed.function.arguments {
        None => Cow::Borrowed("{}"),
        Some(raw) => match serde_json::from_str::<String>(raw.get()) {
            Ok(text) if text.trim().is_empty() => Cow::Borrowed("{}"),
            Ok(text) => Cow::Owned(text),
            // The client sent the object itself.
            Err(_) => Cow::Borrowed(raw.get()),
        },
    };
    let signature = parsed.extra_content.and_then(|extra| extra.google?.thought_signature);
    Call { id: parsed.id.unwrap_or_default(), name: parsed.function.name, arguments, signature }
}

fn parts<'a>(content: &'a RawValue, param: &str) -> Result<Vec<Part<'a>>, Failure> {
    let param = format!("{param}.content");
    match content.get().as_bytes().first() {
        Some(b'"') => Ok(vec![Part::Text { text: typed(content, &param)?, cache_control: None }]),
        Some(b'[') => {
            let parsed: Vec<&RawValue> = typed(content, &param)?;
            parsed.into_iter().enumerate().map(|(at, raw)| part(raw, &format!("{param}[{at}]"))).collect()
        }
        Some(b'n') => Ok(Vec::new()),
        _ => Err(Failure::invalid(&param, "must be a string or a list of parts")),
    }
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_audio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawImage<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow, default)]
    detail: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawAudio<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    format: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawFile<'a> {
    #[serde(borrow, default)]
    file_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    file_data: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    file_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    filename: Option<Cow<'a, str>>,
}

fn part<'a>(raw: &'a RawValue, param: &str) -> Result<Part<'a>, Failure> {
    let parsed: RawPart<'a> = typed(raw, param)?;
    let cache_control = parsed.cache_control;
    let need = |name: &str| Failure::invalid(&format!("{param}.{name}"), "is missing");
    match &*parsed.kind {
        "text" | "input_text" | "output_text" => {
            Ok(Part::Text { text: parsed.text.ok_or_else(|| need("text"))?, cache_control })
        }
        "refusal" => Ok(Part::Refusal(parsed.refusal.ok_or_else(|| need("refusal"))?)),
        "image_url" | "input_image" if parsed.image_url.is_some() => {
            let image = parsed.image_url.ok_or_else(|| need("image_url"))?;
            let at = format!("{param}.image_url");
            let RawImage { url, detail } = match image.get().as_bytes().first() {
                Some(b'"') => RawImage { url: typed(image, &at)?, detail: None },
                _ => typed(image, &at)?,
            };
            Ok(Part::Image { source: Source::from_url(url), detail, cache_control })
        }
        "input_audio" if parsed.input_audio.is_some_and(|audio| audio.get().starts_with('{')) => {
            let audio = parsed.input_audio.ok_or_else(|| need("input_audio"))?;
            let RawAudio { data, format } = typed(audio, &format!("{param}.input_audio"))?;
            Ok(Part::Audio { data, format })
        }
        "file" => {
            let at = format!("{param}.file");
            let file: RawFile<'a> = typed(parsed.file.ok_or_else(|| need("file"))?, &at)?;
            let source = match (file.file_data, file.file_url, file.file_id) {
                (Some(data), ..) => Source::from_url(data),
                (_, Some(url), _) => Source::from_url(url),
                (_, _, Some(id)) => Source::Id(id),
                _ => return Err(Failure::invalid(&at, "needs file_data, file_url or file_id")),
            };
            Ok(Part::File { source, filename: file.filename, cache_control })
        }
        _ => Ok(Part::Native { kind: parsed.kind, raw }),
    }
}
