//! Embeddings: OpenAI's dialect, and what every other dialect of them is read from and turned into.
//!
//! Owns the request of OpenAI's dialect, the decoder of a whole answer, [`Wanted`] (what a job asks,
//! for those who write another dialect) and [`Vectors`] (the one `output` event of an answer).
//! Promises that vectors are copied as text and never become a tree, however many there are, and
//! that they come in the form asked for: numbers of a provider that knows no `base64` are packed
//! here; what a provider packs by itself stays as it came. Usage is input tokens only. Does not know
//! how many texts a provider takes at once.

use std::borrow::Cow;

use crate::egress::{ACCEPT, CONTENT_TYPE, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::openai_chat::{ReplyRules, read_usage};
use super::whole::{WholeAnswer, WholeDecoder};
use super::{emit, error, whole};
use crate::job::caps::OUTPUT_INLINE_BYTES_MAX;
use crate::job::{Bill, Blob, Event, Failure, Output, OutputBody};
use crate::provider::chat::{Body, Params, unsupported};
use crate::provider::{Decoder, Framing, Method, ModelCall, Outbound, Route};

/// How the numbers of a vector are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// A vector is a list of numbers.
    #[default]
    Numbers,
    /// A vector is base64 of little-endian 32-bit floats. OpenAI's own libraries ask for this.
    Base64,
}

impl Form {
    /// The form that a job asks for; numbers unless it says `base64`.
    #[must_use]
    pub fn of(input: &RawValue) -> Form {
        #[derive(Deserialize)]
        struct RawForm<'a> {
            #[serde(borrow)]
            encoding_format: Option<Cow<'a, str>>,
        }
        match serde_json::from_str::<RawForm<'_>>(input.get()) {
            Ok(RawForm { encoding_format: Some(form) }) if form == "base64" => Form::Base64,
            _ => Form::Numbers,
        }
    }
}

/// What a job asks, for encoders of other dialects.
pub struct Wanted<'a> {
    /// The texts, in order. Never empty.
    pub texts: Vec<Cow<'a, str>>,
    /// How many numbers a vector shall have.
    pub dimensions: Option<u64>,
    /// The encoding of the vectors in the answer, which [`Vectors`] produces.
    pub form: Form,
    /// All other fields of the input.
    pub params: Params<'a>,
}

impl<'a> Wanted<'a> {
    /// Reads a job's input for `provider`, which takes texts only.
    ///
    /// # Errors
    /// `invalid` or, for tokens and whatever else is no text, `unsupported`, naming the field.
    pub fn read(input: &'a RawValue, provider: &str) -> Result<Wanted<'a>, Failure> {
        let mut params = Params::read(input)?;
        let raw = checked_input(&mut params)?;
        let texts = match raw.get().as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw.get()).map(|text: String| vec![text.into()]),
            _ => serde_json::from_str(raw.get()).map(|texts: Vec<String>| texts.into_iter().map(Cow::Owned).collect()),
        };
        params.take("model");
        let form: Option<Cow<'_, str>> = params.take_as("encoding_format")?;
        Ok(Wanted {
            texts: texts.map_err(|_| unsupported("input.input", provider))?,
            dimensions: params.take_as("dimensions")?,
            form: match form.as_deref() {
                None | Some("float") => Form::Numbers,
                Some("base64") => Form::Base64,
                Some(_) => return Err(Failure::invalid("input.encoding_format", "must be float or base64")),
            },
            params,
        })
    }
}

/// Takes `input`, or `prompt` where that is its name.
fn checked_input<'a>(params: &mut Params<'a>) -> Result<&'a RawValue, Failure> {
    let raw = params.take_first(&["input", "prompt"]).ok_or_else(|| {
        Failure::invalid("input.input", "an embedding needs an input: a text, or a list of texts or of tokens")
    })?;
    let mut inside = raw.get().get(1..).unwrap_or("").trim_start().bytes();
    match (raw.get().as_bytes().first(), inside.next()) {
        (Some(b'"'), Some(b'"')) | (Some(b'['), Some(b']')) => {
            Err(Failure::invalid("input.input", "must not be empty"))
        }
        (Some(b'"' | b'['), _) => Ok(raw),
        _ => Err(Failure::invalid("input.input", "must be a text, or a list of texts or of tokens")),
    }
}

/// The request of OpenAI's dialect: the job's input as it came, with `model`.
///
/// # Errors
/// `invalid`, naming the field.
pub fn encode(model_call: ModelCall<'_>) -> Result<Outbound, Failure> {
    let url = format!("{}/embeddings", model_call.endpoint.base_url);
    encode_to(model_call, url.into())
}

/// [`encode`] for a provider that has its embeddings at another address.
///
/// # Errors
/// As [`encode`].
pub fn encode_to(model_call: ModelCall<'_>, url: Box<str>) -> Result<Outbound, Failure> {
    let ModelCall { job, target, endpoint, .. } = model_call;
    let mut params = Params::read(&job.input)?;
    let mut body = Body::with_capacity(job.input.get().len() + target.model.len() + 32);
    body.put("model", &*target.model).put_json("input", checked_input(&mut params)?.get());
    for (name, value) in params.take_rest() {
        if !matches!(&*name, "model" | "stream") {
            body.put_json(&name, value.get());
        }
    }
    let mut headers = endpoint.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Ok(Outbound {
        route: Route::Http { method: Method::POST, url, headers, credential: endpoint.credential.clone() },
        body: body.into_bytes(),
        framing: Framing::Whole,
        dropped: Vec::new(),
    })
}

/// An answer's vectors, which become its one output.
pub struct Vectors {
    json: String,
    form: Form,
    count: usize,
}

impl Vectors {
    /// Starts without vectors; they will be written in this form.
    #[must_use]
    pub fn new(form: Form) -> Vectors {
        Vectors { json: r#"{"object":"list","data":["#.to_owned(), form, count: 0 }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the next vector: a list of numbers, or a string with what the provider packed.
    ///
    /// # Errors
    /// `provider_truncated` when it is no such thing.
    pub fn push(&mut self, vector: &RawValue) -> Result<(), Failure> {
        self.push_at(self.count, vector)
    }

    /// Adds the vector of input number `index`.
    ///
    /// # Errors
    /// As [`Vectors::push`].
    pub fn push_at(&mut self, index: usize, vector: &RawValue) -> Result<(), Failure> {
        let before = if self.count == 0 { "" } else { "," };
        self.json.push_str(&format!(r#"{before}{{"object":"embedding","index":{index},"embedding":"#));
        let text = vector.get();
        match (text.as_bytes().first(), self.form) {
            (Some(b'"'), _) => self.json.push_str(text),
            (Some(b'['), Form::Numbers) => self.json.extend(text.split_ascii_whitespace()),
            (Some(b'['), Form::Base64) => {
                let numbers: Vec<f32> = serde_json::from_str(text).map_err(|_| no_vector())?;
                let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
                self.json.push('"');
                STANDARD.encode_string(bytes, &mut self.json);
                self.json.push('"');
            }
            _ => return Err(no_vector()),
        }
        self.json.push('}');
        self.count += 1;
        Ok(())
    }

    /// Returns the one event. Up to 32 KiB it is a JSON value; more stays text, of which the driver makes a
    /// file.
    #[must_use]
    pub fn into_event(mut self) -> Event {
        self.json.push_str("]}");
        output(self.json)
    }
}

/// The `output` event of a JSON text that we wrote: a value, or, where it will be a file, its bytes.
#[must_use]
pub fn output(json: String) -> Event {
    let body = if json.len() > OUTPUT_INLINE_BYTES_MAX {
        OutputBody::Data(Blob(Bytes::from(json)))
    } else {
        // What was checked as raw JSON by its reader is JSON.
        OutputBody::Value(serde_json::from_str(&json).unwrap_or_default())
    };
    Event::Output(Output { index: 0, mime: "application/json".into(), sha256: None, body })
}

/// An answer of OpenAI's dialect; `embedding`, `embeddings` and `prompt_eval_count` are Ollama's.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<Datum<'a>>>,
    #[serde(borrow, default)]
    embedding: Option<&'a RawValue>,
    #[serde(borrow, default)]
    embeddings: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Datum<'a> {
    #[serde(default)]
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Builds the decoder for the answer to a job. `cost` tells where the provider says what it cost.
#[must_use]
pub fn decoder(model_call: ModelCall<'_>, cost: &'static ReplyRules) -> Box<dyn Decoder> {
    let form = Form::of(&model_call.job.input);
    Box::new(WholeDecoder::new(move |body| read_answer(body, form, cost)))
}

fn read_answer(body: &[u8], form: Form, cost: &'static ReplyRules) -> Result<WholeAnswer, Failure> {
    let answer: Answer<'_> = whole::read(body)?;
    let mut vectors = Vectors::new(form);
    for (at, datum) in answer.data.iter().flatten().enumerate() {
        vectors.push_at(datum.index.unwrap_or(at), datum.embedding)?;
    }
    for vector in answer.embedding.into_iter().chain(answer.embeddings.into_iter().flatten()) {
        vectors.push(vector)?;
    }
    if vectors.is_empty() {
        return Err(error::in_reply(body));
    }
    let mut bill = Bill::default();
    let counts = answer.usage.and_then(|usage| read_usage(usage, cost, &mut bill));
    let total = answer.prompt_eval_count.or_else(|| answer.usage.and_then(total));
    Ok(WholeAnswer { output: vectors.into_event(), usage: counts.or(total.map(whole::input_usage)), bill })
}

/// Reads the total, which is Voyage's only count; there is no output, so it is the input's.
fn total(usage: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct RawTotal {
        total_tokens: Option<u64>,
    }
    serde_json::from_str::<RawTotal>(usage.get()).ok()?.total_tokens
}

fn no_vector() -> Failure {
    emit::broken("the provider sent a vector that is none")
}

#[cfg(test)]
#[path = "embeddings_tests.rs"]
mod tests;
